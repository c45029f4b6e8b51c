"""The objective of the codec's generator: a weighted sum of reconstruction, commitment and adversarial losses."""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp

from quarkaudio_jax.codec.hcodec import TrainOutputs
from quarkaudio_jax.config import CodecTrainConfig
from quarkaudio_jax.discriminators.models import DiscriminatorOutput
from quarkaudio_jax.discriminators.objectives import generator_loss
from quarkaudio_jax.losses import features as feature_losses
from quarkaudio_jax.nn.mel import multi_scale_mel_distance, stft_distance


def differentiable(out: TrainOutputs) -> dict[str, jax.Array]:
    """The outputs of the generator that the objective depends on."""
    return {
        "wave": out.wave_BxS,
        "features": out.features_BxTxD,
        "acoustic_commitment": out.acoustic.commit_loss_K,
        "semantic_commitment": out.semantic.commit_loss_K,
    }


def generator_objective(
    cfg: CodecTrainConfig,
    sample_rate: int,
    outputs: Mapping[str, jax.Array],
    target_BxS: jax.Array,
    features_BxTxD: jax.Array,
    step: jax.Array,
    extract: Callable[[jax.Array], jax.Array],
    discriminate: Callable[[jax.Array], list[DiscriminatorOutput]] | None,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """(total loss, unweighted losses by name) of the generator's `differentiable` outputs.

    extract: SSL features of a wave, for the perceptual loss. discriminate: outputs of the discriminators on a wave, None
    without adversarial losses. Losses with weight 0 are not computed.
    """
    weights = cfg.losses
    terms: dict[str, jax.Array] = {}
    total = jnp.zeros((), jnp.float32)

    def add(name: str, weight: jax.Array | float, value: jax.Array) -> None:
        nonlocal total
        terms[name] = value
        total = total + weight * value

    if weights.mel > 0:
        windows, bands = weights.mel_windows, weights.mel_bands
        add(
            "mel",
            weights.mel,
            multi_scale_mel_distance(outputs["wave"], target_BxS, sample_rate, windows, bands).mean(),
        )
    if weights.stft > 0:
        add("stft", weights.stft, stft_distance(outputs["wave"], target_BxS, weights.stft_windows).mean())
    if weights.ssl > 0:
        add("ssl", weights.ssl, feature_losses.ssl_reconstruction(outputs["features"], features_BxTxD))
    commitment = feature_losses.commitment(outputs["acoustic_commitment"], outputs["semantic_commitment"])
    add("commitment", weights.commitment, commitment)
    if weights.perceptual > 0:
        value = feature_losses.perceptual(extract(outputs["wave"]), extract(target_BxS))
        add("perceptual", jnp.where(step >= weights.perceptual_from, weights.perceptual, 0.0), value)
    if discriminate is not None:
        active = jnp.where(step >= cfg.discriminators.from_step, 1.0, 0.0)
        fake, real = (discriminate(wave) for wave in (outputs["wave"], target_BxS))
        add("adversarial", active * weights.adversarial, generator_loss(fake))
        layers, targets = ([layer for member in found for layer in member.features] for found in (fake, real))
        matching = feature_losses.feature_matching(layers, targets)
        add("feature_matching", active * weights.feature_matching, matching)
    return total, terms

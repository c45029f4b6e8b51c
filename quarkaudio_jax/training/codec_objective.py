"""The objective of the codec's generator: a weighted sum of reconstruction, commitment and adversarial losses."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from quarkaudio_jax.codec.hcodec import TrainOutputs
from quarkaudio_jax.codec.spatial import channels_of, views_of
from quarkaudio_jax.config import CodecTrainConfig
from quarkaudio_jax.discriminators.models import DiscriminatorOutput
from quarkaudio_jax.discriminators.objectives import generator_loss
from quarkaudio_jax.losses import features as feature_losses
from quarkaudio_jax.nn.mel import multi_scale_mel_distance, stft_distance


def differentiable(out: TrainOutputs) -> dict[str, Any]:
    """The outputs of the generator that the objective depends on."""
    found = {
        "wave": out.wave_BxS,
        "features": out.features_BxTxD,
        "commitment": tuple(stream.commit_loss_K for stream in out.streams),
    }
    return found if out.mapped_BxTxD is None else {**found, "mapped": out.mapped_BxTxD}


def generator_objective(
    cfg: CodecTrainConfig,
    sample_rate: int,
    outputs: Mapping[str, Any],
    target_BxS: jax.Array,
    features_BxTxD: jax.Array,
    step: jax.Array,
    extract: Callable[[jax.Array], jax.Array],
    discriminate: Callable[[jax.Array], list[DiscriminatorOutput]] | None,
    side: tuple[jax.Array, jax.Array] | None = None,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """(total loss, unweighted losses by name) of the generator's `differentiable` outputs.

    extract: SSL features of a wave, for the perceptual loss. discriminate: outputs of the discriminators on a wave, None
    without adversarial losses. side: (side vectors of the spatial codes (B, T, D), position of each item (B, 3)), of a codec
    that maps positions to them. Losses with weight 0 are not computed; spectral ones of stereo waves are means over left,
    right, mid and side, those of features and discriminators over left and right.
    """
    views, targets_of_views = views_of(outputs["wave"]), views_of(target_BxS)
    channels, targets_of_channels = channels_of(outputs["wave"]), channels_of(target_BxS)
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
            multi_scale_mel_distance(views, targets_of_views, sample_rate, windows, bands).mean(),
        )
    if weights.stft > 0:
        add("stft", weights.stft, stft_distance(views, targets_of_views, weights.stft_windows).mean())
    if weights.ssl > 0:
        add("ssl", weights.ssl, feature_losses.ssl_reconstruction(outputs["features"], features_BxTxD))
    add("commitment", weights.commitment, feature_losses.commitment(*outputs["commitment"]))
    if side is not None and weights.mapping > 0:
        add("mapping", weights.mapping, feature_losses.mapping(outputs["mapped"], *side))
    if weights.perceptual > 0:
        value = feature_losses.perceptual(extract(channels), extract(targets_of_channels))
        add("perceptual", jnp.where(step >= weights.perceptual_from, weights.perceptual, 0.0), value)
    if discriminate is not None:
        active = jnp.where(step >= cfg.discriminators.from_step, 1.0, 0.0)
        fake, real = (discriminate(wave) for wave in (channels, targets_of_channels))
        add("adversarial", active * weights.adversarial, generator_loss(fake))
        layers, targets = ([layer for member in found for layer in member.features] for found in (fake, real))
        matching = feature_losses.feature_matching(layers, targets)
        add("feature_matching", active * weights.feature_matching, matching)
    return total, terms

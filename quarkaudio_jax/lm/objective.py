"""Training objective of the language models: label-smoothed KL divergence, its means and its weights."""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from quarkaudio_jax.lm.inputs import Targets
from quarkaudio_jax.nn.causal import RECOMPUTE_SCOPE


def smoothed_kl(logits_xV: jax.Array, targets_x: jax.Array, smoothing: float) -> jax.Array:
    """KL divergence from each smoothed target, (...) float32: the other ids share `smoothing` equally."""
    size = logits_xV.shape[-1]
    on, off = 1.0 - smoothing, smoothing / (size - 1)
    log_probs = jax.nn.log_softmax(logits_xV.astype(jnp.float32))
    target_log_prob = jnp.take_along_axis(log_probs, targets_x[..., None], -1)[..., 0]
    entropy = on * jnp.log(on) + (size - 1) * off * jnp.log(off) if smoothing else 0.0
    return entropy - on * target_log_prob - off * (log_probs.sum(-1) - target_log_prob)


def loss_and_correct(logits_xV: jax.Array, targets_x: jax.Array, smoothing: float) -> tuple[jax.Array, jax.Array]:
    """(smoothed KL, whether the most likely id is the target) of each prediction."""
    return smoothed_kl(logits_xV, targets_x, smoothing), logits_xV.argmax(-1) == targets_x


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def linear_loss_and_correct(
    hidden_xD: jax.Array, kernel_DxV: jax.Array, targets_x: jax.Array, smoothing: float
) -> tuple[jax.Array, jax.Array]:
    """`loss_and_correct` of the logits hidden @ kernel, which the backward pass recomputes instead of storing."""
    return loss_and_correct(hidden_xD @ kernel_DxV, targets_x, smoothing)


def _forward(hidden, kernel, targets, smoothing):
    logits = hidden @ kernel
    logsumexp = jax.nn.logsumexp(logits.astype(jnp.float32), axis=-1)
    return loss_and_correct(logits, targets, smoothing), (hidden, kernel, targets, logsumexp)


def _backward(smoothing, residuals, gradients):
    hidden, kernel, targets, logsumexp = residuals
    with jax.named_scope(RECOMPUTE_SCOPE):
        logits = hidden @ kernel
    # The gradient of the KL divergence: softmax minus smoothed target.
    probs = jnp.exp(logits.astype(jnp.float32) - logsumexp[..., None])
    size = kernel.shape[-1]
    smoothed_targets = jnp.where(jnp.arange(size) == targets[..., None], 1 - smoothing, smoothing / (size - 1))
    dlogits = ((probs - smoothed_targets) * gradients[0][..., None]).astype(logits.dtype)
    return dlogits @ kernel.T, jnp.einsum("...d,...v->dv", hidden, dlogits), None


linear_loss_and_correct.defvjp(_forward, _backward)


Scores = tuple[jax.Array, jax.Array]
"""(loss float32, correctness bool), (B, L, K)."""


def score_in_pieces(
    module: nn.Module,
    score: Callable[..., Scores],
    mask_BxL: jax.Array,
    arrays: Sequence[jax.Array],
    num_codebooks: int,
    pieces: int,
) -> Scores:
    """score(module, *arrays), computed in pieces along L; 0 in pieces without a position of the mask.

    The positions of the mask come first, so that they are in as few pieces as possible. arrays: (B, L, ...).
    """
    if pieces == 1:
        return score(module, *arrays)
    order_BxL = jnp.argsort(~mask_BxL, axis=1, stable=True)
    sorted_arrays = [_reordered(x, order_BxL) for x in (mask_BxL, *arrays)]

    def nothing(module: nn.Module, *parts: jax.Array) -> Scores:
        shape = (*parts[0].shape[:2], num_codebooks)
        return jnp.zeros(shape, jnp.float32), jnp.zeros(shape, bool)

    found: list[Any] = []
    bounds = [mask_BxL.shape[1] * piece // pieces for piece in range(pieces + 1)]
    for start, stop in itertools.pairwise(bounds):
        here, *parts = (x[:, start:stop] for x in sorted_arrays)
        found.append(nn.cond(here.any(), score, nothing, module, *parts))
    places_BxL = jnp.argsort(order_BxL, axis=1)
    loss, correct = (_reordered(jnp.concatenate(x, axis=1), places_BxL) for x in zip(*found, strict=True))
    return loss, correct


def _reordered(x_BxLx: jax.Array, order_BxL: jax.Array) -> jax.Array:
    return jnp.take_along_axis(x_BxLx, jnp.expand_dims(order_BxL, range(2, x_BxLx.ndim)), axis=1)


@dataclasses.dataclass(frozen=True)
class TokenMetrics:
    """Loss (float32) and correctness (bool) of each prediction; position l predicts position l + 1.

    Values count where the masks are True. Durations are those of an adaptive codec.
    """

    loss_BxLxK: jax.Array
    correct_BxLxK: jax.Array
    mask_BxLxK: jax.Array
    duration_loss_BxL: jax.Array | None = None
    duration_mask_BxL: jax.Array | None = None


def token_metrics(
    targets: Targets,
    loss_BxLxK: jax.Array,
    correct_BxLxK: jax.Array,
    duration_logits: jax.Array | None,
    smoothing: float,
) -> TokenMetrics:
    """Metrics from the results of `loss_and_correct` for all codebooks, and from duration logits (B, L, durations)."""
    if duration_logits is None:
        return TokenMetrics(loss_BxLxK, correct_BxLxK, targets.mask_BxLxK)
    assert targets.durations_BxL is not None
    duration_loss = smoothed_kl(duration_logits, targets.durations_BxL, smoothing)
    return TokenMetrics(loss_BxLxK, correct_BxLxK, targets.mask_BxLxK, duration_loss, targets.duration_mask_BxL)


def masked_mean(values: jax.Array, mask: jax.Array, axes: tuple[int, ...]) -> jax.Array:
    """Mean over `axes` of the values where `mask` is True; 0 where it nowhere is."""
    mask = mask.astype(jnp.float32)
    return (values * mask).sum(axes) / jnp.maximum(mask.sum(axes), 1.0)


def weighted_loss(metrics: TokenMetrics, weights_K: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
    """(loss, its parts): the weighted mean over codebooks of their means over positions, plus that of durations."""
    codes = (masked_mean(metrics.loss_BxLxK, metrics.mask_BxLxK, (0, 1)) * weights_K).sum() / weights_K.sum()
    if metrics.duration_loss_BxL is None:
        return codes, {"codes": codes}
    assert metrics.duration_mask_BxL is not None
    durations = masked_mean(metrics.duration_loss_BxL, metrics.duration_mask_BxL, (0, 1))
    return codes + durations, {"codes": codes, "durations": durations}

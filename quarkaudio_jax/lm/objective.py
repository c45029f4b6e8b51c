"""Training objective of the language models: label-smoothed KL divergence."""

import functools

import jax
import jax.numpy as jnp

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

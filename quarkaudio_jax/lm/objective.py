"""What the language models learn by."""

import functools

import jax
import jax.numpy as jnp

from quarkaudio_jax.nn.causal import AGAIN


def smoothed_kl(logits_xV: jax.Array, targets_x: jax.Array, smoothing: float) -> jax.Array:
    """KL divergence from each smoothed target, (...): the other ids share `smoothing` equally. float32."""
    size = logits_xV.shape[-1]
    on, off = 1.0 - smoothing, smoothing / (size - 1)
    scores = jax.nn.log_softmax(logits_xV.astype(jnp.float32))
    right = jnp.take_along_axis(scores, targets_x[..., None], -1)[..., 0]
    entropy = on * jnp.log(on) + (size - 1) * off * jnp.log(off) if smoothing else 0.0
    return entropy - on * right - off * (scores.sum(-1) - right)


def judged(logits_xV: jax.Array, targets_x: jax.Array, smoothing: float) -> tuple[jax.Array, jax.Array]:
    """(smoothed KL, whether the likeliest is right) of each prediction."""
    return smoothed_kl(logits_xV, targets_x, smoothing), logits_xV.argmax(-1) == targets_x


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def judged_product(
    hidden_xD: jax.Array, kernel_DxV: jax.Array, targets_x: jax.Array, smoothing: float
) -> tuple[jax.Array, jax.Array]:
    """What `judged` says of the logits hidden @ kernel, of which the backward pass keeps none."""
    return judged(hidden_xD @ kernel_DxV, targets_x, smoothing)


def _judged_forward(hidden, kernel, targets, smoothing):
    logits = hidden @ kernel
    level = jax.nn.logsumexp(logits.astype(jnp.float32), axis=-1)
    return judged(logits, targets, smoothing), (hidden, kernel, targets, level)


def _judged_backward(smoothing, kept, slopes):
    hidden, kernel, targets, level = kept
    with jax.named_scope(AGAIN):
        logits = hidden @ kernel
    # The gradient of the KL divergence: the softmax less the smoothed target.
    found = jnp.exp(logits.astype(jnp.float32) - level[..., None])
    size = kernel.shape[-1]
    wanted = jnp.where(jnp.arange(size) == targets[..., None], 1 - smoothing, smoothing / (size - 1))
    dlogits = ((found - wanted) * slopes[0][..., None]).astype(logits.dtype)
    return dlogits @ kernel.T, jnp.einsum("...d,...v->dv", hidden, dlogits), None


judged_product.defvjp(_judged_forward, _judged_backward)

"""What the language models learn by."""

import jax
import jax.numpy as jnp


def smoothed_kl(logits_xV: jax.Array, targets_x: jax.Array, smoothing: float) -> jax.Array:
    """KL divergence from each smoothed target, (...): the other ids share `smoothing` equally. float32."""
    size = logits_xV.shape[-1]
    on, off = 1.0 - smoothing, smoothing / (size - 1)
    scores = jax.nn.log_softmax(logits_xV.astype(jnp.float32))
    right = jnp.take_along_axis(scores, targets_x[..., None], -1)[..., 0]
    entropy = on * jnp.log(on) + (size - 1) * off * jnp.log(off) if smoothing else 0.0
    return entropy - on * right - off * (scores.sum(-1) - right)

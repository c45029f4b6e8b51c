"""Self-attention with rotary positions."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from quarkaudio_jax.nn.linear import Linear
from quarkaudio_jax.nn.lstm import LSTM


def rope_angles(positions_BxT: Any, dim: int, theta: float = 10000.0) -> Any:
    """Cosines, then sines, of the rotary angles (B, T, dim) float32 of positions, for heads of width `dim`.

    Returns a NumPy array for a NumPy array.
    """
    xp = np if isinstance(positions_BxT, np.ndarray) else jnp
    inv_freq = 1.0 / theta ** (np.arange(0, dim, 2, dtype=np.float32) / np.float32(dim))
    angle_BxTxD = positions_BxT.astype(np.float32)[..., None] * inv_freq.astype(np.float32)
    return xp.concatenate([xp.cos(angle_BxTxD), xp.sin(angle_BxTxD)], -1)


def apply_rope(x: jax.Array, angles: Any, axis: int = -1) -> jax.Array:
    """Rotates x by `rope_angles`, in float32; the two halves of `axis` are paired."""
    cos, sin = jnp.split(angles, 2, axis)
    x1, x2 = jnp.split(x.astype(jnp.float32), 2, axis)
    return jnp.concatenate([x1 * cos - x2 * sin, x2 * cos + x1 * sin], axis).astype(x.dtype)


def rotary(x_BxTxHxD: jax.Array) -> jax.Array:
    """Rotary position embedding (arXiv:2104.09864) for positions 0 to T - 1."""
    length, dim = x_BxTxHxD.shape[1], x_BxTxHxD.shape[-1]
    return apply_rope(x_BxTxHxD, rope_angles(np.arange(length)[None], dim)[:, :, None])


class LSTMAttention(nn.Module):
    """H-Codec's attention: queries, keys and values from the output of an LSTM without a residual.

    The LSTM is unidirectional even if attention is bidirectional. window (causal only): frames that a frame attends to,
    itself included. Softmax is float32.
    """

    num_heads: int
    causal: bool = False
    window: int | None = None
    torch_init: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x_BxTxD: jax.Array, mask_BxT: jax.Array | None = None) -> jax.Array:
        batch, length, dim = x_BxTxD.shape
        x = LSTM(self.dtype, name="lstm")(x_BxTxD)
        q, k, v = (
            Linear(dim, dtype=self.dtype, torch_init=self.torch_init, axes=("embed", "heads"), name=name)(x)
            for name in ("query", "key", "value")
        )
        q, k, v = (a.reshape(batch, length, self.num_heads, -1) for a in (q, k, v))
        out = jax.nn.dot_product_attention(
            rotary(q),
            rotary(k),
            v,
            mask=None if mask_BxT is None else mask_BxT[:, None, None, :],
            is_causal=self.causal,
            local_window_size=None if self.window is None else (self.window - 1, 0),
        )
        out = out.reshape(batch, length, dim)
        project = dict(use_bias=False, dtype=self.dtype, torch_init=self.torch_init, axes=("heads", "embed"))
        return Linear(dim, **project, name="out")(out)

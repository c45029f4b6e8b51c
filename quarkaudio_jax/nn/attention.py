"""Self-attention with rotary positions."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from quarkaudio_jax.nn.linear import Linear
from quarkaudio_jax.nn.lstm import LSTM


def rotary_turn(positions_BxT: Any, dim: int, theta: float = 10000.0) -> Any:
    """Cosines, then sines, of the angles that rotary positions turn vectors of width `dim` by (B, T, dim), float32.

    Of a NumPy array a NumPy array.
    """
    xp = np if isinstance(positions_BxT, np.ndarray) else jnp
    inv_freq = 1.0 / theta ** (np.arange(0, dim, 2, dtype=np.float32) / np.float32(dim))
    angle_BxTxD = positions_BxT.astype(np.float32)[..., None] * inv_freq.astype(np.float32)
    return xp.concatenate([xp.cos(angle_BxTxD), xp.sin(angle_BxTxD)], -1)


def turned(x: jax.Array, turn: Any, axis: int = -1) -> jax.Array:
    """X with rotary positions, half-split pairing along `axis`, in float32; turn: as `rotary_turn` gives it."""
    cos, sin = jnp.split(turn, 2, axis)
    x1, x2 = jnp.split(x.astype(jnp.float32), 2, axis)
    return jnp.concatenate([x1 * cos - x2 * sin, x2 * cos + x1 * sin], axis).astype(x.dtype)


def rotary(x_BxTxHxD: jax.Array) -> jax.Array:
    """Rotary position embedding (arXiv:2104.09864), of positions from 0."""
    length, dim = x_BxTxHxD.shape[1], x_BxTxHxD.shape[-1]
    return turned(x_BxTxHxD, rotary_turn(np.arange(length)[None], dim)[:, :, None])


class LSTMAttention(nn.Module):
    """H-Codec's attention: an LSTM first, then q, k and v all from its output, no residual around the LSTM.

    The LSTM is unidirectional even when attention looks both ways. `window` (causal only)
    is how many frames a frame sees, itself the last of them. Softmax is float32.
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

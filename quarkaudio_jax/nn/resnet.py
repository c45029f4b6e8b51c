"""Residual block of the decoder's prior network."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from quarkaudio_jax.nn.conv import Conv1d
from quarkaudio_jax.nn.norm import GroupNorm


class ResnetBlock(nn.Module):
    """Residual block of two times GroupNorm, SiLU and a convolution of kernel 3. (B, T, C) -> same."""

    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x_BxTxC: jax.Array, mask_BxT: jax.Array | None = None) -> jax.Array:
        channels = x_BxTxC.shape[-1]
        x = x_BxTxC
        for i in (1, 2):
            x = nn.silu(GroupNorm(dtype=self.dtype, name=f"norm{i}")(x, mask_BxT))
            x = Conv1d(channels, 3, dtype=self.dtype, torch_init=True, name=f"conv{i}")(x, mask_BxT)
        return x_BxTxC + x

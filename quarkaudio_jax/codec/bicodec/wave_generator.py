"""BiCodec's vocoder, from latent frames to samples: transposed convolutions and residual units (DAC, arXiv:2306.06546)."""

import dataclasses
import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from quarkaudio_jax.nn.conv import Conv1d, ConvTranspose1d
from quarkaudio_jax.nn.init import logical
from quarkaudio_jax.nn.sine import sin_squared

DILATIONS = (1, 3, 9)


@dataclasses.dataclass(frozen=True)
class WaveGeneratorConfig:
    """Configuration of `WaveGenerator`.

    channels: after the first convolution, halved by each block. strides, kernels: of the blocks, in order.
    """

    channels: int
    strides: tuple[int, ...]
    kernels: tuple[int, ...]

    @property
    def hop(self) -> int:
        """Samples per latent frame."""
        return math.prod(self.strides)


class Snake(nn.Module):
    """Activation x + sin(a x)^2 / a with one a per channel (arXiv:2006.08195)."""

    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x_BxTxC: jax.Array) -> jax.Array:
        alpha = self.param("alpha", logical(nn.initializers.ones, "norm"), (x_BxTxC.shape[-1],)).astype(self.dtype)
        return x_BxTxC + (1 / (alpha + 1e-9)) * sin_squared(alpha * x_BxTxC)


class ResidualUnit(nn.Module):
    """x + conv1(snake(conv7(snake(x)))), with a dilated conv7. (B, T, C) -> same."""

    dilation: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x_BxTxC: jax.Array, mask_BxT: jax.Array | None = None) -> jax.Array:
        channels = x_BxTxC.shape[-1]
        x = Snake(self.dtype, name="snake1")(x_BxTxC)
        x = Conv1d(channels, 7, dilation=self.dilation, dtype=self.dtype, name="conv1")(x, mask_BxT)
        x = Snake(self.dtype, name="snake2")(x)
        return x_BxTxC + Conv1d(channels, 1, dtype=self.dtype, name="conv2")(x)


class WaveGenerator(nn.Module):
    """(B, T, C) -> (B, T * hop) in [-1, 1]. `mask_BxT`: valid latent frames."""

    cfg: WaveGeneratorConfig
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x_BxTxC: jax.Array, mask_BxT: jax.Array | None = None) -> jax.Array:
        cfg, dtype = self.cfg, self.dtype
        x = Conv1d(cfg.channels, 7, dtype=dtype, name="embed")(x_BxTxC, mask_BxT)
        for i, (stride, kernel) in enumerate(zip(cfg.strides, cfg.kernels, strict=True)):
            x = Snake(dtype, name=f"blocks_{i}_snake")(x)
            shape: dict[str, Any] = dict(kernel_size=kernel, padding=(kernel - stride) // 2, name=f"blocks_{i}_up")
            x = ConvTranspose1d(cfg.channels >> (i + 1), stride, dtype=dtype, **shape)(x, mask_BxT)
            mask_BxT = None if mask_BxT is None else jnp.repeat(mask_BxT, stride, axis=1)
            for j, dilation in enumerate(DILATIONS):
                x = ResidualUnit(dilation, dtype, name=f"blocks_{i}_units_{j}")(x, mask_BxT)
        x = Snake(dtype, name="snake")(x)
        return jnp.tanh(Conv1d(1, 7, dtype=dtype, name="out")(x, mask_BxT))[..., 0].astype(jnp.float32)

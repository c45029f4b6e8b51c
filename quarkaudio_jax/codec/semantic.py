"""The semantic encoder and decoder: convolutions from SSL features to the code frame rate and back."""

import dataclasses
import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from quarkaudio_jax.nn.conv import Conv1d, ConvTranspose1d


@dataclasses.dataclass(frozen=True)
class SemanticConfig:
    """Configuration of `SemanticEncoder` and `SemanticDecoder`.

    feature_dim: width of the SSL features. dim: width of the embedding. channels: base width. channel_ratios, strides: of
    the blocks; the decoder uses both in the encoder's order.
    """

    feature_dim: int
    dim: int
    channels: int
    channel_ratios: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def stride(self) -> int:
        """Feature frames per code frame."""
        return math.prod(self.strides)


class ResidualUnit(nn.Module):
    """x + conv1(elu(conv3(elu(x)))), no biases. (B, T, C) -> same."""

    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x_BxTxC: jax.Array, mask_BxT: jax.Array | None = None) -> jax.Array:
        channels = x_BxTxC.shape[-1]
        conv = dict(use_bias=False, dtype=self.dtype, torch_init=True)
        x = Conv1d(channels, 3, **conv, name="conv1")(nn.elu(x_BxTxC), mask_BxT)
        return x_BxTxC + Conv1d(channels, 1, **conv, name="conv2")(nn.elu(x))


class SemanticEncoder(nn.Module):
    """(B, T * stride, feature_dim) -> (B, T, dim). `mask_BxT` is at the feature rate."""

    cfg: SemanticConfig
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, features_BxTxD: jax.Array, mask_BxT: jax.Array | None = None) -> jax.Array:
        cfg = self.cfg
        conv = dict(dtype=self.dtype, torch_init=True)
        x = Conv1d(cfg.channels, 3, use_bias=False, **conv, name="embed")(features_BxTxD, mask_BxT)
        for i, (ratio, stride) in enumerate(zip(cfg.channel_ratios, cfg.strides, strict=True)):
            for j in range(2):
                x = ResidualUnit(self.dtype, name=f"blocks_{i}_unit_{j}")(x, mask_BxT)
            kernel = 3 if stride == 1 else 2 * stride
            side = (kernel - 1) // 2
            down = Conv1d(cfg.channels * ratio, kernel, stride, (side, side), **conv, name=f"blocks_{i}_conv")
            x = down(x, mask_BxT)
            mask_BxT = None if mask_BxT is None else mask_BxT[:, ::stride][:, : x.shape[1]]
        return Conv1d(cfg.dim, 3, use_bias=False, **conv, name="out")(x, mask_BxT).astype(jnp.float32)


class SemanticDecoder(nn.Module):
    """(B, T, dim) -> (B, T * stride, feature_dim). `mask_BxT` is at the code frame rate."""

    cfg: SemanticConfig
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x_BxTxD: jax.Array, mask_BxT: jax.Array | None = None) -> jax.Array:
        cfg = self.cfg
        conv = dict(dtype=self.dtype, torch_init=True)
        widths = [cfg.channels * ratio for ratio in cfg.channel_ratios] + [cfg.channels]
        x = Conv1d(widths[0], 3, use_bias=False, **conv, name="embed")(x_BxTxD, mask_BxT)
        for i, stride in enumerate(cfg.strides):
            up: nn.Module
            if stride == 1:
                up = Conv1d(widths[i + 1], 3, **conv, name=f"blocks_{i}_conv")
            else:
                up = ConvTranspose1d(widths[i + 1], stride, **conv, name=f"blocks_{i}_conv")
            x = up(x, mask_BxT)
            mask_BxT = None if mask_BxT is None else jnp.repeat(mask_BxT, stride, axis=1)
            for j in range(2):
                x = ResidualUnit(self.dtype, name=f"blocks_{i}_unit_{j}")(x, mask_BxT)
        return Conv1d(cfg.feature_dim, 3, use_bias=False, **conv, name="out")(x, mask_BxT).astype(jnp.float32)

"""The acoustic encoder of H-Codec 1.0 and 1.5: SEANet (arXiv:2009.02095, 2210.13438) and a transformer."""

import dataclasses
import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from quarkaudio_jax.nn.reflect import ReflectConv1d
from quarkaudio_jax.nn.stack import Stack
from quarkaudio_jax.nn.transformer import TransformerBlock


@dataclasses.dataclass(frozen=True)
class SeanetEncoderConfig:
    """Configuration of `SeanetEncoder`.

    filters: channels at the sample rate, doubled by each block. strides: of the blocks, in order. out_dim: width of the
    embedding. stride: transformer frames per code frame.
    """

    filters: int
    strides: tuple[int, ...]
    out_dim: int
    transformer_layers: int
    num_heads: int
    mlp_hidden: int
    stride: int = 2
    causal: bool = False

    @property
    def hop(self) -> int:
        """Samples per transformer frame."""
        return math.prod(self.strides)


class SeanetBlock(nn.Module):
    """shortcut(x) + conv1(elu(conv3(elu(x)))), with half the channels inside. (B, T, C) -> same."""

    causal: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x_BxTxC: jax.Array, lengths_B: jax.Array | None = None) -> jax.Array:
        channels, conv = x_BxTxC.shape[-1], dict(causal=self.causal, dtype=self.dtype)
        x = ReflectConv1d(channels // 2, 3, **conv, name="conv1")(nn.elu(x_BxTxC), lengths_B)
        x = ReflectConv1d(channels, 1, **conv, name="conv2")(nn.elu(x))
        return ReflectConv1d(channels, 1, **conv, name="shortcut")(x_BxTxC) + x


class SeanetEncoder(nn.Module):
    """(B, S) -> (B, ceil(S / (hop * stride)), out_dim). `mask_BxT` is at the code frame rate.

    With a mask, S must be a multiple of the code frame, and every item at least one frame long.
    """

    cfg: SeanetEncoderConfig
    dtype: Any = jnp.float32
    scan: bool = True
    remat: str = "none"

    @nn.compact
    def __call__(self, wave_BxS: jax.Array, mask_BxT: jax.Array | None = None) -> jax.Array:
        cfg, conv = self.cfg, dict(causal=self.cfg.causal, dtype=self.dtype)
        lengths = mask = None
        if mask_BxT is not None:
            lengths = jnp.maximum(mask_BxT.sum(-1), 1) * (cfg.hop * cfg.stride)
            mask = jnp.repeat(mask_BxT, cfg.stride, axis=1)
        x = ReflectConv1d(cfg.filters, 7, **conv, name="embed")(wave_BxS[..., None], lengths)
        for i, stride in enumerate(cfg.strides):
            x = nn.elu(SeanetBlock(**conv, name=f"blocks_{i}")(x, lengths))
            x = ReflectConv1d(2 * x.shape[-1], 2 * stride, stride, **conv, name=f"blocks_{i}_down")(x, lengths)
            lengths = None if lengths is None else lengths // stride
        block = dict(
            num_heads=cfg.num_heads, hidden=cfg.mlp_hidden, causal=cfg.causal, torch_init=True, dtype=self.dtype
        )
        stack: dict[str, Any] = dict(scan=self.scan, remat=self.remat, name="transformer")
        x = nn.elu(Stack(TransformerBlock, block, cfg.transformer_layers, **stack)(x, mask))
        out = ReflectConv1d(cfg.out_dim, 2 * cfg.stride, cfg.stride, **conv, name="out")
        return out(x, lengths).astype(jnp.float32)

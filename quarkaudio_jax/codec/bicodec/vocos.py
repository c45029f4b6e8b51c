"""BiCodec's semantic encoder and decoders: ConvNeXt blocks (Vocos, arXiv:2306.00814), with or without a condition."""

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from quarkaudio_jax.nn.conv import Conv1d
from quarkaudio_jax.nn.convnext import ConvNeXtBlock
from quarkaudio_jax.nn.linear import Linear
from quarkaudio_jax.nn.norm import AdaLayerNorm, LayerNorm
from quarkaudio_jax.nn.stack import Stack

STAGES, STAGE_LAYERS = 2, 2
"""Short backbones after the encoder's or before the decoders', and the ConvNeXt blocks of each."""


@dataclasses.dataclass(frozen=True)
class VocosConfig:
    """Configuration of `VocosEncoder` and `VocosDecoder`.

    dim, hidden: widths of the ConvNeXt blocks and of their MLPs. num_layers: blocks of the main backbone.
    """

    dim: int
    hidden: int
    num_layers: int
    out_dim: int


class VocosBackbone(nn.Module):
    """Convolution, norm, ConvNeXt blocks, LayerNorm: (B, T, C) -> (B, T, dim).

    adaptive: scale and shift of all norms but the last are computed from a condition (B, C).
    """

    dim: int
    hidden: int
    num_layers: int
    adaptive: bool = False
    dtype: Any = jnp.float32
    scan: bool = True

    @nn.compact
    def __call__(
        self, x_BxTxC: jax.Array, mask_BxT: jax.Array | None = None, condition_BxC: jax.Array | None = None
    ) -> jax.Array:
        x = Conv1d(self.dim, 7, dtype=self.dtype, name="embed")(x_BxTxC, mask_BxT)
        if self.adaptive:
            assert condition_BxC is not None
            x = AdaLayerNorm(dtype=self.dtype, name="norm")(x, condition_BxC)
        else:
            x = LayerNorm(dtype=self.dtype, name="norm")(x)
        block = dict(hidden=self.hidden, layer_scale=1 / self.num_layers, adaptive=self.adaptive, dtype=self.dtype)
        context = (mask_BxT, condition_BxC) if self.adaptive else mask_BxT
        x = Stack(ConvNeXtBlock, block, self.num_layers, self.scan, name="blocks")(x, context)
        return LayerNorm(dtype=self.dtype, name="final_norm")(x)


class Stages(nn.Module):
    """Consecutive short backbones, each applied to three times its input: (B, T, D) -> same.

    In the public code a stage adds its input, the repeated and the resampled input; the published model does not
    resample, so that the sum is three times the input.
    """

    cfg: VocosConfig
    dtype: Any = jnp.float32
    scan: bool = True

    @nn.compact
    def __call__(self, x_BxTxD: jax.Array, mask_BxT: jax.Array | None = None) -> jax.Array:
        for i in range(STAGES):
            stage = dict(dtype=self.dtype, scan=self.scan, name=f"stages_{i}")
            x_BxTxD = VocosBackbone(self.cfg.dim, self.cfg.hidden, STAGE_LAYERS, **stage)(3 * x_BxTxD, mask_BxT)
        return x_BxTxD


class VocosEncoder(nn.Module):
    """(B, T, C) -> (B, T, out_dim): backbone, stages, projection."""

    cfg: VocosConfig
    dtype: Any = jnp.float32
    scan: bool = True

    @nn.compact
    def __call__(self, x_BxTxC: jax.Array, mask_BxT: jax.Array | None = None) -> jax.Array:
        cfg = self.cfg
        backbone = dict(dtype=self.dtype, scan=self.scan, name="backbone")
        x = VocosBackbone(cfg.dim, cfg.hidden, cfg.num_layers, **backbone)(x_BxTxC, mask_BxT)
        x = Stages(cfg, self.dtype, self.scan, name="resample")(x, mask_BxT)
        return Linear(cfg.out_dim, dtype=self.dtype, name="project")(x).astype(jnp.float32)


class VocosDecoder(nn.Module):
    """(B, T, C) -> (B, T, out_dim): projection, stages, backbone (conditioned if `adaptive`), projection."""

    cfg: VocosConfig
    adaptive: bool = False
    dtype: Any = jnp.float32
    scan: bool = True

    @nn.compact
    def __call__(
        self, x_BxTxC: jax.Array, mask_BxT: jax.Array | None = None, condition_BxC: jax.Array | None = None
    ) -> jax.Array:
        cfg = self.cfg
        x = Linear(cfg.dim, dtype=self.dtype, name="project_in")(x_BxTxC)
        x = Stages(cfg, self.dtype, self.scan, name="resample")(x, mask_BxT)
        backbone = dict(adaptive=self.adaptive, dtype=self.dtype, scan=self.scan, name="backbone")
        x = VocosBackbone(cfg.dim, cfg.hidden, cfg.num_layers, **backbone)(x, mask_BxT, condition_BxC)
        return Linear(cfg.out_dim, dtype=self.dtype, name="project_out")(x).astype(jnp.float32)

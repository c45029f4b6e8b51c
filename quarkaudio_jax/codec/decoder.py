"""The decoder of the H-Codecs: upsampling embed, prior network, ConvNeXt stack, ISTFT head."""

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from quarkaudio_jax.nn.conv import Conv1d, SubpixelConv1d
from quarkaudio_jax.nn.convnext import ConvNeXtBlock
from quarkaudio_jax.nn.linear import Linear
from quarkaudio_jax.nn.norm import GroupNorm, LayerNorm
from quarkaudio_jax.nn.resnet import ResnetBlock
from quarkaudio_jax.nn.stack import Stack
from quarkaudio_jax.nn.stft import istft
from quarkaudio_jax.nn.transformer import TransformerBlock


@dataclasses.dataclass(frozen=True)
class SpectralDecoderConfig:
    """Configuration of `SpectralDecoder`.

    dim: width. hidden: width of the ConvNeXt MLP. n_fft, hop: samples. upsample: spectral frames per code frame.
    subpixel: upsample by a sub-pixel convolution (H-Codec 1.0 and 1.5) instead of repetition and smoothing (2.0;
    `upsample` must then be even).
    """

    dim: int
    hidden: int
    n_fft: int
    hop: int
    convnext_layers: int
    transformer_layers: int
    num_heads: int
    mlp_hidden: int
    upsample: int
    subpixel: bool = False


def limited_exp(x: jax.Array) -> jax.Array:
    """min(exp(x), 100) with a finite gradient for every x: the inner limit, over log(100), changes no value."""
    return jnp.minimum(jnp.exp(jnp.minimum(x, 5.0)), 100.0)


class ISTFTHead(nn.Module):
    """(B, T, D) -> (B, T * hop): a linear layer to [log magnitude | phase], then the inverse STFT."""

    n_fft: int
    hop: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x_BxTxD: jax.Array, mask_BxT: jax.Array | None = None) -> jax.Array:
        x = Linear(self.n_fft + 2, dtype=self.dtype, torch_init=True, axes=("embed", None), name="out")(x_BxTxD)
        log_magnitude, phase = jnp.split(x.astype(jnp.float32), 2, axis=-1)
        magnitude = limited_exp(log_magnitude)
        spectrum = jax.lax.complex(magnitude * jnp.cos(phase), magnitude * jnp.sin(phase))
        return istft(spectrum, self.hop, mask_BxT)


class SpectralDecoder(nn.Module):
    """(B, T, C) -> (B, T * upsample * hop). `mask_BxT` is at the code frame rate.

    Repeated frames are smoothed by a convolution of kernel upsample + 1.
    """

    cfg: SpectralDecoderConfig
    dtype: Any = jnp.float32
    scan: bool = True
    remat: str = "none"

    @nn.compact
    def __call__(self, x_BxTxC: jax.Array, mask_BxT: jax.Array | None = None) -> jax.Array:
        cfg = self.cfg
        stack: dict[str, Any] = dict(scan=self.scan, remat=self.remat)
        mask = None if mask_BxT is None else jnp.repeat(mask_BxT, cfg.upsample, axis=1)
        if cfg.subpixel:
            x = SubpixelConv1d(cfg.dim, 5, cfg.upsample, self.dtype, name="embed")(x_BxTxC, mask)
        else:
            x = jnp.repeat(x_BxTxC, cfg.upsample, axis=1)
            x = Conv1d(cfg.dim, cfg.upsample + 1, dtype=self.dtype, name="embed")(x, mask)
        for i in (0, 1):
            x = ResnetBlock(self.dtype, name=f"prior_resnet_{i}")(x, mask)
        block = dict(num_heads=cfg.num_heads, hidden=cfg.mlp_hidden, torch_init=True, dtype=self.dtype)
        x = Stack(TransformerBlock, block, cfg.transformer_layers, **stack, name="prior_transformer")(x, mask)
        for i in (2, 3):
            x = ResnetBlock(self.dtype, name=f"prior_resnet_{i}")(x, mask)
        x = GroupNorm(dtype=self.dtype, name="prior_norm")(x, mask)
        x = LayerNorm(dtype=self.dtype, name="norm")(x)
        block = dict(hidden=cfg.hidden, layer_scale=1 / cfg.convnext_layers, dtype=self.dtype)
        x = Stack(ConvNeXtBlock, block, cfg.convnext_layers, **stack, name="convnext")(x, mask)
        x = LayerNorm(dtype=self.dtype, name="final_norm")(x)
        return ISTFTHead(cfg.n_fft, cfg.hop, self.dtype, name="head")(x, mask)

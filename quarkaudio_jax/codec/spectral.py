"""The acoustic encoder of H-Codec 2.0: STFT, ConvNeXt, Transformer, strided output."""

import dataclasses
import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from quarkaudio_jax.nn import fourier
from quarkaudio_jax.nn.conv import Conv1d
from quarkaudio_jax.nn.convnext import ConvNeXtBlock
from quarkaudio_jax.nn.norm import LayerNorm
from quarkaudio_jax.nn.stack import Stack
from quarkaudio_jax.nn.stft import stft
from quarkaudio_jax.nn.transformer import TransformerBlock

CLIP = 1e-5
"""Smallest magnitude of which the logarithm is taken; smaller ones are clipped to it."""

FADE = 100.0
"""Magnitude at which a faded phase has its full value, in multiples of CLIP. 16-bit quantization noise is at 24."""


@dataclasses.dataclass(frozen=True)
class SpectralEncoderConfig:
    """Configuration of `SpectralEncoder`.

    dim: width. hidden: width of the ConvNeXt MLP. out_dim: width of the embedding. n_fft, hop: samples. stride: STFT
    frames per code frame. fade_phase: scale the phase to 0 where the magnitude is clipped; the published front end keeps
    the angle of rounding noise there, which differs between chips and FFTs (docs/choices.md).
    """

    dim: int
    hidden: int
    out_dim: int
    n_fft: int
    hop: int
    convnext_layers: int
    transformer_layers: int
    num_heads: int
    mlp_hidden: int
    stride: int
    fade_phase: bool = False


def log_magnitude_and_phase(wave_BxS: jax.Array, n_fft: int, hop: int, fade_phase: bool = False) -> jax.Array:
    """The front end: (B, S // hop, n_fft + 2), ln(max(|X|, CLIP)) then angle(X) / pi.

    The wave is zero-padded by (n_fft - hop) / 2 on both sides; S is a multiple of hop. Zero bins have phase 0, as in
    PyTorch, regardless of signed zeros. fade_phase: the phase rises with the log magnitude, from 0 at CLIP to its full
    value at FADE * CLIP.
    """
    pad = (n_fft - hop) // 2
    spectrum = stft(jnp.pad(wave_BxS, ((0, 0), (pad, pad))), n_fft, hop)
    magnitude = fourier.modulus(spectrum)
    log_magnitude = jnp.log(jnp.maximum(magnitude, CLIP))
    if fade_phase:
        imag = jnp.where(spectrum.imag == 0, 0.0, spectrum.imag)  # not -0, whose angle can be -pi instead of pi
        fade = jnp.clip((log_magnitude - math.log(CLIP)) / math.log(FADE), 0.0, 1.0)
        phase = jnp.where(magnitude > CLIP, fade * jnp.arctan2(imag, spectrum.real), 0.0)
    else:
        phase = jnp.where(magnitude == 0, 0.0, fourier.angle(spectrum))
    return jnp.concatenate([log_magnitude, phase / jnp.pi], axis=-1)


class SpectralEncoder(nn.Module):
    """(B, S) -> (B, T, out_dim), T = S / (hop * stride). `mask_BxT` is at the code frame rate."""

    cfg: SpectralEncoderConfig
    dtype: Any = jnp.float32
    scan: bool = True
    remat: str = "none"

    @nn.compact
    def __call__(self, wave_BxS: jax.Array, mask_BxT: jax.Array | None = None) -> jax.Array:
        cfg = self.cfg
        stack: dict[str, Any] = dict(scan=self.scan, remat=self.remat)
        if mask_BxT is not None:
            mask_BxT = jnp.repeat(mask_BxT, cfg.stride, axis=1)
        x = log_magnitude_and_phase(wave_BxS, cfg.n_fft, cfg.hop, cfg.fade_phase)
        x = Conv1d(cfg.dim, 3, dtype=self.dtype, name="embed")(x, mask_BxT)
        x = LayerNorm(dtype=self.dtype, name="norm")(x)
        block = dict(hidden=cfg.hidden, layer_scale=1 / cfg.convnext_layers, dtype=self.dtype)
        x = Stack(ConvNeXtBlock, block, cfg.convnext_layers, **stack, name="convnext")(x, mask_BxT)
        block = dict(num_heads=cfg.num_heads, hidden=cfg.mlp_hidden, dtype=self.dtype)
        x = Stack(TransformerBlock, block, cfg.transformer_layers, **stack, name="transformer")(x, mask_BxT)
        x = LayerNorm(dtype=self.dtype, name="final_norm")(x)
        out = Conv1d(cfg.out_dim, 2 * cfg.stride + 1, cfg.stride, dtype=self.dtype, name="out")
        return out(x, mask_BxT).astype(jnp.float32)

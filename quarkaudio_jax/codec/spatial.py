"""The third stream of stereo codecs: mid and side of a stereo wave, and side vectors from a position (HCodec-Spatial).

A stereo codec encodes mid = (left + right) / 2 as a mono codec does, and side = (left - right) / 2 by an encoder and a
residual VQ of its own. Its decoder runs twice, on the sum and on the difference of both code vectors, for left and right.
"""

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from quarkaudio_jax.codec.quantize import QuantizerConfig
from quarkaudio_jax.codec.seanet import SeanetEncoderConfig
from quarkaudio_jax.nn.conv import DepthwiseConv1d, depthwise_conv, zero_invalid
from quarkaudio_jax.nn.init import logical
from quarkaudio_jax.nn.linear import Linear
from quarkaudio_jax.nn.norm import GroupNorm

AZIMUTHS, ELEVATIONS, DISTANCES = 360, 180, 50
"""Positions that a `SpatialMapNet` tells apart: degrees from 0, degrees from -90, tenths of a meter from 0."""

CHANNELS = 2
"""Channels of a stereo wave: left, right."""


@dataclasses.dataclass(frozen=True)
class SpatialMapConfig:
    """Configuration of `SpatialMapNet`.

    embed_dim: width of each of the position's three embeddings. hidden: width of the condition's MLPs. width: of the
    convolutions. dilations: one block each. smoothing: frames over which the output is averaged, odd.
    """

    embed_dim: int = 256
    hidden: int = 1024
    width: int = 768
    dilations: tuple[int, ...] = (1, 1, 2, 2, 4, 4, 8, 8, 16, 16)
    smoothing: int = 9


@dataclasses.dataclass(frozen=True)
class SpatialConfig:
    """Configuration of the third stream. mapping: of mono to stereo, None if the codec has none."""

    encoder: SeanetEncoderConfig
    quantizer: QuantizerConfig
    mapping: SpatialMapConfig | None = None


def mid_side(wave_BxSxC: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Mid and side of left and right, each (B, S); left = mid + side, right = mid - side."""
    left_BxS, right_BxS = wave_BxSxC[..., 0], wave_BxSxC[..., 1]
    return (left_BxS + right_BxS) * 0.5, (left_BxS - right_BxS) * 0.5


def mid_of(wave: jax.Array) -> jax.Array:
    """Mid of a stereo wave (B, S, 2); a mono wave (B, S) is returned unchanged."""
    return wave if wave.ndim == 2 else mid_side(wave)[0]


def views_of(wave: jax.Array) -> jax.Array:
    """Left, right, mid and side of a stereo wave (B, S, 2) as mono waves (4 B, S); a mono wave is returned unchanged."""
    return wave if wave.ndim == 2 else jnp.concatenate([wave[..., 0], wave[..., 1], *mid_side(wave)])


def channels_of(wave: jax.Array) -> jax.Array:
    """Left and right of a stereo wave (B, S, 2) as mono waves (2 B, S); a mono wave is returned unchanged."""
    return wave if wave.ndim == 2 else jnp.concatenate([wave[..., 0], wave[..., 1]])


def position_indices(position_Bx3: jax.Array) -> jax.Array:
    """Rows of the embedding tables, (B, 3) int32, of azimuth and elevation in degrees and distance in meters.

    Fractions of a degree or of 0.1 m are cut off, as in the public code; 0.001 of a step allows for rounding. Values out of
    range take the nearest row, azimuths the equivalent angle; NaN takes row 0.
    """
    azimuth, elevation, distance = (jnp.nan_to_num(position_Bx3[:, i]) for i in range(3))
    steps = jnp.stack([azimuth % AZIMUTHS, elevation + ELEVATIONS // 2, distance * 10], axis=-1)
    rows = jnp.floor(steps + 1e-3).astype(jnp.int32)
    return jnp.clip(rows, 0, jnp.asarray([AZIMUTHS, ELEVATIONS, DISTANCES]) - 1)


class ConditionMLP(nn.Module):
    """Three linear layers with SiLU between them, the last initialized to 0. (B, D) -> (B, features)."""

    hidden: int
    features: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x_BxD: jax.Array) -> jax.Array:
        for i in range(2):
            x_BxD = nn.silu(Linear(self.hidden, dtype=self.dtype, torch_init=True, name=f"dense_{i}")(x_BxD))
        return Linear(self.features, dtype=self.dtype, zero_init=True, name="dense_2")(x_BxD)


class GatedBlock(nn.Module):
    """Residual block: GroupNorm, SiLU, depthwise convolution of kernel 7, gated linear unit. (B, T, C) -> same."""

    dilation: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x_BxTxC: jax.Array, mask_BxT: jax.Array | None = None) -> jax.Array:
        channels = x_BxTxC.shape[-1]
        x = nn.silu(GroupNorm(min(32, channels), 1e-5, self.dtype, name="norm")(x_BxTxC, mask_BxT))
        x = DepthwiseConv1d(7, dtype=self.dtype, dilation=self.dilation, torch_init=True, name="dwconv")(x, mask_BxT)
        value, gate = jnp.split(Linear(2 * channels, dtype=self.dtype, zero_init=True, name="gated")(x), 2, axis=-1)
        return x_BxTxC + value * nn.sigmoid(gate)


class SpatialMapNet(nn.Module):
    """Side vectors from acoustic and semantic vectors and a position, by FiLM (arXiv:1709.07871). (B, T, D) -> same.

    position_Bx3: see `position_indices`. The output is 0 at initialization.
    """

    cfg: SpatialMapConfig
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, acoustic_BxTxD: jax.Array, semantic_BxTxD: jax.Array, position_Bx3: jax.Array, mask_BxT=None
    ) -> jax.Array:
        cfg, dense = self.cfg, dict(dtype=self.dtype, torch_init=True)
        rows_Bx3 = position_indices(position_Bx3)
        tables = (("azimuth", AZIMUTHS), ("elevation", ELEVATIONS), ("distance", DISTANCES))
        normal = logical(nn.initializers.normal(1.0), None, "embed")
        embedded = [
            self.param(name, normal, (size, cfg.embed_dim))[rows_Bx3[:, i]] for i, (name, size) in enumerate(tables)
        ]
        condition = jnp.concatenate(embedded, axis=-1)
        for i in range(2):
            condition = nn.silu(Linear(cfg.hidden, **dense, name=f"condition_{i}")(condition))
        scale, shift, gate = (
            ConditionMLP(cfg.hidden, cfg.width, self.dtype, name=name)(condition)[:, None]
            for name in ("scale", "shift", "gate")
        )
        mid = Linear(cfg.width, **dense, name="mid_in")(acoustic_BxTxD)
        semantic = Linear(cfg.width, **dense, name="semantic_in")(semantic_BxTxD)
        zero: dict[str, Any] = dict(dtype=self.dtype, zero_init=True)
        cross = jnp.tanh(Linear(cfg.width, **zero, name="cross_gate")(semantic))
        base = Linear(cfg.width, **zero, name="side_base")(mid) * (0.5 * cross + 0.5 * jnp.tanh(gate))
        x = (mid + 0.5 * semantic + base) * (1.0 + scale) + shift
        for i, dilation in enumerate(cfg.dilations):
            x = GatedBlock(dilation, self.dtype, name=f"blocks_{i}")(x, mask_BxT)
        x = GroupNorm(min(32, cfg.width), 1e-5, self.dtype, name="out_norm")(nn.silu(x), mask_BxT)
        x = zero_invalid(Linear(acoustic_BxTxD.shape[-1], **zero, name="out")(x), mask_BxT)
        taps = jnp.full((cfg.smoothing, x.shape[-1]), 1 / cfg.smoothing, x.dtype)
        x = depthwise_conv(x, taps, (cfg.smoothing // 2, cfg.smoothing // 2)).astype(jnp.float32)
        return x * self.param("out_scale", logical(nn.initializers.constant(0.15)), ())

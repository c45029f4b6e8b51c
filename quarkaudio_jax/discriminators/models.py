"""The two discriminators: multi-period, and multi-band multi-resolution on complex STFTs.

Each returns, per member, (features of the hidden layers, logits).
"""

import itertools
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from quarkaudio_jax.nn.blocks import Blocks, blocked_conv2d, blocks_of
from quarkaudio_jax.nn.init import logical, torch_bias, torch_kernel
from quarkaudio_jax.nn.norm import safe_norm
from quarkaudio_jax.nn.stft import reflect_stft
from quarkaudio_jax.sharding.partition import constrain, gathered, platform
from quarkaudio_jax.types import ceil_div

LANES = 128
"""Channels that a TPU's units work on at once."""


class DiscriminatorOutput(NamedTuple):
    """features: hidden layers of one member; logits: its last layer."""

    features: list[Blocks]
    logits: jax.Array


@jax.custom_vjp
def leaky_relu(x: jax.Array) -> jax.Array:
    """max(x, 0.1 x). Its gradient is reckoned from what it gives, without masks, which XLA would keep beside it."""
    return jnp.maximum(x, x * 0.1)


leaky_relu.defvjp(
    lambda x: (leaky_relu(x),) * 2, lambda out, grad: (grad * (0.1 + 0.9 * jnp.clip(jnp.sign(out) + 1, 0, 1)),)
)


class WeightNormConv2d(nn.Module):
    """2-D convolution with a stride along columns, kernel = g v / |v| per output channel (arXiv:1602.07868).

    "Half" padding. block: columns to a block of what it gives. turned: the kernel is kept as (columns, rows, in, out).
    """

    features: int
    kernel_size: tuple[int, int]
    stride: int = 1
    block: int = 1
    dtype: Any = jnp.float32
    turned: bool = False

    @nn.compact
    def __call__(self, x: Blocks, before: int = 0, multiple: int = 1) -> Blocks:
        """before, multiple: of the image that it gives, see `blocked_conv2d`."""
        sides = self.kernel_size[::-1] if self.turned else self.kernel_size
        shape = (*sides, x.values.shape[-1] // x.block, self.features)
        fan_in = shape[0] * shape[1] * shape[2]
        v = self.param("v", logical(torch_kernel, None, None, "embed", "mlp"), shape)
        norm = safe_norm(v, (0, 1, 2))
        start = jax.lax.stop_gradient(norm)
        g = self.param("g", logical(lambda key, shape, dtype=jnp.float32: start, "mlp"), (self.features,))
        bias = self.param("bias", logical(torch_bias(fan_in), "mlp"), (self.features,))
        kernel = gathered((v * (g / jnp.maximum(norm, 1e-12))).astype(self.dtype), (None, None, "embed", "mlp"))
        kernel = kernel.swapaxes(0, 1) if self.turned else kernel
        x = x.map(lambda values: constrain(values, "batch").astype(self.dtype))
        return blocked_conv2d(x, kernel, bias.astype(self.dtype), self.stride, self.block, before, multiple)


class PeriodDiscriminator(nn.Module):
    """Sees every `period`-th sample as a row (HiFi-GAN, arXiv:2010.05646).

    blocked: a layer sees blocks of as many columns as its stride, and has none from block to block.
    """

    period: int
    channels: tuple[int, ...]
    blocked: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, wave_BxS: jax.Array) -> DiscriminatorOutput:
        strides = [3] * (len(self.channels) - 1) + [1, 1]
        # A narrow layer computes whole blocks of the next one; a wide one computes columns, which are joined afterwards.
        narrow = [self.blocked and width < LANES for width in self.channels]
        blocks = [stride if few else 1 for stride, few in zip(strides[1:], narrow, strict=True)]
        wanted = [s * b if self.blocked else 1 for s, b in zip(strides, [*blocks, 1], strict=True)]
        x, features = _rows(wave_BxS, self.period, wanted[0]), []
        for i, width in enumerate(self.channels):
            conv = WeightNormConv2d(width, (1, 5), strides[i], blocks[i], self.dtype, True, name=f"conv_{i}")
            x = conv(x.joined(wanted[i]), multiple=wanted[i + 1]).map(leaky_relu)
            features.append(x)
        return DiscriminatorOutput(
            features, WeightNormConv2d(1, (1, 3), dtype=self.dtype, turned=True, name="out")(x).image()
        )


def _rows(wave_BxS: jax.Array, period: int, block: int) -> Blocks:
    """Every `period`-th sample as a row: the image (B, period, T, 1) in blocks of `block` columns, its end reflected."""
    batch, size = wave_BxS.shape
    width = ceil_div(size, period)
    wave_BxS = jnp.pad(wave_BxS, ((0, 0), (0, width * period - size)), mode="reflect")
    wave_BxS = jnp.pad(wave_BxS, ((0, 0), (0, -width % block * period)))
    return Blocks(wave_BxS.reshape(batch, -1, block, period).transpose(0, 3, 1, 2), width, block)


class SpectralDiscriminator(nn.Module):
    """Sees real and imaginary parts of an STFT, each band through convolutions of its own (DAC, arXiv:2306.06546).

    bands: edges of the bands as shares of the frequency axis. blocked: its layers give blocks of LANES channels.
    """

    n_fft: int
    bands: tuple[float, ...]
    channels: int
    blocked: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, wave_BxS: jax.Array) -> DiscriminatorOutput:
        spectrum = reflect_stft(wave_BxS, self.n_fft, self.n_fft // 4)
        x_BxTxFx2 = jnp.stack([part.astype(self.dtype) for part in (spectrum.real, spectrum.imag)], axis=-1)
        bins, block = x_BxTxFx2.shape[2], max(LANES // self.channels, 1) if self.blocked else 1
        features, outs = [], []
        for band, (low, high) in enumerate(itertools.pairwise(self.bands)):
            x = blocks_of(x_BxTxFx2[:, :, int(low * bins) : int(high * bins)], block)
            for i, (stride, following) in enumerate(itertools.pairwise((1, 2, 2, 2, 1, 1))):
                kernel = (3, 9) if i < 4 else (3, 3)
                conv = WeightNormConv2d(self.channels, kernel, stride, block, self.dtype, name=f"band_{band}_conv_{i}")
                if self.blocked:
                    # A block in front makes what a block of the next layer sees begin with a pair of blocks.
                    x = conv(x.joined(stride * block), block * (following - 1), following * block).map(leaky_relu)
                else:
                    x = conv(x).map(leaky_relu)
                features.append(x)
            outs.append(x.image())
        joined = blocks_of(jnp.concatenate(outs, axis=2), block)
        return DiscriminatorOutput(
            features, WeightNormConv2d(1, (3, 3), 1, block, self.dtype, name="out")(joined).image()
        )


class Discriminators(nn.Module):
    """All members on a wave (B, S): the periods first, then the STFT sizes.

    The mean is removed and the peak brought to 0.8 first, as DAC does. blocked: narrow layers hold several columns of
    their image in their channels, which computes the same; None: on TPUs, whose memory is laid out for 128 channels.
    """

    periods: tuple[int, ...]
    period_channels: tuple[int, ...]
    fft_sizes: tuple[int, ...]
    bands: tuple[float, ...]
    spectral_channels: int
    dtype: Any = jnp.float32
    blocked: bool | None = None

    @nn.compact
    def __call__(self, wave_BxS: jax.Array) -> list[DiscriminatorOutput]:
        wave_BxS = wave_BxS - wave_BxS.mean(-1, keepdims=True)
        wave_BxS = 0.8 * wave_BxS / (jnp.abs(wave_BxS).max(-1, keepdims=True) + 1e-9)
        how = (platform() == "tpu" if self.blocked is None else self.blocked, self.dtype)
        members = [PeriodDiscriminator(p, self.period_channels, *how, name=f"period_{p}") for p in self.periods]
        members += [
            SpectralDiscriminator(n, self.bands, self.spectral_channels, *how, name=f"spectral_{n}")
            for n in self.fft_sizes
        ]
        return [member(wave_BxS) for member in members]

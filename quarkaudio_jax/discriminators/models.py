"""Multi-period discriminator, and multi-band multi-resolution discriminator of complex STFTs."""

import itertools
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from quarkaudio_jax.nn.blocks import Blocks, blocked_conv2d, to_blocks
from quarkaudio_jax.nn.init import logical, torch_bias, torch_kernel
from quarkaudio_jax.nn.norm import safe_norm
from quarkaudio_jax.nn.stft import reflect_stft
from quarkaudio_jax.sharding.partition import constrain, gathered, platform
from quarkaudio_jax.types import ceil_div

LANES = 128
"""Channels in a TPU's memory layout."""


class DiscriminatorOutput(NamedTuple):
    """Output of one discriminator. features: hidden layers; logits: last layer."""

    features: list[Blocks]
    logits: jax.Array


@jax.custom_vjp
def leaky_relu(x: jax.Array) -> jax.Array:
    """max(x, 0.1 x), with a gradient computed from the output, so that XLA saves no mask."""
    return jnp.maximum(x, x * 0.1)


leaky_relu.defvjp(
    lambda x: (leaky_relu(x),) * 2, lambda out, grad: (grad * (0.1 + 0.9 * jnp.clip(jnp.sign(out) + 1, 0, 1)),)
)


class WeightNormConv2d(nn.Module):
    """2-D convolution with a stride along columns, kernel = g v / |v| per output channel (arXiv:1602.07868).

    Zero padding by half the kernel. block: columns per block of the output. transposed: the kernel parameter is (columns,
    rows, in, out).
    """

    features: int
    kernel_size: tuple[int, int]
    stride: int = 1
    block: int = 1
    dtype: Any = jnp.float32
    transposed: bool = False

    @nn.compact
    def __call__(self, x: Blocks, before: int = 0, multiple: int = 1) -> Blocks:
        """The convolved image; before, multiple: see `blocked_conv2d`."""
        sides = self.kernel_size[::-1] if self.transposed else self.kernel_size
        shape = (*sides, x.values.shape[-1] // x.block, self.features)
        fan_in = shape[0] * shape[1] * shape[2]
        v = self.param("v", logical(torch_kernel, None, None, "embed", "mlp"), shape)
        norm = safe_norm(v, (0, 1, 2))
        start = jax.lax.stop_gradient(norm)
        g = self.param("g", logical(lambda key, shape, dtype=jnp.float32: start, "mlp"), (self.features,))
        bias = self.param("bias", logical(torch_bias(fan_in), "mlp"), (self.features,))
        kernel = gathered((v * (g / jnp.maximum(norm, 1e-12))).astype(self.dtype), (None, None, "embed", "mlp"))
        kernel = kernel.swapaxes(0, 1) if self.transposed else kernel
        x = x.map(lambda values: constrain(values, "batch").astype(self.dtype))
        return blocked_conv2d(x, kernel, bias.astype(self.dtype), self.stride, self.block, before, multiple)


class PeriodDiscriminator(nn.Module):
    """Discriminator of the image whose rows are every `period`-th sample (HiFi-GAN, arXiv:2010.05646).

    blocked: fold as many columns into channels as a layer's stride, which then has no stride over blocks.
    """

    period: int
    channels: tuple[int, ...]
    blocked: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, wave_BxS: jax.Array) -> DiscriminatorOutput:
        strides = [3] * (len(self.channels) - 1) + [1, 1]
        # A narrow layer outputs the blocks of the next one; a wide layer outputs columns, which are merged afterwards.
        narrow = [self.blocked and width < LANES for width in self.channels]
        blocks = [stride if few else 1 for stride, few in zip(strides[1:], narrow, strict=True)]
        sizes = [s * b if self.blocked else 1 for s, b in zip(strides, [*blocks, 1], strict=True)]
        x, features = _rows(wave_BxS, self.period, sizes[0]), []
        for i, width in enumerate(self.channels):
            conv = WeightNormConv2d(width, (1, 5), strides[i], blocks[i], self.dtype, True, name=f"conv_{i}")
            x = conv(x.merge(sizes[i]), multiple=sizes[i + 1]).map(leaky_relu)
            features.append(x)
        return DiscriminatorOutput(
            features, WeightNormConv2d(1, (1, 3), dtype=self.dtype, transposed=True, name="out")(x).image()
        )


def _rows(wave_BxS: jax.Array, period: int, block: int) -> Blocks:
    """Every `period`-th sample as a row: the image (B, period, T, 1) in blocks, with reflection padding at the end."""
    batch, size = wave_BxS.shape
    width = ceil_div(size, period)
    wave_BxS = jnp.pad(wave_BxS, ((0, 0), (0, width * period - size)), mode="reflect")
    wave_BxS = jnp.pad(wave_BxS, ((0, 0), (0, -width % block * period)))
    return Blocks(wave_BxS.reshape(batch, -1, block, period).transpose(0, 3, 1, 2), width, block)


class SpectralDiscriminator(nn.Module):
    """Discriminator of an STFT's real and imaginary parts, with own convolutions per band (DAC, arXiv:2306.06546).

    bands: edges of the bands as fractions of the frequency axis. blocked: layers output blocks of LANES channels.
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
            x = to_blocks(x_BxTxFx2[:, :, int(low * bins) : int(high * bins)], block)
            for i, (stride, following) in enumerate(itertools.pairwise((1, 2, 2, 2, 1, 1))):
                kernel = (3, 9) if i < 4 else (3, 3)
                conv = WeightNormConv2d(self.channels, kernel, stride, block, self.dtype, name=f"band_{band}_conv_{i}")
                if self.blocked:
                    # A leading empty block aligns the receptive field of the next layer's blocks with pairs of blocks.
                    x = conv(x.merge(stride * block), block * (following - 1), following * block).map(leaky_relu)
                else:
                    x = conv(x).map(leaky_relu)
                features.append(x)
            outs.append(x.image())
        merged = to_blocks(jnp.concatenate(outs, axis=2), block)
        return DiscriminatorOutput(
            features, WeightNormConv2d(1, (3, 3), 1, block, self.dtype, name="out")(merged).image()
        )


class Discriminators(nn.Module):
    """All discriminators of a wave (B, S): those of the periods, then those of the STFT sizes.

    The wave's mean is removed and its peak scaled to 0.8, as in DAC. blocked: fold columns into the channels of narrow
    layers, with the same results; None: on TPUs, whose memory layout has 128 channels.
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
        blocked = platform() == "tpu" if self.blocked is None else self.blocked
        members: list[nn.Module] = [
            PeriodDiscriminator(p, self.period_channels, blocked, self.dtype, name=f"period_{p}") for p in self.periods
        ]
        members += [
            SpectralDiscriminator(n, self.bands, self.spectral_channels, blocked, self.dtype, name=f"spectral_{n}")
            for n in self.fft_sizes
        ]
        return [member(wave_BxS) for member in members]

"""The two discriminators: multi-period, and multi-band multi-resolution on complex STFTs.

Each returns, per member, (features of the hidden layers, logits).
"""

import itertools
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from quarkaudio_jax.nn.conv import conv2d
from quarkaudio_jax.nn.init import logical, torch_bias, torch_kernel
from quarkaudio_jax.nn.partition import constrain, gathered
from quarkaudio_jax.nn.stft import reflect_stft


class Judgement(NamedTuple):
    """features: hidden layers of one member; logits: its last layer."""

    features: list[jax.Array]
    logits: jax.Array


class WeightNormConv2d(nn.Module):
    """2-D convolution, (B, H, W, C), kernel = g v / |v| per output channel (arXiv:1602.07868), "half" padding."""

    features: int
    kernel_size: tuple[int, int]
    strides: tuple[int, int] = (1, 1)
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x_BxHxWxC: jax.Array) -> jax.Array:
        shape = (*self.kernel_size, x_BxHxWxC.shape[-1], self.features)
        fan_in = shape[0] * shape[1] * shape[2]
        v = self.param("v", logical(torch_kernel, None, None, "embed", "mlp"), shape)
        norm = jnp.sqrt(jnp.square(v).sum((0, 1, 2)))
        start = jax.lax.stop_gradient(norm)
        g = self.param("g", logical(lambda key, shape, dtype=jnp.float32: start, "mlp"), (self.features,))
        bias = self.param("bias", logical(torch_bias(fan_in), "mlp"), (self.features,))
        kernel = gathered((v * (g / jnp.maximum(norm, 1e-12))).astype(self.dtype), (None, None, "embed", "mlp"))
        out = conv2d(constrain(x_BxHxWxC, "batch").astype(self.dtype), kernel, self.strides)
        return out + bias.astype(self.dtype)


class PeriodDiscriminator(nn.Module):
    """Sees every `period`-th sample as a column (HiFi-GAN, arXiv:2010.05646)."""

    period: int
    channels: tuple[int, ...]
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, wave_BxS: jax.Array) -> Judgement:
        pad = -wave_BxS.shape[1] % self.period
        x = jnp.pad(wave_BxS, ((0, 0), (0, pad)), mode="reflect")
        x = x.reshape(x.shape[0], -1, self.period, 1)
        features = []
        for i, width in enumerate(self.channels):
            stride = 3 if i < len(self.channels) - 1 else 1
            x = WeightNormConv2d(width, (5, 1), (stride, 1), self.dtype, name=f"conv_{i}")(x)
            x = nn.leaky_relu(x, 0.1)
            features.append(x)
        return Judgement(features, WeightNormConv2d(1, (3, 1), dtype=self.dtype, name="out")(x))


class SpectralDiscriminator(nn.Module):
    """Sees real and imaginary parts of an STFT, each band through convolutions of its own (DAC, arXiv:2306.06546).

    bands: edges of the bands as shares of the frequency axis.
    """

    n_fft: int
    bands: tuple[float, ...]
    channels: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, wave_BxS: jax.Array) -> Judgement:
        spectrum = reflect_stft(wave_BxS, self.n_fft, self.n_fft // 4)
        x_BxTxFx2 = jnp.stack([spectrum.real, spectrum.imag], axis=-1)
        bins = x_BxTxFx2.shape[2]
        features, outs = [], []
        for band, (low, high) in enumerate(itertools.pairwise(self.bands)):
            x = x_BxTxFx2[:, :, int(low * bins) : int(high * bins)]
            for i in range(5):
                kernel = (3, 9) if i < 4 else (3, 3)
                strides = (1, 2) if 1 <= i <= 3 else (1, 1)
                conv = WeightNormConv2d(self.channels, kernel, strides, self.dtype, name=f"band_{band}_conv_{i}")
                x = nn.leaky_relu(conv(x), 0.1)
                features.append(x)
            outs.append(x)
        joined = jnp.concatenate(outs, axis=2)
        return Judgement(features, WeightNormConv2d(1, (3, 3), dtype=self.dtype, name="out")(joined))


class Discriminators(nn.Module):
    """All members on a wave (B, S): the periods first, then the STFT sizes.

    The mean is removed and the peak brought to 0.8 first, as DAC does.
    """

    periods: tuple[int, ...]
    period_channels: tuple[int, ...]
    fft_sizes: tuple[int, ...]
    bands: tuple[float, ...]
    spectral_channels: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, wave_BxS: jax.Array) -> list[Judgement]:
        wave_BxS = wave_BxS - wave_BxS.mean(-1, keepdims=True)
        wave_BxS = 0.8 * wave_BxS / (jnp.abs(wave_BxS).max(-1, keepdims=True) + 1e-9)
        members = [PeriodDiscriminator(p, self.period_channels, self.dtype, name=f"period_{p}") for p in self.periods]
        members += [
            SpectralDiscriminator(n, self.bands, self.spectral_channels, self.dtype, name=f"spectral_{n}")
            for n in self.fft_sizes
        ]
        return [member(wave_BxS) for member in members]

"""Sample-rate conversion in JAX."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from quarkaudio_jax.types import rescale

ZEROS, ROLLOFF = 6, 0.99
"""Zero crossings of the sinc on each side; cut-off relative to the lower Nyquist frequency."""


def sinc_kernels(down: int, up: int) -> tuple[np.ndarray, int]:
    """(filters of the `up` output phases (taps, up) float32, samples before an output that they use)."""
    cutoff = min(down, up) * ROLLOFF
    width = math.ceil(ZEROS * down / cutoff)
    time = np.arange(-width, width + down)[:, None] / down - np.arange(up)[None] / up
    time = np.clip(time * cutoff, -ZEROS, ZEROS)
    return (np.sinc(time) * np.cos(time * np.pi / ZEROS / 2) ** 2 * cutoff / down).astype(np.float32), width


def resample(wave_BxS: jax.Array, rate: int, new_rate: int) -> jax.Array:
    """Hann-windowed sinc interpolation, (B, S) -> (B, ceil(S * new_rate / rate)); rates in Hz.

    Six zero crossings and a roll-off of 0.99, the defaults of torchaudio (J. O. Smith, Digital Audio Resampling); zero
    padding on both sides.
    """
    if rate == new_rate:
        return wave_BxS
    common = math.gcd(rate, new_rate)
    down, up = rate // common, new_rate // common
    kernels, width = sinc_kernels(down, up)
    length = wave_BxS.shape[1]
    out = jax.lax.conv_general_dilated(
        jnp.pad(wave_BxS, ((0, 0), (width, width + down)))[..., None],
        jnp.asarray(kernels)[:, None],
        window_strides=(down,),
        padding="VALID",
        dimension_numbers=("NWC", "WIO", "NWC"),
        precision=jax.lax.Precision.HIGHEST,
    )
    return out.reshape(wave_BxS.shape[0], -1)[:, : rescale(length, down, up, "up")]

"""Mel spectrograms."""

import jax
import jax.numpy as jnp

from quarkaudio_jax.io.mel import MEL_BANDS, MEL_WINDOWS, mel_filters, mel_scales
from quarkaudio_jax.nn.stft import reflect_stft


def magnitude(spectrum: jax.Array) -> jax.Array:
    """|X| with a finite gradient at 0."""
    power = jnp.square(spectrum.real) + jnp.square(spectrum.imag)
    return jnp.sqrt(jnp.maximum(power, 1e-14))


def log_mel(spectrum_BxTxF: jax.Array, sample_rate: int, n_fft: int, bands: int, floor: float = 1e-5) -> jax.Array:
    """log10 mel magnitudes (B, T, bands) float32 of an STFT, with magnitudes of at least `floor`."""
    mel = magnitude(spectrum_BxTxF) @ mel_filters(sample_rate, n_fft, bands)
    return jnp.log10(jnp.maximum(mel, floor))


def multi_scale_mel_distance(
    pred_BxS: jax.Array,
    target_BxS: jax.Array,
    sample_rate: int,
    windows: tuple[int, ...] = MEL_WINDOWS,
    bands: tuple[int, ...] = MEL_BANDS,
) -> jax.Array:
    """Sum over scales of the mean |log10 mel difference|, (B,) (DAC, arXiv:2306.06546, section 3.5)."""
    total = jnp.zeros(len(pred_BxS), jnp.float32)
    for n_fft, hop, count in mel_scales(windows, bands):
        a, b = (log_mel(reflect_stft(x, n_fft, hop), sample_rate, n_fft, count) for x in (pred_BxS, target_BxS))
        total += jnp.abs(a - b).mean((1, 2))
    return total


def stft_distance(pred_BxS: jax.Array, target_BxS: jax.Array, windows: tuple[int, ...] = (2048, 512)) -> jax.Array:
    """Sum over windows of mean |log10 power difference| plus mean |magnitude difference|, (B,) (as DAC's STFT loss)."""
    total = jnp.zeros(len(pred_BxS), jnp.float32)
    for n_fft in windows:
        a, b = (magnitude(reflect_stft(x, n_fft, n_fft // 4)) for x in (pred_BxS, target_BxS))
        log_a, log_b = (2 * jnp.log10(jnp.maximum(m, 1e-5)) for m in (a, b))
        total += jnp.abs(log_a - log_b).mean((1, 2)) + jnp.abs(a - b).mean((1, 2))
    return total

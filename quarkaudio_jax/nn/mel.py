"""Mel spectrograms."""

import functools
import warnings

import jax
import jax.numpy as jnp
import numpy as np

from quarkaudio_jax.errors import UserError
from quarkaudio_jax.nn.stft import reflect_stft


@functools.lru_cache(maxsize=64)
def mel_filters(
    sample_rate: int, n_fft: int, bands: int, low: float = 0.0, high: float | None = None, htk: bool = False
) -> np.ndarray:
    """librosa's triangular filters from `low` to `high` Hz (half the rate), (n_fft // 2 + 1, bands) float32.

    Slaney's scale and norm, or with `htk` the HTK scale and peaks of 1.
    """
    import librosa  # slow to import

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # narrow filters of the finest scales hold no bin; they stay 0
        filters = librosa.filters.mel(
            sr=sample_rate, n_fft=n_fft, n_mels=bands, fmin=low, fmax=high, htk=htk, norm=None if htk else "slaney"
        )
    return filters.T.astype(np.float32)


def magnitude(spectrum: jax.Array) -> jax.Array:
    """|X| with a finite gradient at 0."""
    power = jnp.square(spectrum.real) + jnp.square(spectrum.imag)
    return jnp.sqrt(jnp.maximum(power, 1e-14))


def log_mel(wave_BxS: jax.Array, sample_rate: int, n_fft: int, hop: int, bands: int, floor: float = 1e-5) -> jax.Array:
    """log10 mel magnitudes, (B, T, bands) float32; values below `floor` are raised to it."""
    mel = magnitude(reflect_stft(wave_BxS, n_fft, hop)) @ mel_filters(sample_rate, n_fft, bands)
    return jnp.log10(jnp.maximum(mel, floor))


def mel_scales(windows: tuple[int, ...], bands: tuple[int, ...]) -> list[tuple[int, int, int]]:
    """(n_fft, hop, bands) of each scale of a multi-scale mel distance; the hop is a quarter of the window."""
    if len(windows) != len(bands):
        raise UserError(f"mel scales: {len(windows)} windows, but {len(bands)} numbers of bands; give one for each")
    return [(n_fft, max(n_fft // 4, 1), count) for n_fft, count in zip(windows, bands, strict=True)]


def multi_scale_mel_distance(
    pred_BxS: jax.Array,
    target_BxS: jax.Array,
    sample_rate: int,
    windows: tuple[int, ...] = (32, 64, 128, 256, 512, 1024, 2048),
    bands: tuple[int, ...] = (5, 10, 20, 40, 80, 160, 320),
) -> jax.Array:
    """Sum over scales of the mean |log10 mel difference|, (B,) (DAC, arXiv:2306.06546, section 3.5)."""
    total = 0.0
    for n_fft, hop, count in mel_scales(windows, bands):
        a, b = (log_mel(x, sample_rate, n_fft, hop, count) for x in (pred_BxS, target_BxS))
        total += jnp.abs(a - b).mean((1, 2))
    return total


def stft_distance(pred_BxS: jax.Array, target_BxS: jax.Array, windows: tuple[int, ...] = (2048, 512)) -> jax.Array:
    """Sum over windows of mean |log10 power difference| plus mean |magnitude difference|, (B,) (as DAC's STFT loss)."""
    total = 0.0
    for n_fft in windows:
        a, b = (magnitude(reflect_stft(x, n_fft, n_fft // 4)) for x in (pred_BxS, target_BxS))
        log_a, log_b = (2 * jnp.log10(jnp.maximum(m, 1e-5)) for m in (a, b))
        total += jnp.abs(log_a - log_b).mean((1, 2)) + jnp.abs(a - b).mean((1, 2))
    return total

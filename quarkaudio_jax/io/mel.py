"""Mel filter banks and the scales of multi-scale mel distances, in NumPy."""

import functools

import numpy as np

from quarkaudio_jax.errors import UserError

MEL_WINDOWS = (32, 64, 128, 256, 512, 1024, 2048)
"""Windows, in samples, of a multi-scale mel distance (DAC, arXiv:2306.06546, section 3.5)."""

MEL_BANDS = (5, 10, 20, 40, 80, 160, 320)
"""Mel bands of each of `MEL_WINDOWS`."""

LINEAR_HZ = 200 / 3
"""Hz of a mel below `BREAK_HZ` on Slaney's scale (Auditory Toolbox, 1998)."""

BREAK_HZ = 1000.0
"""Frequency above which Slaney's scale is logarithmic: 27 mels per factor of 6.4."""


def hz_to_mel(hz: np.ndarray, htk: bool = False) -> np.ndarray:
    """Converts frequencies in Hz to mels, on Slaney's or the HTK scale."""
    if htk:
        return 2595.0 * np.log10(1.0 + hz / 700.0)
    above = BREAK_HZ / LINEAR_HZ + np.log(np.maximum(hz, BREAK_HZ) / BREAK_HZ) * 27.0 / np.log(6.4)
    return np.where(hz >= BREAK_HZ, above, hz / LINEAR_HZ)


def mel_to_hz(mels: np.ndarray, htk: bool = False) -> np.ndarray:
    """Converts mels to frequencies in Hz; the inverse of `hz_to_mel`."""
    if htk:
        return 700.0 * (10.0 ** (mels / 2595.0) - 1.0)
    first = BREAK_HZ / LINEAR_HZ
    return np.where(
        mels >= first, BREAK_HZ * np.exp(np.log(6.4) / 27.0 * (np.maximum(mels, first) - first)), mels * LINEAR_HZ
    )


@functools.lru_cache(maxsize=64)
def mel_filters(
    sample_rate: int, n_fft: int, bands: int, low: float = 0.0, high: float | None = None, htk: bool = False
) -> np.ndarray:
    """Triangular filters from `low` to `high` Hz (default: half the rate), (n_fft // 2 + 1, bands) float32.

    Slaney's scale and norm (unit area), or with `htk` the HTK scale and peaks of 1; equal to `librosa.filters.mel`.
    Filters narrower than a bin may be all 0.
    """
    bins_F = np.fft.rfftfreq(n_fft, 1.0 / sample_rate)
    ends = hz_to_mel(np.array([low, sample_rate / 2 if high is None else high], float), htk)
    edges = mel_to_hz(np.linspace(ends[0], ends[1], bands + 2), htk)
    distance = bins_F[:, None] - edges
    width = np.diff(edges)
    rising, falling = distance[:, :-2] / width[:-1], -distance[:, 2:] / width[1:]
    filters = np.maximum(0.0, np.minimum(rising, falling)).astype(np.float32)
    return filters if htk else (filters * (2.0 / (edges[2:] - edges[:-2]))).astype(np.float32)


def mel_scales(windows: tuple[int, ...], bands: tuple[int, ...]) -> list[tuple[int, int, int]]:
    """(n_fft, hop, bands) of each scale of a multi-scale mel distance; the hop is a quarter of the window."""
    if len(windows) != len(bands):
        raise UserError(f"mel scales: {len(windows)} windows, but {len(bands)} numbers of bands; give one for each")
    return [(n_fft, max(n_fft // 4, 1), count) for n_fft, count in zip(windows, bands, strict=True)]

"""Resampling, mixing to mono, padding and cross-fading; pure NumPy functions."""

import numpy as np

from quarkaudio_jax.types import resampled_length


def resample(samples: np.ndarray, rate: int, target_rate: int) -> np.ndarray:
    """Resamples (S,) or (S, C) by soxr at very high quality, to `resampled_length` samples, as float32."""
    if rate == target_rate or len(samples) == 0:
        return samples
    import soxr

    # soxr returns a sample less than half a sample asks for: none of a single one, and now and then at an exact half.
    length = resampled_length(len(samples), rate, target_rate)
    out = soxr.resample(samples, rate, target_rate, quality="VHQ").astype(np.float32)[:length]
    return np.pad(out, [(0, length - len(out))] + [(0, 0)] * (out.ndim - 1))


def to_mono(samples_SxC: np.ndarray) -> np.ndarray:
    """Averages the channels, (S, C) -> (S,)."""
    return samples_SxC.mean(axis=1, dtype=np.float32)


def wrap_pad(array: np.ndarray, length: int) -> np.ndarray:
    """Repeats an array along its first axis until it is `length` long, or cuts it."""
    if len(array) >= length:
        return array[:length]
    return np.pad(array, [(0, length - len(array))] + [(0, 0)] * (array.ndim - 1), mode="wrap")


def fit_length(samples_S: np.ndarray, length: int, position: float) -> np.ndarray:
    """Cuts a signal to `length`, from `position` in [0, 1) of where the cut can start, or repeats it from there."""
    if len(samples_S) >= length:
        start = int(position * (len(samples_S) - length + 1))
        return samples_S[start : start + length]
    start = int(position * len(samples_S))
    return np.resize(np.roll(samples_S, -start), length)


def cross_faded(tail_S: np.ndarray, wave_S: np.ndarray) -> np.ndarray:
    """Cross-fades the end of what came before, `tail_S`, into the beginning of `wave_S`; returns as many samples as that."""
    count = min(len(tail_S), len(wave_S))
    if not count:
        return wave_S
    rise = ((np.arange(count) + 0.5) / count).astype(np.float32)
    mixed = tail_S[:count] * (1 - rise) + wave_S[:count] * rise
    return np.concatenate([mixed, wave_S[count:]])

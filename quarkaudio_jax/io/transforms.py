"""What happens to a clip between the file and the batch; pure NumPy functions."""

import numpy as np

from quarkaudio_jax.types import resampled_length

SILENCE = 1e-8
"""-160 dBFS, below the smallest step of 24-bit audio: a recording that stays below it is silent."""


def resample(samples_SxC: np.ndarray, rate: int, target_rate: int) -> np.ndarray:
    """Resamples (S, C) by soxr at very high quality, to `resampled_length` samples."""
    if rate == target_rate or len(samples_SxC) == 0:
        return samples_SxC
    import soxr

    # soxr gives a sample less than half a sample asks for: none of a single one, and now and then at an exact half.
    length = resampled_length(len(samples_SxC), rate, target_rate)
    out_SxC = soxr.resample(samples_SxC, rate, target_rate, quality="VHQ").astype(np.float32)[:length]
    return np.pad(out_SxC, ((0, length - len(out_SxC)), (0, 0)))


def to_mono(samples_SxC: np.ndarray) -> np.ndarray:
    """Mean of the channels, (S,)."""
    return samples_SxC.mean(axis=1, dtype=np.float32)


def wrap_pad(array: np.ndarray, length: int) -> np.ndarray:
    """Repeats an array along its first axis until it is `length` long, or cuts it."""
    if len(array) >= length:
        return array[:length]
    return np.pad(array, [(0, length - len(array))] + [(0, 0)] * (array.ndim - 1), mode="wrap")


def scale_peak(samples_S: np.ndarray, peak: float) -> np.ndarray:
    """Scales so that the largest magnitude is `peak`; what is below `SILENCE` throughout stays as it is."""
    largest = float(np.abs(samples_S).max(initial=0.0))
    return samples_S if largest < SILENCE else (samples_S * (peak / largest)).astype(np.float32)


def cross_faded(tail_S: np.ndarray, wave_S: np.ndarray) -> np.ndarray:
    """`wave_S` with `tail_S`, which ends what came before, faded into its beginning."""
    count = min(len(tail_S), len(wave_S))
    if not count:
        return wave_S
    rise = ((np.arange(count) + 0.5) / count).astype(np.float32)
    mixed = tail_S[:count] * (1 - rise) + wave_S[:count] * rise
    return np.concatenate([mixed, wave_S[count:]])

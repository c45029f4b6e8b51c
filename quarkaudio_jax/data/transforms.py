"""What happens to a clip between the file and the batch; pure NumPy functions."""

import numpy as np


def resample(samples_SxC: np.ndarray, rate: int, target_rate: int) -> np.ndarray:
    """Resamples (S, C) by soxr at very high quality; a clip of no samples stays one."""
    if rate == target_rate or len(samples_SxC) == 0:
        return samples_SxC
    import soxr

    return soxr.resample(samples_SxC, rate, target_rate, quality="VHQ").astype(np.float32)


def to_mono(samples_SxC: np.ndarray) -> np.ndarray:
    """Mean of the channels, (S,)."""
    return samples_SxC.mean(axis=1, dtype=np.float32)


def wrap_pad(array: np.ndarray, length: int) -> np.ndarray:
    """Repeats an array along its first axis until it is `length` long, or cuts it."""
    if len(array) >= length:
        return array[:length]
    return np.pad(array, [(0, length - len(array))] + [(0, 0)] * (array.ndim - 1), mode="wrap")


def scale_peak(samples_S: np.ndarray, peak: float) -> np.ndarray:
    """Scales so that the largest magnitude is `peak`; silence stays silent."""
    largest = np.abs(samples_S).max(initial=0.0)
    return samples_S if largest == 0 else (samples_S * (peak / largest)).astype(np.float32)

"""Levels, ratios and lengths of signals; (S,) float arrays."""

import numpy as np

SILENCE = 1e-5
"""Root mean square below which a signal counts as silence."""


def rms(samples_S: np.ndarray) -> float:
    """Root mean square."""
    return float(np.sqrt(np.mean(np.square(samples_S, dtype=np.float64)))) if len(samples_S) else 0.0


def ratio_gain(signal_S: np.ndarray, other_S: np.ndarray, ratio_db: float) -> float:
    """The gain that brings `other` to `ratio_db` below `signal` (in energy over the whole length); 0 if it is silent."""
    level = rms(other_S)
    return 0.0 if level < SILENCE else rms(signal_S) / level * 10 ** (-ratio_db / 20)


def to_level(samples_S: np.ndarray, dbfs: float) -> np.ndarray:
    """Scaled to a root mean square in dB of full scale; silence stays."""
    level = rms(samples_S)
    return samples_S if level < SILENCE else (samples_S * (10 ** (dbfs / 20) / level)).astype(np.float32)


def fit_length(samples_S: np.ndarray, length: int, position: float) -> np.ndarray:
    """`length` samples: a part from `position` in [0, 1) of where it can start, or repeated from there."""
    if len(samples_S) >= length:
        start = int(position * (len(samples_S) - length + 1))
        return samples_S[start : start + length]
    start = int(position * len(samples_S))
    return np.resize(np.roll(samples_S, -start), length)


def under_peak(peak: float, *signals: np.ndarray) -> tuple[list[np.ndarray], float]:
    """(the signals, all scaled by one gain of at most 1 so that none exceeds `peak`, that gain)."""
    largest = max((float(np.abs(s).max(initial=0.0)) for s in signals), default=0.0)
    gain = min(1.0, peak / largest) if largest > 0 else 1.0
    return [np.asarray(s * gain, np.float32) for s in signals], gain

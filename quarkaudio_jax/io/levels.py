"""Root mean square, peak and gain of signals; pure NumPy functions on (S,) float arrays."""

import numpy as np

SILENT_PEAK = 1e-8
"""-160 dBFS, below the smallest step of 24-bit audio: a recording that stays below it is silent."""

SILENT_RMS = 1e-5
"""Root mean square below which a signal counts as silent."""


def rms(samples_S: np.ndarray) -> float:
    """Root mean square, 0 for no samples."""
    return float(np.sqrt(np.mean(np.square(samples_S, dtype=np.float64)))) if len(samples_S) else 0.0


def peak(samples_S: np.ndarray) -> float:
    """Largest magnitude, of any channel if there are several, 0 for no samples."""
    return float(np.abs(samples_S).max(initial=0.0))


def rms_and_peak(samples_S: np.ndarray) -> tuple[float, float]:
    """Root mean square and largest magnitude; `io.stream.rms_and_peak` measures files."""
    return rms(samples_S), peak(samples_S)


def ratio_gain(signal_S: np.ndarray, other_S: np.ndarray, ratio_db: float) -> float:
    """Gain that brings `other_S` to `ratio_db` below `signal_S`, by energy over their full length; 0 if it is silent."""
    level = rms(other_S)
    return 0.0 if level < SILENT_RMS else rms(signal_S) / level * 10 ** (-ratio_db / 20)


def scale_rms(samples_S: np.ndarray, dbfs: float) -> np.ndarray:
    """Scales a signal to a root mean square in dB of full scale; a silent one is returned unchanged."""
    level = rms(samples_S)
    return samples_S if level < SILENT_RMS else (samples_S * (10 ** (dbfs / 20) / level)).astype(np.float32)


def scale_peak(samples_S: np.ndarray, target: float) -> np.ndarray:
    """Scales a signal to a largest magnitude of `target`; a silent one is returned unchanged."""
    largest = peak(samples_S)
    return samples_S if largest < SILENT_PEAK else (samples_S * (target / largest)).astype(np.float32)


def limit_peak(limit: float, *signals: np.ndarray) -> tuple[list[np.ndarray], float]:
    """Scales signals by one gain of at most 1, so that none exceeds `limit`; returns (signals, gain)."""
    largest = max(map(peak, signals), default=0.0)
    gain = min(1.0, limit / largest) if largest > 0 else 1.0
    return [np.asarray(s * gain, np.float32) for s in signals], gain

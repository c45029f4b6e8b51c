"""How close a reconstruction is to its reference: NumPy, any length, one recording at a time.

The spectral distances are those of `nn.mel` (which trains on them), written again without
JAX because every new length would compile anew; a test holds the two together.
"""

import importlib.util
from collections.abc import Callable

import numpy as np

from quarkaudio_jax.nn.mel import mel_filters, mel_scales
from quarkaudio_jax.nn.stft import hann_window

MEL_WINDOWS = (32, 64, 128, 256, 512, 1024, 2048)
MEL_BANDS = (5, 10, 20, 40, 80, 160, 320)
STFT_WINDOWS = (2048, 512)


def _magnitude(wave_S: np.ndarray, n_fft: int, hop: int) -> np.ndarray:
    pad = (n_fft - hop) // 2
    if len(wave_S) <= pad:
        wave_S = np.pad(wave_S, (0, pad + 1 - len(wave_S)))
    padded = np.pad(wave_S, pad, mode="reflect")
    padded = np.pad(padded, (0, max(n_fft - len(padded), 0)))
    frames = np.lib.stride_tricks.sliding_window_view(padded, n_fft)[::hop]
    return np.abs(np.fft.rfft(frames * hann_window(n_fft))).astype(np.float32)


def mel_distance(reference_S: np.ndarray, estimate_S: np.ndarray, rate: int) -> float:
    """Multi-scale mel distance: sum over scales of the mean |log10 mel difference| (DAC's scales)."""
    total = 0.0
    for n_fft, hop, bands in mel_scales(MEL_WINDOWS, MEL_BANDS):
        filters = mel_filters(rate, n_fft, bands)
        a, b = (np.log10(np.maximum(_magnitude(x, n_fft, hop) @ filters, 1e-5)) for x in (reference_S, estimate_S))
        total += float(np.abs(a - b).mean())
    return total


def stft_distance(reference_S: np.ndarray, estimate_S: np.ndarray, rate: int) -> float:
    """Sum over windows of mean |log10 power difference| plus mean |magnitude difference|."""
    total = 0.0
    for n_fft in STFT_WINDOWS:
        a, b = (_magnitude(x, n_fft, n_fft // 4) for x in (reference_S, estimate_S))
        total += float(np.abs(2 * np.log10(np.maximum(a, 1e-5)) - 2 * np.log10(np.maximum(b, 1e-5))).mean())
        total += float(np.abs(a - b).mean())
    return total


def si_sdr(reference_S: np.ndarray, estimate_S: np.ndarray, rate: int) -> float:
    """Scale-invariant signal-to-distortion ratio in dB (arXiv:1811.02508), means removed; NaN for a silent reference."""
    reference, estimate = (x.astype(np.float64) - x.mean(dtype=np.float64) for x in (reference_S, estimate_S))
    energy = reference @ reference
    if energy == 0:
        return float("nan")
    target = (estimate @ reference / energy) * reference
    noise = estimate - target
    return float(10 * np.log10((target @ target + 1e-20) / (noise @ noise + 1e-20)))


def stoi(reference_S: np.ndarray, estimate_S: np.ndarray, rate: int) -> float:
    """Short-time objective intelligibility, 0 to 1 (Taal et al. 2011), by pystoi; NaN for less than it needs (0.4 s)."""
    import warnings

    import pystoi

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            value = float(pystoi.stoi(reference_S, estimate_S, rate))
        except ValueError:
            return float("nan")
    return float("nan") if any("Not enough STFT frames" in str(w.message) for w in caught) else value


def pesq(reference_S: np.ndarray, estimate_S: np.ndarray, rate: int) -> float:
    """Wide-band PESQ at 16 kHz, about 1 to 4.6 (ITU-T P.862.2), by the pesq package; NaN where it finds no speech."""
    import pesq as package
    import soxr

    a, b = (soxr.resample(x, rate, 16000, quality="VHQ") for x in (reference_S, estimate_S))
    value = package.pesq(16000, a, b, "wb", on_error=package.PesqError.RETURN_VALUES)
    return float(value) if value > 0 else float("nan")


Metric = Callable[[np.ndarray, np.ndarray, int], float]

METRICS: dict[str, Metric] = {
    "mel_distance": mel_distance,
    "stft_distance": stft_distance,
    "si_sdr": si_sdr,
    "stoi": stoi,
    "pesq": pesq,
}
"""metric(reference_S, estimate_S, rate) -> value, for equal lengths."""

PACKAGES = {"pesq": "pesq", "stoi": "pystoi"}
"""What a metric needs installed."""


def missing_package(metric: str) -> str:
    """The package that a metric needs and that is not installed, or ''."""
    package = PACKAGES.get(metric, "")
    return package if package and importlib.util.find_spec(package) is None else ""

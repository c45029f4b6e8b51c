"""Metrics that compare a recording with its reference, of any length, in NumPy.

The spectral distances are those of `nn.mel`, without JAX, which would compile for every new
length; a test compares the two.
"""

import numpy as np

from quarkaudio_jax.io.mel import MEL_BANDS, MEL_WINDOWS, mel_filters, mel_scales
from quarkaudio_jax.io.transforms import resample
from quarkaudio_jax.nn.window import hann_window

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


def stoi(reference_S: np.ndarray, estimate_S: np.ndarray, rate: int, extended: bool = False) -> float:
    """Short-time objective intelligibility, 0 to 1 (Taal et al. 2011), by pystoi; NaN for less than it needs (0.4 s).

    extended: ESTOI (Jensen and Taal 2016).
    """
    import warnings

    import pystoi

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            value = float(pystoi.stoi(reference_S, estimate_S, rate, extended))
        except ValueError:
            return float("nan")
    return float("nan") if any("Not enough STFT frames" in str(w.message) for w in caught) else value


def estoi(reference_S: np.ndarray, estimate_S: np.ndarray, rate: int) -> float:
    """Extended `stoi`."""
    return stoi(reference_S, estimate_S, rate, extended=True)


def pesq(reference_S: np.ndarray, estimate_S: np.ndarray, rate: int, band: str = "wb") -> float:
    """PESQ, about 1 to 4.6, by the pesq package; NaN where it finds no speech.

    band: wb at 16 kHz (ITU-T P.862.2), nb at 8 kHz (P.862.1).
    """
    import pesq as package

    at = {"wb": 16000, "nb": 8000}[band]
    waves = (resample(x, rate, at) for x in (reference_S, estimate_S))
    value = package.pesq(at, *waves, band, on_error=package.PesqError.RETURN_VALUES)
    return float(value) if value > 0 else float("nan")


def pesq_nb(reference_S: np.ndarray, estimate_S: np.ndarray, rate: int) -> float:
    """Narrow-band `pesq`."""
    return pesq(reference_S, estimate_S, rate, "nb")


def visqol(reference_S: np.ndarray, estimate_S: np.ndarray, rate: int, mode: str = "audio") -> float:
    """ViSQOL v3, 1 to 5 (arXiv:2004.09584), by visqol-python. mode: audio (48 kHz) or speech (16 kHz)."""
    import visqol as package

    api = package.VisqolApi()
    api.create(mode=mode, use_lattice_model=mode == "speech")  # as the original does by default
    at = {"audio": 48000, "speech": 16000}[mode]
    waves = (resample(x, rate, at).astype(np.float64) for x in (reference_S, estimate_S))
    return float(api.measure_from_arrays(*waves, at).moslqo)  # type: ignore[call-arg, arg-type]  # stub of another package


def visqol_speech(reference_S: np.ndarray, estimate_S: np.ndarray, rate: int) -> float:
    """`visqol` of speech."""
    return visqol(reference_S, estimate_S, rate, "speech")

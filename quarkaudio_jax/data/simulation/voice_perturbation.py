"""Perturbations of a voice that keep words and length: formants, pitch, equalizer; (S,) float32.

After the information perturbation of NANSY (Choi et al. 2021).
"""

import numpy as np
from scipy import signal

_LIFTER_SECONDS = 0.0022
"""Quefrencies below this form the spectral envelope; the pitch of voices is above it."""


def warp_formants(samples_S: np.ndarray, rate: int, factor: float) -> np.ndarray:
    """Scales the frequencies of the (cepstrally smoothed) spectral envelope by `factor`, keeping the pitch."""
    size = 1 << int(np.ceil(np.log2(0.03 * rate)))
    if len(samples_S) < size:
        return samples_S
    _, _, spectrum_FxT = signal.stft(samples_S, rate, nperseg=size, noverlap=size * 3 // 4)
    log_FxT = np.log(np.maximum(np.abs(spectrum_FxT), 1e-7))
    cepstrum = np.fft.irfft(log_FxT, axis=0)
    keep = int(_LIFTER_SECONDS * rate)
    cepstrum[keep : size - keep + 1] = 0.0
    envelope_FxT = np.fft.rfft(cepstrum, axis=0).real
    bins = np.arange(len(envelope_FxT))
    moved = np.stack([np.interp(bins / factor, bins, column) for column in envelope_FxT.T], axis=1)
    gain = np.exp(np.clip(moved - envelope_FxT, -6.0, 6.0))
    _, out = signal.istft(spectrum_FxT * gain, rate, nperseg=size, noverlap=size * 3 // 4)
    return _fit(out, len(samples_S))


def shift_pitch(samples_S: np.ndarray, rate: int, factor: float) -> np.ndarray:
    """Scales the pitch by `factor`, keeping the formants (phase vocoder, then the envelope is scaled back)."""
    import librosa

    moved = librosa.effects.pitch_shift(samples_S, sr=rate, n_steps=12 * np.log2(factor), n_fft=_window(rate))
    return warp_formants(_fit(moved, len(samples_S)), rate, 1 / factor)


def _window(rate: int) -> int:
    """Window of the phase vocoder in samples, about 40 ms: longer ones smear speech."""
    return 1 << round(np.log2(0.04 * rate))


def change_speed(samples_S: np.ndarray, rate: int, factor: float) -> np.ndarray:
    """Speeds a signal up by `factor`, keeping the pitch (phase vocoder); the length changes."""
    import librosa

    return librosa.effects.time_stretch(samples_S, rate=factor, n_fft=_window(rate)).astype(np.float32)


def peak_filter(samples_S: np.ndarray, rate: int, hz: float, quality: float, gain_db: float) -> np.ndarray:
    """Applies one band of a parametric equalizer (Bristow-Johnson's cookbook)."""
    amplitude, turn = 10 ** (gain_db / 40), 2 * np.pi * hz / rate
    alpha, cosine = np.sin(turn) / (2 * quality), np.cos(turn)
    numerator = [1 + alpha * amplitude, -2 * cosine, 1 - alpha * amplitude]
    denominator = [1 + alpha / amplitude, -2 * cosine, 1 - alpha / amplitude]
    return signal.lfilter(numerator, denominator, samples_S).astype(np.float32)


def _fit(samples_S: np.ndarray, length: int) -> np.ndarray:
    return np.pad(samples_S, (0, max(length - len(samples_S), 0)))[:length].astype(np.float32)

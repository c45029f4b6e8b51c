"""Oscillators, filtered noise and envelopes; (S,) float64 at `rate` Hz."""

import numpy as np
from scipy import signal

Sound = np.ndarray
_PERIOD = 4096


def times(length: float, rate: int) -> np.ndarray:
    """Times in seconds of the samples of `length` seconds."""
    return np.arange(int(length * rate)) / rate


def decay(t: np.ndarray, half_life: float, attack: float = 0.005) -> Sound:
    """Envelope that rises in `attack` seconds and halves every `half_life` seconds."""
    return np.minimum(t / attack, 1.0) * 0.5 ** (t / half_life)


def band_noise(rng: np.random.Generator, count: int, rate: int, low: float, high: float) -> Sound:
    """Noise between two frequencies in Hz, with a peak of 1."""
    sos = signal.butter(2, [low, min(high, 0.49 * rate)], "bandpass", fs=rate, output="sos")
    noise = signal.sosfilt(sos, rng.standard_normal(count))
    return noise / (np.abs(noise).max() + 1e-9)


def tone(t: np.ndarray, hz, harmonics: np.ndarray) -> Sound:
    """Sum of harmonics of a (gliding) pitch, by linear interpolation in a wavetable."""
    turns = np.arange(_PERIOD + 1) / _PERIOD * 2 * np.pi
    period = sum(a * np.sin(k * turns) for k, a in enumerate(harmonics, start=1)) / np.abs(harmonics).sum()
    position = np.cumsum(np.broadcast_to(hz * (t[1] - t[0]) * _PERIOD, t.shape)) % _PERIOD
    left = position.astype(np.int32)
    return period[left] + (position - left) * (period[left + 1] - period[left])


def add(out: Sound, start: float, rate: int, sound: Sound) -> None:
    """Adds a sound to `out` in place, from `start` seconds; its end is cut off at the end of `out`."""
    begin = int(start * rate)
    end = min(begin + len(sound), len(out))
    out[begin:end] += sound[: max(end - begin, 0)]


def finished(out: Sound, peak: float = 0.8) -> Sound:
    """Scales to a peak, as float32."""
    return (out * (peak / (np.abs(out).max() + 1e-9))).astype(np.float32)


def repeated(rng: np.random.Generator, rate: int, length: float, pause: tuple[float, float], make) -> Sound:
    """Repeats a sound at random intervals within `pause` seconds (low, high), at random levels."""
    out, time = np.zeros(len(times(length, rate))), float(rng.uniform(0, 0.3))
    while time < length:
        add(out, time, rate, rng.uniform(0.5, 1) * make())
        time += rng.uniform(*pause)
    return out

"""What happens to a voice on its way into a file: a microphone's colors, a room, a narrow band, noise."""

import numpy as np

from quarkaudio_jax.data.simulation.degradations import limit_bandwidth
from quarkaudio_jax.io.levels import ratio_gain


def record(samples_S: np.ndarray, rate: int, rng: np.random.Generator) -> np.ndarray:
    """The samples under random conditions, float32 of the same length; a third of them are left as they are."""
    if rng.random() < 0.35:
        return samples_S
    x = np.asarray(samples_S, np.float64)
    if rng.random() < 0.6:
        x = _color(x, rate, rng)
    if rng.random() < 0.4:
        x = _reverberate(x, rate, rng)
    x = np.asarray(x, np.float32)
    if rng.random() < 0.15:
        x = limit_bandwidth(x, rate, int(rng.uniform(6000, 15000)))
    return _add_noise(x, rng) if rng.random() < 0.5 else x


def _color(x_S: np.ndarray, rate: int, rng: np.random.Generator) -> np.ndarray:
    """A tilt and up to two bells of +-8 dB."""
    from scipy.signal import lfilter

    x_S = lfilter([1, -rng.uniform(-0.5, 0.6)], [1], x_S)
    for _ in range(rng.integers(3)):
        angle = 2 * np.pi * np.exp(rng.uniform(np.log(100), np.log(7000))) / rate
        root, alpha = 10 ** (rng.uniform(-8, 8) / 40), np.sin(angle) / (2 * rng.uniform(0.5, 2))
        zeros = np.array([1 + alpha * root, -2 * np.cos(angle), 1 - alpha * root])
        poles = np.array([1 + alpha / root, -2 * np.cos(angle), 1 - alpha / root])
        x_S = lfilter(zeros / poles[0], poles / poles[0], x_S)
    return x_S


def _reverberate(x_S: np.ndarray, rate: int, rng: np.random.Generator) -> np.ndarray:
    """A decaying tail of 0.1 to 0.7 s behind the direct sound."""
    from scipy.signal import fftconvolve, lfilter

    size = int(rng.uniform(0.1, 0.7) * rate)
    tail = rng.standard_normal(size) * np.exp(-6.9 * np.arange(size) / size)
    tail = lfilter([1], [1, -rng.uniform(0, 0.7)], tail)
    tail *= rng.uniform(0.1, 0.6) / np.sqrt(np.square(tail).sum())
    tail[0] += 1
    return fftconvolve(x_S, tail)[: len(x_S)]


def _add_noise(x_S: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Colored noise, 10 to 45 dB below the voice."""
    from scipy.signal import lfilter

    noise = lfilter([1], [1, -rng.uniform(0, 0.97)], rng.standard_normal(len(x_S)))
    return (x_S + noise * ratio_gain(x_S, noise, rng.uniform(10, 45))).astype(np.float32)

"""Metrics against other computations of the same, and known values."""

import math

import numpy as np
import pytest

from quarkaudio_jax.metrics.reconstruction import METRICS, mel_distance, missing_package, si_sdr, stft_distance, stoi
from quarkaudio_jax.nn import mel

RNG = np.random.default_rng(0)
RATE = 16000


def noise(seconds=1.5):
    return (0.1 * RNG.standard_normal(int(seconds * RATE))).astype(np.float32)


def test_distances_are_those_that_training_uses():
    a, b = noise(1.024), noise(1.024)
    want = float(mel.multi_scale_mel_distance(a[None], b[None], RATE)[0])
    assert math.isclose(mel_distance(a, b, RATE), want, rel_tol=1e-4)
    assert math.isclose(stft_distance(a, b, RATE), float(mel.stft_distance(a[None], b[None])[0]), rel_tol=1e-4)


@pytest.mark.parametrize("db", [0, 20, 40])
def test_si_sdr_of_orthogonal_noise(db):
    t = np.arange(RATE) / RATE
    clean, other = np.sin(2 * np.pi * 100 * t), np.sin(2 * np.pi * 250 * t)
    assert math.isclose(si_sdr(clean, 3 * (clean + 10 ** (-db / 20) * other), RATE), db, abs_tol=1e-6)


def test_a_silent_reference_has_no_si_sdr():
    assert math.isnan(si_sdr(np.zeros(100, np.float32), noise()[:100], RATE))


@pytest.mark.parametrize("length", [1, 7, 300])
def test_distances_of_very_short_recordings(length):
    a = noise()[:length]
    assert mel_distance(a, a, RATE) == 0 and stft_distance(a, a, RATE) == 0
    assert math.isnan(stoi(a, a, RATE))


@pytest.mark.parametrize("name", METRICS)
def test_real_speech(name, real_audio):
    if package := missing_package(name):
        pytest.skip(f"{package} is not installed (it needs a C compiler)")
    from quarkaudio_jax.data import audio

    samples, rate = audio.read(real_audio / "tasks/sr/clean/1.wav")
    clean = samples[:, 0]
    noisy = clean + 0.05 * RNG.standard_normal(len(clean)).astype(np.float32)
    best, worse = METRICS[name](clean, clean, rate), METRICS[name](clean, noisy, rate)
    perfect = {"mel_distance": 0.0, "stft_distance": 0.0, "stoi": 1.0, "pesq": 4.644}
    if name in perfect:
        assert math.isclose(best, perfect[name], abs_tol=2e-3)
    assert best < worse if name.endswith("distance") else best > worse

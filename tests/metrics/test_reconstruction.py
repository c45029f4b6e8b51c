"""Metrics against other computations of the same, and known values."""

import math

import jax
import numpy as np
import pytest

from quarkaudio_jax.metrics.reconstruction import mel_distance, si_sdr, stft_distance, stoi
from quarkaudio_jax.nn import mel

RNG = np.random.default_rng(0)
RATE = 16000


def noise(seconds=1.5):
    return (0.1 * RNG.standard_normal(int(seconds * RATE))).astype(np.float32)


def test_distances_are_those_that_training_uses():
    a, b = noise(1.024), noise(1.024)
    want = float(jax.jit(mel.multi_scale_mel_distance, static_argnums=2)(a[None], b[None], RATE)[0])
    assert math.isclose(mel_distance(a, b, RATE), want, rel_tol=1e-4)
    want = float(jax.jit(mel.stft_distance)(a[None], b[None])[0])
    assert math.isclose(stft_distance(a, b, RATE), want, rel_tol=1e-4)


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

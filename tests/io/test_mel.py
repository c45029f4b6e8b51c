"""Mel filters are librosa's."""

import warnings

import librosa
import numpy as np
import pytest

from quarkaudio_jax.io.mel import hz_to_mel, mel_filters, mel_to_hz


@pytest.mark.parametrize(
    ("rate", "n_fft", "bands", "low", "high", "htk"),
    [
        (48000, 2048, 320, 0, None, False),
        (16000, 1024, 128, 10, None, False),
        (16000, 32, 5, 0, None, False),
        (44100, 512, 80, 0, 8000, False),
        (48000, 1024, 64, 50, 14000, True),
    ],
)
def test_filters_are_those_of_librosa_to_the_bit(rate, n_fft, bands, low, high, htk):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # filters of the finest scales that hold no bin
        norm = None if htk else "slaney"
        expected = librosa.filters.mel(sr=rate, n_fft=n_fft, n_mels=bands, fmin=low, fmax=high, htk=htk, norm=norm)
    np.testing.assert_array_equal(mel_filters(rate, n_fft, bands, low, high, htk), expected.T)


@pytest.mark.parametrize("htk", [False, True])
def test_scales_and_their_inverses(htk):
    hz = np.array([0.0, 440.0, 1000.0, 7999.0, 24000.0])
    np.testing.assert_allclose(hz_to_mel(hz, htk), librosa.hz_to_mel(hz, htk=htk))
    np.testing.assert_allclose(mel_to_hz(hz_to_mel(hz, htk), htk), hz, atol=1e-9)

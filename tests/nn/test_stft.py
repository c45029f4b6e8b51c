"""STFT and its inverse."""

import numpy as np
import pytest
from scipy import signal

from quarkaudio_jax.nn.stft import frame, hann_window, istft, overlap_add, reflect_stft, stft

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("size, hop", [(8, 4), (8, 3), (6, 6), (12, 3)])
def test_frames_and_overlap_add_are_adjoint(size, hop):
    x = RNG.standard_normal((2, 41)).astype(np.float32)
    frames = np.asarray(frame(x, size, hop))
    want = np.stack([x[:, i : i + size] for i in range(0, 41 - size + 1, hop)], axis=1)
    np.testing.assert_array_equal(frames, want)
    y = RNG.standard_normal(frames.shape).astype(np.float32)
    summed = np.asarray(overlap_add(y[..., None], hop))[..., 0]
    assert np.isclose((frames * y).sum(), (x[:, : summed.shape[1]] * summed).sum(), rtol=1e-4)


def test_stft_is_scipys():
    x = RNG.standard_normal(4000).astype(np.float32)
    ours = np.asarray(stft(x[None], 512, 128))[0]
    _, _, theirs = signal.stft(x, window=hann_window(512), nperseg=512, noverlap=384, boundary=None, padded=False)
    np.testing.assert_allclose(ours, theirs.T * hann_window(512).sum(), atol=2e-3)


@pytest.mark.parametrize("n_fft, hop", [(1920, 960), (1280, 320)])
def test_istft_inverts_stft(n_fft, hop):
    x = RNG.standard_normal((2, 10 * hop)).astype(np.float32)
    pad = (n_fft - hop) // 2
    spectrum = stft(np.pad(x, ((0, 0), (pad, pad))), n_fft, hop)
    np.testing.assert_allclose(istft(spectrum, hop)[:, pad:-pad], x[:, pad:-pad], atol=2e-5)


def test_masked_frames_leave_the_rest_as_if_alone():
    spectrum = RNG.standard_normal((1, 9, 961)) + 1j * RNG.standard_normal((1, 9, 961))
    mask = np.arange(9)[None] < 5
    both = istft(spectrum, 960, mask)
    np.testing.assert_allclose(both[:, : 5 * 960], istft(spectrum[:, :5], 960), atol=1e-5)


def test_too_short_signals_are_refused():
    with pytest.raises(ValueError, match="10 samples are fewer than one frame of 16"):
        stft(np.zeros((1, 10)), 16, 4)
    with pytest.raises(ValueError, match="too few to reflect"):
        reflect_stft(np.zeros((1, 3)), 16, 4)

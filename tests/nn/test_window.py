"""The Hann window of the public code."""

import numpy as np
import pytest

from quarkaudio_jax.nn.window import hann_window


@pytest.mark.parametrize("length", [1280, 1920])
def test_the_codecs_windows_are_torchs_to_the_bit(length):
    torch = pytest.importorskip("torch")
    np.testing.assert_array_equal(hann_window(length), torch.hann_window(length).numpy())


@pytest.mark.parametrize("length", [16, 400, 640, 1001, 4096])
def test_other_windows_are_torchs_to_a_rounding(length):
    torch = pytest.importorskip("torch")
    np.testing.assert_allclose(hann_window(length), torch.hann_window(length).numpy(), rtol=0, atol=6e-8)

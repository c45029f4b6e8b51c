"""The STFT front end of H-Codec 2.0 and the inverse STFT head."""

import numpy as np
import pytest

from quarkaudio_jax.codec.spectral import log_magnitude_and_phase
from quarkaudio_jax.nn.stft import istft
from tests.parity import golden

ARRAYS, META = golden.load("spectral")


@pytest.mark.parametrize("signal", ["wav", "impulse", "silence"])
def test_front_end(signal):
    out = np.asarray(log_magnitude_and_phase(ARRAYS[f"frontend_{signal}"], 1920, 960)).swapaxes(1, 2)
    want = ARRAYS[f"frontend_{signal}_out"]
    assert out.shape == want.shape
    precision = META["frontend_max_abs_diff_f32_f64"][signal]
    np.testing.assert_allclose(out[:, :961], want[:, :961], rtol=0, atol=10 * precision["log_magnitude"])
    turn = np.abs(out[:, 961:] - want[:, 961:]) % 2
    assert np.minimum(turn, 2 - turn).max() <= 10 * precision["phase_modulo_2"]


@pytest.mark.parametrize("n_fft, hop", [(1920, 960), (1280, 320)])
def test_istft(n_fft, hop):
    name = f"istft{n_fft}"
    spectrum = (ARRAYS[f"{name}_real"] + 1j * ARRAYS[f"{name}_imag"]).swapaxes(1, 2)
    out = istft(spectrum, hop)
    np.testing.assert_allclose(out, ARRAYS[f"{name}_out"], rtol=0, atol=golden.tolerance(META, f"{name}_out"))

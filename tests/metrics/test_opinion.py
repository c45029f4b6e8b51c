"""Models of listeners: better speech gets better marks, the same clip always the same."""

import math
import pathlib

import numpy as np
import pytest

from tests.evaluation.sets import RATE, talk

pytest.importorskip("speechmos", reason="the package speechmos holds the models")

from quarkaudio_jax.metrics.opinion import dnsmos, plcmos


@pytest.mark.slow
def test_marks_are_reproducible_and_leave_the_random_state_alone():
    np.random.seed(3)  # noqa: NPY002
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    assert plcmos(talk(2.0), RATE) == plcmos(talk(2.0), RATE)
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002
    assert dnsmos(talk(2.0), RATE) == dnsmos(talk(2.0), RATE)


@pytest.mark.parametrize("wave", [3 * talk(0.5), talk(0.1, rate=48000), np.zeros(48000, np.float32)])
def test_any_wave_gets_marks(wave):
    found = {**dnsmos(wave, 48000), **plcmos(wave, 48000)}
    assert set(found) == {"dnsmos_sig", "dnsmos_bak", "dnsmos_ovrl", "dnsmos_p808", "plcmos"}
    assert all(0.5 < value < 5.5 for value in found.values())


def test_too_short_to_be_heard():
    assert all(math.isnan(v) for v in {**dnsmos(talk(0.09), RATE), **plcmos(np.zeros(0, np.float32), RATE)}.values())


def model(folder, name):
    """A model of the package, run by hand."""
    import onnxruntime
    import speechmos

    path = pathlib.Path(speechmos.__file__).parent / folder / name
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def test_dnsmos_equals_its_model_run_by_hand():
    """One window of 9.01 s; the polynomials are those that the DNS challenge publishes."""
    wave = talk(9.01)
    assert len(wave) == 144160
    raw = model("dnsmos_models", "sig_bak_ovr.onnx").run(None, {"input_1": wave[None]})[0][0]
    polynomials = {
        "dnsmos_sig": (-0.08397278, 1.22083953, 0.0052439),
        "dnsmos_bak": (-0.13166888, 1.60915514, -0.39604546),
        "dnsmos_ovrl": (-0.06766283, 1.11546468, 0.04602535),
    }
    found = dnsmos(wave, RATE)
    for value, (name, polynomial) in zip(raw, polynomials.items(), strict=True):
        assert found[name] == pytest.approx(np.polyval(polynomial, value), abs=1e-4)


def test_plcmos_equals_its_model_run_by_hand():
    """Log power of 512 samples every 256 under a periodic Hamming window, a half-window of zeros first; 15 raters."""
    wave = talk(2.0)
    window = 0.54 - 0.46 * np.cos(2 * np.pi * np.arange(512) / 512)
    frames = math.ceil((len(wave) + 256) / 256)
    padded = np.pad(wave, (256, (frames - 1) * 256 + 512 - 256 - len(wave)))
    spectrum = np.abs(np.fft.rfft([padded[256 * i : 256 * i + 512] * window for i in range(frames)]))
    features = (np.log(spectrum**2) / 20).astype(np.float32)[None, None]
    raters = np.random.RandomState(0).normal(size=(15, 64)).astype(np.float32)
    judge = model("plcmos_models", "plcmos_v2.onnx")
    marks = [judge.run(None, {"degraded_audio": features, "rater_embed": r[None]})[0].item() for r in raters]
    assert plcmos(wave, RATE)["plcmos"] == pytest.approx(np.mean(marks), abs=1e-4)

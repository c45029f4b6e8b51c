"""Models of listeners: better speech gets better marks, the same clip always the same."""

import math

import numpy as np
import pytest

from tests.evaluation.sets import RATE, talk

pytest.importorskip("speechmos", reason="the package speechmos holds the models")

from quarkaudio_jax.metrics.opinion import dnsmos, plcmos


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

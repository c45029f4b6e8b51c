"""Mean opinion scores of speech without a reference, by the models of the package speechmos."""

import math

import numpy as np

from quarkaudio_jax.io.transforms import resample

RATE = 16000
"""Sample rate in Hz of the models."""

MIN_SECONDS = 0.1
"""Shorter recordings score NaN."""


def _model_input(wave_S: np.ndarray, rate: int) -> np.ndarray | None:
    """The recording at RATE, clipped to [-1, 1]; None if it is too short."""
    if len(wave_S) < MIN_SECONDS * rate:
        return None
    return np.clip(resample(wave_S, rate, RATE), -1, 1).astype(np.float32)


def dnsmos(wave_S: np.ndarray, rate: int) -> dict[str, float]:
    """DNSMOS P.835 (arXiv:2110.01763) of speech, background and both, and DNSMOS P.808, each 1 to 5.

    Clips under 9.01 s are repeated to that length; longer ones are scored in windows.
    """
    from speechmos import dnsmos as package

    names = {"dnsmos_sig": "sig_mos", "dnsmos_bak": "bak_mos", "dnsmos_ovrl": "ovrl_mos", "dnsmos_p808": "p808_mos"}
    if (wave := _model_input(wave_S, rate)) is None:
        return dict.fromkeys(names, math.nan)
    found = package.run(wave, RATE)
    return {ours: float(found[theirs]) for ours, theirs in names.items()}


def plcmos(wave_S: np.ndarray, rate: int) -> dict[str, float]:
    """PLCMOS v2 (arXiv:2305.15127), 1 to 5: speech after packet loss concealment. The raters it samples are fixed."""
    from speechmos import plcmos as package

    if (wave := _model_input(wave_S, rate)) is None:
        return {"plcmos": math.nan}
    state = np.random.get_state()  # noqa: NPY002  # the generator that the package uses
    np.random.seed(0)  # noqa: NPY002
    try:
        return {"plcmos": float(package.run(wave, RATE)["plcmos"])}
    finally:
        np.random.set_state(state)  # noqa: NPY002

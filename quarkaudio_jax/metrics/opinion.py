"""How good speech sounds by itself, as models of listeners judge it; their weights come with the package speechmos."""

import math

import numpy as np

from quarkaudio_jax.io.transforms import resample

RATE, SHORTEST = 16000, 0.1
"""Hz, of what the models hear; seconds below which they hear nothing, and everything is NaN."""


def _ready(wave_S: np.ndarray, rate: int) -> np.ndarray | None:
    if len(wave_S) < SHORTEST * rate:
        return None
    return np.clip(resample(wave_S, rate, RATE), -1, 1).astype(np.float32)


def dnsmos(wave_S: np.ndarray, rate: int) -> dict[str, float]:
    """DNSMOS P.835 (arXiv:2110.01763) of speech, background and both, and DNSMOS P.808, each 1 to 5.

    Clips under 9.01 s are repeated until they are long enough, longer ones are judged in windows.
    """
    from speechmos import dnsmos as package

    names = {"dnsmos_sig": "sig_mos", "dnsmos_bak": "bak_mos", "dnsmos_ovrl": "ovrl_mos", "dnsmos_p808": "p808_mos"}
    if (wave := _ready(wave_S, rate)) is None:
        return dict.fromkeys(names, math.nan)
    found = package.run(wave, RATE)
    return {ours: float(found[theirs]) for ours, theirs in names.items()}


def plcmos(wave_S: np.ndarray, rate: int) -> dict[str, float]:
    """PLCMOS v2 (arXiv:2305.15127), 1 to 5: speech after lost packets were concealed. Its random raters are always the same."""
    from speechmos import plcmos as package

    if (wave := _ready(wave_S, rate)) is None:
        return {"plcmos": math.nan}
    state = np.random.get_state()  # noqa: NPY002  # what the package draws from
    np.random.seed(0)  # noqa: NPY002
    try:
        return {"plcmos": float(package.run(wave, RATE)["plcmos"])}
    finally:
        np.random.set_state(state)  # noqa: NPY002

"""How good speech sounds by itself, as models of listeners judge it; their weights come with the package speechmos."""

import numpy as np

from quarkaudio_jax.metrics.reconstruction import resampled

RATE = 16000


def _ready(wave_S: np.ndarray, rate: int) -> np.ndarray:
    wave = np.clip(resampled(wave_S, rate, RATE), -1, 1).astype(np.float32)
    return wave if len(wave) else np.zeros(1, np.float32)


def dnsmos(wave_S: np.ndarray, rate: int) -> dict[str, float]:
    """DNSMOS P.835 (arXiv:2110.01763) of speech, background and both, and DNSMOS P.808, each 1 to 5.

    Clips under 9.01 s are repeated until they are long enough, longer ones are judged in windows.
    """
    from speechmos import dnsmos as package

    found = package.run(_ready(wave_S, rate), RATE)
    names = {"dnsmos_sig": "sig_mos", "dnsmos_bak": "bak_mos", "dnsmos_ovrl": "ovrl_mos", "dnsmos_p808": "p808_mos"}
    return {ours: float(found[theirs]) for ours, theirs in names.items()}


def plcmos(wave_S: np.ndarray, rate: int) -> dict[str, float]:
    """PLCMOS v2 (arXiv:2305.15127), 1 to 5: speech after lost packets were concealed. Its random raters are always the same."""
    from speechmos import plcmos as package

    state = np.random.get_state()  # noqa: NPY002  # what the package draws from
    np.random.seed(0)  # noqa: NPY002
    try:
        return {"plcmos": float(package.run(_ready(wave_S, rate), RATE)["plcmos"])}
    finally:
        np.random.set_state(state)  # noqa: NPY002

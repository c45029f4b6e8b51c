"""Reverberation by room impulse responses, simulated by the image-source method (Allen and Berkley 1979)."""

import dataclasses

import numpy as np
from scipy.signal import fftconvolve

from quarkaudio_jax.config import DegradeConfig
from quarkaudio_jax.data.crops import SourceError
from quarkaudio_jax.data.simulation.rng import RecordedRNG

MARGIN = 0.5
"""Minimum distance of sources and microphone from the walls, meters."""


@dataclasses.dataclass(frozen=True)
class Room:
    """Impulse responses from each sound source to the microphone, (R,) at the simulation's rate."""

    responses: list[np.ndarray]


def draw_room(rng: RecordedRNG, cfg: DegradeConfig, rate: int, sources: int) -> Room:
    """Draws a shoebox room with one microphone and `sources` sources at random positions (pyroomacoustics)."""
    try:
        import pyroomacoustics as pra
    except ImportError as error:
        raise SourceError(
            "simulated rooms need the package pyroomacoustics: pip install 'quarkaudio_jax[simulate]', "
            "or give room responses in config.sources.rirs, or set config.simulation.degrade.reverberation=0"
        ) from error

    sides = [
        rng.uniform("length", cfg.room),
        rng.uniform("width", cfg.room),
        rng.uniform("height", cfg.room_height),
    ]
    rt60 = rng.uniform("rt60", cfg.rt60)
    volume = np.prod(sides)
    surface = 2 * (sides[0] * sides[1] + sides[0] * sides[2] + sides[1] * sides[2])
    shortest = 24 * np.log(10) * volume / (343 * surface) * 1.02  # Sabine, walls that absorb everything
    absorption, order = pra.inverse_sabine(rng.log("rt60_used", float(max(rt60, shortest))), sides)
    pra.constants.set("num_threads", 1)  # one order of summation, for reproducible bits
    room = pra.ShoeBox(sides, fs=rate, materials=pra.Material(absorption), max_order=order)
    for number in range(sources):
        room.add_source(_place(rng, f"source{number}", sides))
    room.add_microphone(_place(rng, "microphone", sides))
    room.compute_rir()
    return Room([np.asarray(r, np.float64) for r in room.rir[0]])


def _place(rng: RecordedRNG, name: str, sides: list[float]) -> list[float]:
    return [rng.uniform(f"{name}.{axis}", (MARGIN, side - MARGIN)) for axis, side in zip("xyz", sides, strict=True)]


def direct_path(response_R: np.ndarray) -> int:
    """Sample at which the direct sound arrives: the largest one."""
    return int(np.argmax(np.abs(response_R)))


def reverberate(
    samples_S: np.ndarray, response_R: np.ndarray, rate: int, early: float
) -> tuple[np.ndarray, np.ndarray]:
    """Convolves a signal with a response: (reverberant, direct sound and reflections up to `early` s after it).

    Both have the input's length and are aligned with it: the delay of the direct path is removed.
    """
    direct = direct_path(response_R)
    split = direct + int(early * rate) + 1
    reverberant = fftconvolve(samples_S, response_R)[direct : direct + len(samples_S)]
    early_S = fftconvolve(samples_S, response_R[:split])[direct : direct + len(samples_S)]
    gain = 1.0 / max(
        float(np.sqrt(np.sum(response_R[:split] ** 2))), 1e-9
    )  # the early part keeps the level of the dry signal
    return (reverberant * gain).astype(np.float32), (early_S * gain).astype(np.float32)

"""Reverberation: image-source rooms (Allen and Berkley 1979, by pyroomacoustics), or given responses."""

import dataclasses

import numpy as np
from scipy.signal import fftconvolve

from quarkaudio_jax.config import DegradeConfig
from quarkaudio_jax.data.crops import SourceError
from quarkaudio_jax.data.simulation.rng import Draws

MARGIN = 0.5
"""Meters that talkers, noise and microphone keep from the walls."""


@dataclasses.dataclass(frozen=True)
class Room:
    """responses: of each sound source to the microphone, (R,) at the simulation's rate."""

    responses: list[np.ndarray]


def draw_room(draws: Draws, cfg: DegradeConfig, rate: int, sources: int) -> Room:
    """A shoe box with one microphone and `sources` sources, all at random places."""
    try:
        import pyroomacoustics as pra
    except ImportError as error:
        raise SourceError(
            "simulated rooms need the package pyroomacoustics: pip install 'quarkaudio_jax[simulate]', "
            "or give room responses in config.sources.rirs, or set config.simulation.degrade.reverberation=0"
        ) from error

    sides = [
        draws.uniform("length", cfg.room),
        draws.uniform("width", cfg.room),
        draws.uniform("height", cfg.room_height),
    ]
    rt60 = draws.uniform("rt60", cfg.rt60)
    volume = np.prod(sides)
    surface = 2 * (sides[0] * sides[1] + sides[0] * sides[2] + sides[1] * sides[2])
    shortest = 24 * np.log(10) * volume / (343 * surface) * 1.02  # Sabine, walls that absorb everything
    absorption, order = pra.inverse_sabine(draws.note("rt60_used", float(max(rt60, shortest))), sides)
    pra.constants.set("num_threads", 1)  # sums in one order, so that the same room sounds the same to the bit
    room = pra.ShoeBox(sides, fs=rate, materials=pra.Material(absorption), max_order=order)
    for number in range(sources):
        room.add_source(_place(draws, f"source{number}", sides))
    room.add_microphone(_place(draws, "microphone", sides))
    room.compute_rir()
    return Room([np.asarray(r, np.float64) for r in room.rir[0]])


def _place(draws: Draws, name: str, sides: list[float]) -> list[float]:
    return [draws.uniform(f"{name}.{axis}", (MARGIN, side - MARGIN)) for axis, side in zip("xyz", sides, strict=True)]


def direct_path(response_R: np.ndarray) -> int:
    """The sample at which the direct sound arrives: the largest one."""
    return int(np.argmax(np.abs(response_R)))


def reverberate(
    samples_S: np.ndarray, response_R: np.ndarray, rate: int, early: float
) -> tuple[np.ndarray, np.ndarray]:
    """(what the microphone hears, the part of it that arrives within `early` s of the direct sound).

    Both have the input's length and are in time with it: the direct path's delay is taken out.
    """
    direct = direct_path(response_R)
    split = direct + int(early * rate) + 1
    heard = fftconvolve(samples_S, response_R)[direct : direct + len(samples_S)]
    near = fftconvolve(samples_S, response_R[:split])[direct : direct + len(samples_S)]
    gain = 1.0 / max(float(np.sqrt(np.sum(response_R[:split] ** 2))), 1e-9)  # the early part keeps the dry level
    return (heard * gain).astype(np.float32), (near * gain).astype(np.float32)

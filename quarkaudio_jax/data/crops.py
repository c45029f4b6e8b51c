"""A part of a clip, and how it is chosen."""

import dataclasses

import numpy as np

from quarkaudio_jax.errors import QuarkAudioError
from quarkaudio_jax.types import rescale

GRID_HZ = 50
"""Crops start on this grid, the frame rate of SSL features, so that both can be cut together."""


class SourceError(QuarkAudioError, ValueError):
    """A source that does not exist, is empty, or is written wrongly."""


@dataclasses.dataclass(frozen=True)
class Crop:
    """samples_SxC at `rate` Hz, from `start` seconds of the clip; features_TxD: its precomputed features, if any."""

    samples_SxC: np.ndarray
    rate: int
    start: float
    features_TxD: np.ndarray | None = None


def start_frame(total: int, rate: int, seconds: float | None, position: float) -> int:
    """Where a crop of `seconds` starts on the grid, for a position in [0, 1) of where it can."""
    spare = 0 if seconds is None else total / rate - seconds
    return int(position * (int(spare * GRID_HZ) + 1)) if spare > 0 else 0


def grid_sample(frame: int, rate: int) -> int:
    """The sample at `rate` where a frame of the grid starts."""
    return rescale(frame, GRID_HZ, rate, "nearest")


def cut(samples_SxC: np.ndarray, rate: int, seconds: float | None, position: float) -> Crop:
    """The crop of a clip that is in memory."""
    start = grid_sample(start_frame(len(samples_SxC), rate, seconds, position), rate)
    stop = len(samples_SxC) if seconds is None else start + int(np.ceil(seconds * rate))
    return Crop(samples_SxC[start:stop], rate, start / rate)

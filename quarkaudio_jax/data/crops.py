"""Crops of clips, on a common grid with SSL features."""

import dataclasses

import numpy as np

from quarkaudio_jax.errors import QuarkAudioError
from quarkaudio_jax.types import rescale

GRID_HZ = 50
"""Frame rate of SSL features. Crops start on frames, so that audio and features stay aligned."""


class SourceError(QuarkAudioError, ValueError):
    """An audio source that does not exist, is empty, or is malformed."""


@dataclasses.dataclass(frozen=True)
class Crop:
    """A segment of a clip: samples_SxC at `rate` Hz, from `start` seconds, and its precomputed features_TxD, if any."""

    samples_SxC: np.ndarray
    rate: int
    start: float
    features_TxD: np.ndarray | None = None


def start_frame(total: int, rate: int, seconds: float | None, position: float) -> int:
    """Frame at which a crop of `seconds` starts, at `position` in [0, 1) of the possible ones."""
    spare = 0 if seconds is None else total / rate - seconds
    return int(position * (int(spare * GRID_HZ) + 1)) if spare > 0 else 0


def grid_sample(frame: int, rate: int) -> int:
    """First sample, at `rate` Hz, of a frame of the grid."""
    return rescale(frame, GRID_HZ, rate, "nearest")


def cut(samples_SxC: np.ndarray, rate: int, seconds: float | None, position: float) -> Crop:
    """Cuts a crop out of a clip in memory."""
    start = grid_sample(start_frame(len(samples_SxC), rate, seconds, position), rate)
    stop = len(samples_SxC) if seconds is None else start + int(np.ceil(seconds * rate))
    return Crop(samples_SxC[start:stop], rate, start / rate)

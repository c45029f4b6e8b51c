"""Windows of long recordings: their positions, their levels, and cross-fading of their outputs."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from quarkaudio_jax.io.transforms import cross_faded
from quarkaudio_jax.types import ceil_div

OVERLAP_SECONDS = 0.5
"""Overlap of neighboring windows, over which their outputs are cross-faded."""

LEVEL = 10 ** (-25 / 20)
"""Root mean square of the input of a language model, in the middle of the range in training."""

PEAK = 0.99
"""Largest absolute value of the input of a language model."""

Read = Callable[[int, int], np.ndarray]
"""read(start, stop): mono samples of a recording; `start` never decreases."""


@dataclasses.dataclass(frozen=True)
class WindowSpec:
    """Windows of `size` samples of which neighbors share `overlap`."""

    size: int
    overlap: int

    def count(self, num_samples: int) -> int:
        """Number of windows of a recording."""
        return 1 + ceil_div(max(num_samples - self.size, 0), self.size - self.overlap)

    def ranges(self, num_samples: int) -> list[tuple[int, int]]:
        """(start, stop) of each window, in samples."""
        step = self.size - self.overlap
        return [(i * step, min(i * step + self.size, num_samples)) for i in range(self.count(num_samples))]


def cross_fade(outputs: Iterable[np.ndarray], count: int, overlap: int) -> Iterator[np.ndarray]:
    """Joins the outputs (S,) of `count` windows; yields samples as soon as they are final."""
    tail = np.zeros(0, np.float32)
    for index, output in enumerate(outputs):
        joined = cross_faded(tail, output)
        stop = len(joined) if index == count - 1 else len(joined) - overlap
        tail = joined[stop:]
        yield joined[:stop]


def input_gain(rms: float, peak: float) -> float:
    """Gain that brings a recording to LEVEL without exceeding PEAK; 1 for silence."""
    return 1.0 if rms == 0 else min(LEVEL / rms, PEAK / peak)

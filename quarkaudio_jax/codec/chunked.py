"""Encoding and decoding of any length in bounded memory.

A recording of T frames is cut into chunks of C frames, and each chunk is computed with X
frames of context on both sides that are thrown away. The grid depends on T, C and X alone,
never on how the samples arrived, so the same recording always gives the same codes. What the
context does not reach (the whole-time statistics of GroupNorm, attention, the LSTM's memory)
differs from one pass over everything; docs/chunks.md states by how much.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from quarkaudio_jax.errors import UserError
from quarkaudio_jax.types import ceil_div


@dataclasses.dataclass(frozen=True)
class Grid:
    """chunk: frames kept of a window; context: frames around them."""

    chunk: int
    context: int

    def __post_init__(self):
        if self.chunk < 1 or self.context < 0:
            raise UserError(f"chunks of {self.chunk} frames with {self.context} of context can't be")

    @property
    def window(self) -> int:
        """Frames of the longest window."""
        return self.chunk + 2 * self.context

    def windows(self, num_frames: int) -> Iterator["Window"]:
        """The windows of a recording, in order; one window if it fits into the longest."""
        if num_frames <= self.window:
            yield Window(0, num_frames, 0, num_frames)
            return
        for first in range(0, num_frames, self.chunk):
            last = min(first + self.chunk, num_frames)
            yield Window(max(first - self.context, 0), min(last + self.context, num_frames), first, last)

    def num_windows(self, num_frames: int) -> int:
        """The number of windows of a recording."""
        return 1 if num_frames <= self.window else ceil_div(num_frames, self.chunk)

    def padded(self, num_frames: int) -> int:
        """The frames that a window of `num_frames` is computed at: a power of two, or the longest window.

        Few lengths mean few compilations.
        """
        if num_frames >= self.window:
            return self.window
        return min(1 << max(num_frames - 1, 0).bit_length(), self.window)


@dataclasses.dataclass(frozen=True)
class Window:
    """Frames [start, stop) are computed, [first, last) are kept."""

    start: int
    stop: int
    first: int
    last: int


ReadSamples = Callable[[int, int], np.ndarray]
"""read(start, stop) -> samples [start, stop) at the codec's rate, fewer at the end of the recording."""


def encode(
    encode_window: Callable[[np.ndarray, int, slice], tuple[np.ndarray, ...]],
    read: ReadSamples,
    num_samples: int,
    frame_hop: int,
    grid: Grid,
) -> Iterator[tuple[np.ndarray, ...]]:
    """Yields what `encode_window` gives for the frames of each chunk.

    encode_window(wave_S, valid_samples, keep) gives arrays (T, ...) of a window padded with
    zeros, of which the frames `keep` are used.
    """
    num_frames = ceil_div(num_samples, frame_hop)
    for window in grid.windows(num_frames):
        start = window.start * frame_hop
        samples = read(start, min(window.stop * frame_hop, num_samples))
        size = grid.padded(window.stop - window.start) * frame_hop
        wave = np.zeros(size, np.float32)
        wave[: len(samples)] = samples
        keep = slice(window.first - window.start, window.last - window.start)
        yield tuple(array[keep] for array in encode_window(wave, len(samples), keep))


def joined(parts: Iterator[tuple[np.ndarray, ...]]) -> tuple[np.ndarray, ...]:
    """The chunks' arrays, each in one piece."""
    return tuple(np.concatenate(column) for column in zip(*parts, strict=True))


def collapse(acoustic_TxK: np.ndarray, semantic_TxK: np.ndarray, starts_T: np.ndarray) -> tuple[np.ndarray, ...]:
    """Codes frame by frame to codes of groups: (acoustic (G, K), semantic (G, K), durations (G,) int32)."""
    first = np.flatnonzero(starts_T)
    return acoustic_TxK[first], semantic_TxK[first], np.diff(first, append=len(starts_T)).astype(np.int32)


def stacked(items: Sequence[tuple[np.ndarray, ...]]) -> tuple[list[np.ndarray], np.ndarray]:
    """Items of several arrays (T, ...) each as batches (B, T, ...), zeros behind the shorter ones, and their lengths."""
    lengths = np.asarray([len(item[0]) for item in items], np.int32)
    batches = [np.zeros((len(items), lengths.max(), *first.shape[1:]), first.dtype) for first in items[0]]
    for row, item in enumerate(items):
        for batch, array in zip(batches, item, strict=True):
            batch[row, : len(array)] = array
    return batches, lengths


def decode(
    decode_window: Callable[[np.ndarray, np.ndarray, int], np.ndarray],
    acoustic_TxK: np.ndarray,
    semantic_TxK: np.ndarray,
    num_samples: int,
    frame_hop: int,
    grid: Grid,
) -> Iterator[np.ndarray]:
    """Yields the samples of each chunk, `num_samples` in all.

    decode_window(acoustic, semantic, valid_frames) gives the samples of a window padded with code 0.
    """
    num_frames = len(acoustic_TxK)
    for window in grid.windows(num_frames):
        size, valid = grid.padded(window.stop - window.start), window.stop - window.start
        padding = ((0, size - valid), (0, 0))
        acoustic, semantic = (np.pad(c[window.start : window.stop], padding) for c in (acoustic_TxK, semantic_TxK))
        wave = decode_window(acoustic, semantic, valid)
        begin, end = window.first * frame_hop, min(window.last * frame_hop, num_samples)
        offset = window.start * frame_hop
        yield wave[begin - offset : end - offset]

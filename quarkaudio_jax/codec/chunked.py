"""Encoding and decoding of recordings of any length in bounded memory.

A recording of T frames is cut into chunks of C frames, and each chunk is computed with X frames of context on both sides,
whose results are discarded. Chunks depend on T, C and X alone, never on how the samples arrived, so a recording always has
the same codes. What exceeds the context (GroupNorm's statistics over time, attention, the LSTM's state) makes results differ
from one pass over the recording; docs/chunks.md says by how much.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from quarkaudio_jax.errors import UserError
from quarkaudio_jax.types import ceil_div


@dataclasses.dataclass(frozen=True)
class ChunkSpec:
    """How a recording is cut. chunk: frames kept of a window; context: frames on both sides of them."""

    chunk: int
    context: int

    def __post_init__(self):
        if self.chunk < 1 or self.context < 0:
            raise UserError(
                f"chunks of {self.chunk} frames with {self.context} of context: they should be at least 1 and 0"
            )

    @property
    def window(self) -> int:
        """Frames of the longest window."""
        return self.chunk + 2 * self.context

    def windows(self, num_frames: int, begin: int = 0) -> Iterator["Window"]:
        """The windows of a recording, in order; a single one if it is no longer than `window`.

        begin: the first frame of the first chunk wanted.
        """
        if num_frames <= self.window:
            if not begin:
                yield Window(0, num_frames, 0, num_frames)
            return
        for first in range(begin, num_frames, self.chunk):
            last = min(first + self.chunk, num_frames)
            yield Window(max(first - self.context, 0), min(last + self.context, num_frames), first, last)

    def num_windows(self, num_frames: int) -> int:
        """The number of windows of a recording."""
        return 1 if num_frames <= self.window else ceil_div(num_frames, self.chunk)

    def padded(self, num_frames: int) -> int:
        """Padded length of a window of `num_frames`: a power of two, at most `window`, to limit compilations."""
        if num_frames >= self.window:
            return self.window
        return min(1 << max(num_frames - 1, 0).bit_length(), self.window)


@dataclasses.dataclass(frozen=True)
class Window:
    """Frames [start, stop) are computed, of which [first, last) are kept."""

    start: int
    stop: int
    first: int
    last: int


class OpenWindows:
    """The windows of a recording that is still arriving: those of `ChunkSpec.windows` of its whole length, as early as possible."""

    def __init__(self, chunk_spec: ChunkSpec):
        self._spec = chunk_spec
        self._next = 0

    @property
    def needed(self) -> int:
        """The first frame that windows to come read."""
        return max(self._next - self._spec.context, 0)

    def ready(self, num_frames: int, ended: bool = False) -> Iterator[Window]:
        """The further windows that can be computed when `num_frames` are there; ended: no more will come."""
        if not ended and num_frames <= self._spec.window:
            return
        for window in self._spec.windows(num_frames, self._next):
            if not ended and window.first + self._spec.chunk + self._spec.context > num_frames:
                return
            self._next = window.last
            yield window


ReadSamples = Callable[[int, int], np.ndarray]
"""read(start, stop) -> samples [start, stop), (S,) or (S, C), at the codec's rate, fewer at the end of the recording."""


EncodeWindow = Callable[[np.ndarray, int, slice], tuple[np.ndarray, ...]]
"""encode_window(wave, valid_samples, keep): see `encode`."""

DecodeWindow = Callable[[list[np.ndarray], int], np.ndarray]
"""decode_window(streams, valid_frames): see `decode`."""


def encode(
    encode_window: EncodeWindow,
    read: ReadSamples,
    num_samples: int,
    frame_hop: int,
    chunk_spec: ChunkSpec,
) -> Iterator[tuple[np.ndarray, ...]]:
    """Yields the arrays of `encode_window` for the frames of each chunk.

    encode_window(wave, valid_samples, keep) returns arrays (T, ...) for a zero-padded window (S,) or (S, C); the frames
    `keep` of them are used.
    """
    num_frames = ceil_div(num_samples, frame_hop)
    for window in chunk_spec.windows(num_frames):
        samples = read(window.start * frame_hop, min(window.stop * frame_hop, num_samples))
        yield encode_one(encode_window, window, samples, frame_hop, chunk_spec)


def encode_one(
    encode_window: EncodeWindow, window: Window, samples: np.ndarray, frame_hop: int, chunk_spec: ChunkSpec
) -> tuple[np.ndarray, ...]:
    """The arrays of `encode_window` for the kept frames of a window with these samples."""
    wave = np.zeros((chunk_spec.padded(window.stop - window.start) * frame_hop, *samples.shape[1:]), np.float32)
    wave[: len(samples)] = samples
    keep = slice(window.first - window.start, window.last - window.start)
    return tuple(array[keep] for array in encode_window(wave, len(samples), keep))


def concatenate(chunks: Iterator[tuple[np.ndarray, ...]]) -> tuple[np.ndarray, ...]:
    """Concatenates the arrays of all chunks over time."""
    return tuple(np.concatenate(arrays) for arrays in zip(*chunks, strict=True))


def run_length(streams: Sequence[np.ndarray], starts_T: np.ndarray) -> tuple[np.ndarray, ...]:
    """Codes (T, K) of frames as codes of groups: (codes (G, K) of each stream, ..., durations (G,) int32).

    starts_T: whether a group starts at the frame.
    """
    first = np.flatnonzero(starts_T)
    durations = np.diff(first, append=len(starts_T)).astype(np.int32)
    return *(codes_TxK[first] for codes_TxK in streams), durations


def pad_stack(items: Sequence[tuple[np.ndarray, ...]]) -> tuple[list[np.ndarray], np.ndarray]:
    """(batches (B, T, ...), lengths (B,)) of items, each with the same arrays (T, ...), zero-padded to the longest."""
    lengths = np.asarray([len(item[0]) for item in items], np.int32)
    batches = [np.zeros((len(items), lengths.max(), *first.shape[1:]), first.dtype) for first in items[0]]
    for row, item in enumerate(items):
        for batch, array in zip(batches, item, strict=True):
            batch[row, : len(array)] = array
    return batches, lengths


def decode(
    decode_window: DecodeWindow,
    streams: Sequence[np.ndarray],
    num_samples: int,
    frame_hop: int,
    chunk_spec: ChunkSpec,
) -> Iterator[np.ndarray]:
    """Yields the samples of each chunk, `num_samples` in all, of streams of codes (T, K).

    decode_window(streams, valid_frames) returns the samples of a window padded with code 0.
    """
    num_frames = len(streams[0])
    for window in chunk_spec.windows(num_frames):
        wave = decode_one(
            decode_window, window, [x[window.start : window.stop] for x in streams], frame_hop, chunk_spec
        )
        yield wave[: num_samples - window.first * frame_hop]


def decode_one(
    decode_window: DecodeWindow, window: Window, streams: Sequence[np.ndarray], frame_hop: int, chunk_spec: ChunkSpec
) -> np.ndarray:
    """The samples of the kept frames of a window with these codes."""
    valid = window.stop - window.start
    padding = ((0, chunk_spec.padded(valid) - valid), (0, 0))
    wave = decode_window([np.pad(codes_TxK, padding) for codes_TxK in streams], valid)
    return wave[(window.first - window.start) * frame_hop : (window.last - window.start) * frame_hop]

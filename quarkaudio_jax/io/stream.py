"""Reading and writing of recordings of any length in bounded memory."""

import os
import pathlib

import numpy as np

from quarkaudio_jax.io import atomic, audio
from quarkaudio_jax.types import resampled_length

BLOCK = audio.BLOCK


class ResampledReader:
    """A file as mono or stereo samples at another rate, read forward.

    `num_samples` is the length at that rate. Memory holds the samples between the last `start` and the last `stop`.
    channel: read this one, counted from 0, instead of the mean of all. channels: 2 reads left and right, (S, 2); AudioError
    for a file that has neither one nor two.
    """

    def __init__(self, path: str | os.PathLike, rate: int, channel: int | None = None, channels: int = 1):
        import soxr

        self.path = pathlib.Path(path)
        self._sound = audio.open_sound(path)
        self.source_rate, self.source_channels = self._sound.samplerate, self._sound.channels
        self.num_samples = resampled_length(self._sound.frames, self.source_rate, rate)
        if channel is not None and not 0 <= channel < self.source_channels:
            self._sound.close()
            raise audio.AudioError(f"{path}: has no channel {channel + 1}, only {self.source_channels}")
        self._channel, self._channels = channel, channels
        self._resampler = None
        if self.source_rate != rate:
            self._resampler = soxr.ResampleStream(self.source_rate, rate, channels, dtype="float32", quality="VHQ")
        try:
            empty = np.zeros((0, self.source_channels if channel is None else 1), np.float32)
            self._buffer = audio.with_channels(empty, channels, path) if channels > 1 else empty[:, 0]
        except audio.AudioError:
            self._sound.close()
            raise
        self._start, self._ended = 0, False

    def __enter__(self) -> "ResampledReader":
        return self

    def __exit__(self, *_) -> None:
        self._sound.close()

    def _more(self) -> None:
        block = self._sound.read(BLOCK)
        self._ended = len(block) < BLOCK
        chosen = block if self._channel is None else block[:, self._channel, None]
        samples = audio.with_channels(chosen, self._channels, self.path)
        if self._resampler is not None:
            samples = self._resampler.resample_chunk(samples, last=self._ended)
        self._buffer = np.concatenate([self._buffer, samples])

    def __call__(self, start: int, stop: int) -> np.ndarray:
        """Reads samples [start, stop), (S,) or (S, 2); `start` must not decrease. ValueError: it did."""
        if start < self._start:
            raise ValueError(f"{self.path}: sample {start} is before sample {self._start}, where reading has got to")
        stop = min(stop, self.num_samples)
        while not self._ended and self._start + len(self._buffer) < stop:
            self._more()
        drop = start - self._start
        self._buffer, self._start = self._buffer[drop:], start
        found = self._buffer[: stop - start]
        return np.pad(found, [(0, stop - start - len(found))] + [(0, 0)] * (found.ndim - 1))


def rms_and_peak(path: str | os.PathLike) -> tuple[float, float]:
    """Measures the root mean square and peak of a file as mono; AudioError if it can't be read."""
    rate = audio.info(path)[1]
    total, peak = 0.0, 0.0
    with ResampledReader(path, rate) as reader:
        for start in range(0, reader.num_samples, BLOCK):
            block = reader(start, start + BLOCK)
            total += float(np.sum(np.square(block, dtype=np.float64)))
            peak = max(peak, float(np.abs(block).max()))
        return (total / reader.num_samples) ** 0.5, peak


class Writer:
    """Writes a 16-bit file of `channels` block by block; it gets its name when it is finished without an error."""

    def __init__(self, path: str | os.PathLike, rate: int, channels: int = 1):
        import soundfile

        self.path = pathlib.Path(path)
        self._temporary = atomic.temporary_path(self.path)
        try:
            with audio.writing(self.path):
                self._file = soundfile.SoundFile(
                    os.fsencode(self._temporary), "w", rate, channels, "PCM_16", format=audio.file_format(self.path)
                )
        except BaseException:
            self._temporary.unlink(missing_ok=True)
            raise

    def write(self, samples: np.ndarray) -> None:
        """Appends samples (S,) or (S, C); those beyond [-1, 1] are clipped."""
        with audio.writing(self.path):
            self._file.write(np.clip(samples, -1, 1))

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, kind, *_) -> None:
        try:
            with audio.writing(self.path):
                self._file.close()
            if kind is None:
                os.replace(self._temporary, self.path)
        finally:
            self._temporary.unlink(missing_ok=True)

"""Reading and writing of audio files, by libsndfile and, for other formats, by ffmpeg if it is installed."""

import bisect
import collections
import contextlib
import dataclasses
import functools
import itertools
import logging
import os
import pathlib
import stat
import tempfile
from collections.abc import Iterator

import numpy as np

from quarkaudio_jax.errors import QuarkAudioError, is_exhausted
from quarkaudio_jax.io import atomic, containers, foreign
from quarkaudio_jax.io.transforms import resample, to_mono

log = logging.getLogger(__name__)

EXTENSIONS = (
    *(".wav", ".flac", ".mp3", ".ogg", ".oga", ".opus", ".aiff", ".aif", ".aifc"),
    *(".au", ".snd", ".caf", ".w64", ".rf64", ".mp2"),
)
"""Extensions of files that libsndfile reads."""

COMPRESSED = ("FLAC", "MP3", "OGG", "MPEG")
"""Formats in which damage shows only when they are decoded."""

PROBE_BYTES = 1 << 20
"""Bytes that are written to find out why libsndfile failed to write."""

MP3_WARM_UP = 16 * 1152
"""Samples that an mp3 decoder needs before its output is right."""

BLOCK = 1 << 18
"""Samples that are read at once."""


class AudioError(QuarkAudioError, ValueError):
    """A file that is not complete, readable audio; the message names it and the reason."""


class UnreadableError(AudioError):
    """A file that can't be opened (missing, forbidden, a failing disk), so that another attempt may succeed."""


class Sound:
    """An open file, read as float32 (S, C), with frames, samplerate, channels and format. AudioError: it is invalid.

    views: what to decode of the file; see `containers.Layout`.
    """

    def __init__(self, path: str, views: tuple = ()):
        import soundfile

        self._path = path
        self._files: list = []
        self._raw: list = []
        try:
            for view in views or (None,):
                self._raw.append(os.fsencode(path) if view is None else containers.SplicedFile(os.fsencode(path), view))
                self._files.append(soundfile.SoundFile(self._raw[-1]))
        except BaseException as error:
            self.close()
            raise _as_audio_error(path, error) from error
        first = self._files[0]
        self.samplerate, self.channels, self.format = first.samplerate, first.channels, first.format
        self._ends = list(itertools.accumulate(file.frames for file in self._files))
        self.frames, self._position = self._ends[-1], 0

    def __enter__(self) -> "Sound":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        """Closes the file."""
        for file in (*self._files, *(f for f in self._raw if not isinstance(f, bytes))):
            file.close()

    @property
    def uniform(self) -> bool:
        """Whether all chained streams have the same sample rate and number of channels."""
        return len({(file.samplerate, file.channels) for file in self._files}) == 1

    def seek(self, frame: int) -> None:
        """Moves to a sample."""
        self._position = frame
        which = min(bisect.bisect_right(self._ends, frame), len(self._files) - 1)
        try:
            for i in range(which, len(self._files)):
                self._files[i].seek(frame - (self._ends[which - 1] if which else 0) if i == which else 0)
        except Exception as error:
            raise _as_audio_error(self._path, error) from error

    def read(self, count: int = -1, finite: bool = True) -> np.ndarray:
        """Reads the next `count` samples (-1: all), fewer at the end; AudioError if they can't be decoded.

        finite: refuse NaN and infinity.
        """
        stop = self.frames if count < 0 else min(self._position + count, self.frames)
        parts = []
        try:
            while self._position < stop:
                which = bisect.bisect_right(self._ends, self._position)
                want = min(stop, self._ends[which]) - self._position
                part = self._files[which].read(want, dtype="float32", always_2d=True)
                if len(part) < want:
                    raise AudioError(
                        f"{self._path}: the file is damaged or truncated at sample {self._position + len(part)}"
                    )
                parts.append(part)
                self._position += len(part)
        except Exception as error:
            raise _as_audio_error(self._path, error) from error
        samples = np.concatenate(parts) if parts else np.zeros((0, self.channels), np.float32)
        if finite and not np.isfinite(samples).all():
            raise AudioError(f"{self._path}: samples are NaN or infinite")
        return samples


def _as_audio_error(path: str, error: BaseException) -> BaseException:
    """Converts an error of the decoder to AudioError or UnreadableError, unless the file is not its cause."""
    import soundfile

    if isinstance(error, AudioError) or is_exhausted(error):
        return error
    if isinstance(error, soundfile.LibsndfileError):
        return AudioError(f"{path}: not readable as audio ({error.error_string or 'libsndfile gives no reason'})")
    if isinstance(error, OSError):
        return UnreadableError(f"{path}: {error.strerror or error}")
    if isinstance(error, ValueError):  # soundfile, of lengths that can't be
        return AudioError(f"{path}: not readable as audio ({error})")
    return error


@dataclasses.dataclass(frozen=True)
class _Found:
    """Properties of a file, or its problem. views: what to decode of it; see `containers.Layout`."""

    problem: str = ""
    views: tuple = ()
    frames: int = 0
    rate: int = 0
    channels: int = 0


def _decodable(path: str, mtime_ns: int, size: int) -> str:
    """Path of the file that libsndfile decodes: the file itself, or its conversion by ffmpeg."""
    if pathlib.PurePath(path).suffix.lower() not in foreign.EXTENSIONS:
        return path
    return foreign.decoded(path, mtime_ns, size)


@functools.lru_cache(maxsize=65536)
def _found(path: str, mtime_ns: int, size: int) -> _Found:
    """Inspects a file, cached by path, modification time and size. UnreadableError: it can't be opened."""
    if size == 0:
        return _Found("the file is empty")
    try:
        source = _decodable(path, mtime_ns, size)
    except foreign.ForeignError as error:
        return _Found(str(error))
    try:
        layout = containers.inspect(os.fsencode(source))
        if layout.problem:
            return _Found(layout.problem)
        with Sound(source, layout.views) as sound:
            if not sound.uniform:
                return _Found("its chained streams differ in sample rate or channels: split it into files")
            if sound.frames <= 0:
                return _Found("the file holds no samples")
            # Reads the beginning first: in some damaged files, seeking before any read crashes libsndfile.
            sound.read(min(sound.frames, 64), finite=False)
            sound.seek(max(sound.frames - 1024, 0))
            sound.read(finite=False)
            return _Found("", layout.views, sound.frames, sound.samplerate, sound.channels)
    except UnreadableError:
        raise
    except AudioError as error:
        return _Found(str(error).removeprefix(f"{source}: "))
    except OSError as error:
        if is_exhausted(error):
            raise
        raise UnreadableError(f"{path}: {error.strerror or error}") from error


def _look(path: str | os.PathLike) -> tuple[_Found, tuple[str, int, int]]:
    """Inspects a file: (properties, key for `_decodable`); AudioError if it has a problem."""
    name = os.fspath(path)
    try:
        status = os.stat(name)
    except OSError as error:
        if is_exhausted(error):
            raise
        raise UnreadableError(f"{name}: {error.strerror}") from error
    except ValueError as error:  # a NUL byte in the name
        raise UnreadableError(f"{name!r}: {error}") from error
    if not stat.S_ISREG(status.st_mode):
        raise AudioError(f"{name}: not a file")
    key = name, status.st_mtime_ns, status.st_size
    found = _found(*key)
    if found.problem:
        raise AudioError(f"{name}: {found.problem}")
    return found, key


def check(path: str | os.PathLike, thorough: bool = False) -> None:
    """Raises UnreadableError if a file can't be opened, AudioError if it is empty, not audio or truncated.

    thorough: decode compressed files to their end, which finds damage in the middle.
    """
    _look(path)
    if thorough:
        with open_sound(path) as sound:
            while sound.format in COMPRESSED and len(sound.read(BLOCK, finite=False)):
                pass


def info(path: str | os.PathLike) -> tuple[int, int, int]:
    """(samples, sample rate in Hz, channels) of a file; AudioError if it is not complete audio."""
    found, _ = _look(path)
    return found.frames, found.rate, found.channels


def open_sound(path: str | os.PathLike) -> Sound:
    """Opens a file for reading; AudioError if it is not complete audio."""
    found, key = _look(path)
    return Sound(_decodable(*key), found.views)


def read(path: str | os.PathLike, start: int = 0, count: int = -1) -> tuple[np.ndarray, int]:
    """Reads `count` samples from `start` (-1: all): ((S, C) float32, sample rate); AudioError for bad files or values."""
    with open_sound(path) as sound:
        early = min(start, MP3_WARM_UP) if sound.format in ("MP3", "MPEG") else 0
        if start > early:
            sound.seek(start - early)
        return sound.read(count + early if count >= 0 else -1)[early:], sound.samplerate


@contextlib.contextmanager
def writing(path: str | os.PathLike) -> Iterator[None]:
    """Converts libsndfile's errors of writing: to OSError if the system can't write either, else to AudioError."""
    import soundfile

    try:
        yield
    except (soundfile.LibsndfileError, AssertionError, TypeError, ValueError) as error:
        with tempfile.TemporaryFile(dir=pathlib.Path(path).parent) as file:
            file.write(bytes(PROBE_BYTES))
        raise AudioError(f"{path}: can't be written as audio ({error}); name it .wav or .flac") from error


def write(path: str | os.PathLike, samples: np.ndarray, rate: int) -> None:
    """Writes (S,) or (S, C) atomically, as 16-bit wav or flac by the extension."""
    import soundfile

    with atomic.atomic_write(path) as temporary, writing(path):
        soundfile.write(
            os.fsencode(temporary), np.clip(samples, -1, 1), rate, subtype="PCM_16", format=file_format(path)
        )


def file_format(path: str | os.PathLike) -> str:
    """Name of a file's format in libsndfile, by the extension."""
    return pathlib.Path(path).suffix[1:].upper()


def find(folder: str | os.PathLike) -> list[pathlib.Path]:
    """Lists the audio files below a folder, by extension, sorted; see `walk`.

    Without ffmpeg, files that need it are left out and logged.
    """
    found = sorted(path for path in walk(folder) if path.suffix.lower() in (*EXTENSIONS, *foreign.EXTENSIONS))
    if foreign.available():
        return found
    left_out = [path for path in found if path.suffix.lower() in foreign.EXTENSIONS]
    if left_out:
        names = ", ".join(map(str, left_out[:3])) + (", ..." if len(left_out) > 3 else "")
        log.warning("%d files are left out: %s: only ffmpeg, which is not installed, reads them", len(left_out), names)
    return [path for path in found if path not in set(left_out)]


def walk(folder: str | os.PathLike) -> Iterator[pathlib.Path]:
    """Yields every file below a folder, except hidden ones; links to folders are followed, each folder once."""
    top = os.stat(folder)
    seen = {(top.st_dev, top.st_ino)}
    for root, folders, files in os.walk(os.fspath(folder), followlinks=True):
        kept = []
        for name in sorted(folders):
            try:
                status = os.stat(os.path.join(root, name))
            except OSError:
                continue
            if not name.startswith(".") and (status.st_dev, status.st_ino) not in seen:
                seen.add((status.st_dev, status.st_ino))
                kept.append(name)
        folders[:] = kept
        for name in files:
            if not name.startswith(".") and os.path.isfile(os.path.join(root, name)):
                yield pathlib.Path(root, name)


def printable(name: str) -> str:
    r"""Converts a file's name to valid UTF-8, with other bytes as \udc.. escapes."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


def read_mono(path: pathlib.Path, rate: int = 0) -> tuple[np.ndarray, int]:
    """Reads a recording with channels averaged: (samples (S,), rate). rate: resample to it (0: keep the rate)."""
    return read_channels(path, 1, rate)


def with_channels(samples_SxC: np.ndarray, channels: int, name: str | os.PathLike) -> np.ndarray:
    """Samples of a file as its mean (S,) for 1 channel, or as (S, 2) for 2, of which a mono file has the same twice.

    AudioError for a file with other numbers of channels, which say nothing of left and right.
    """
    if channels == 1:
        return to_mono(samples_SxC)
    found = samples_SxC.shape[1]
    if found not in (1, channels):
        raise AudioError(
            f"{name}: has {found} channels; a stereo codec takes 1 or {channels}: mix it down to stereo first"
        )
    return np.repeat(samples_SxC, channels // found, axis=1)


def read_channels(path: pathlib.Path, channels: int, rate: int = 0) -> tuple[np.ndarray, int]:
    """Reads a recording with 1 channel, (S,), or 2, (S, 2); see `with_channels`. rate: resample to it (0: keep the rate)."""
    samples, own = read(path)
    if not len(samples):
        raise AudioError(f"{path}: holds no samples")
    wave = with_channels(samples, channels, path)
    return (wave, own) if rate in (0, own) else (resample(wave, own, rate), rate)


def by_name(folder: pathlib.Path) -> dict[str, pathlib.Path]:
    """Maps the audio files of a folder by path without extension, or with it if two files differ by it alone."""
    found = [(path, path.relative_to(folder)) for path in find(folder)]
    stems = collections.Counter(inner.with_suffix("") for _, inner in found)
    return {
        printable(str(inner.with_suffix("") if stems[inner.with_suffix("")] == 1 else inner)): path
        for path, inner in found
    }

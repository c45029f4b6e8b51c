"""Reading and writing audio files: wav, flac, mp3, ogg through libsndfile, and whether they are whole."""

import contextlib
import functools
import os
import pathlib
import struct
import tempfile
from collections.abc import Iterator

import numpy as np

from quarkaudio_jax import atomic
from quarkaudio_jax.errors import QuarkAudioError

EXTENSIONS = (".wav", ".flac", ".mp3", ".ogg", ".opus", ".aiff", ".aif")

MP3_WARM_UP = 16 * 1152

PROBE_BYTES = 1 << 20
"""Written to learn why libsndfile could not write."""


class AudioError(QuarkAudioError, ValueError):
    """A file that is no readable, whole audio; the message names it and the reason."""


class UnreadableError(AudioError):
    """A file that can't be opened at all (missing, forbidden, a disk that fails): another try may well succeed."""


def _wav_is_cut(file) -> bool:
    """Whether a RIFF file's data chunk promises more bytes than there are."""
    size = os.fstat(file.fileno()).st_size
    position = 12
    while position + 8 <= size:
        file.seek(position)
        tag, length = struct.unpack("<4sI", file.read(8))
        if tag == b"data":
            return length not in (0, 0xFFFFFFFF) and position + 8 + length > size
        position += 8 + length + (length & 1)
    return True


def _ogg_is_cut(file) -> bool:
    """Whether an Ogg file's last page is incomplete or does not end its stream."""
    size = os.fstat(file.fileno()).st_size
    file.seek(max(size - 65536, 0))
    tail = file.read()
    start = tail.rfind(b"OggS")
    if start < 0 or start + 27 > len(tail):
        return True
    segments = tail[start + 26]
    table = tail[start + 27 : start + 27 + segments]
    whole = start + 27 + segments + sum(table) <= len(tail) and len(table) == segments
    return not (whole and tail[start + 5] & 4)


@functools.lru_cache(maxsize=65536)
def _whole(path: str, mtime_ns: int, size: int) -> str:
    """'' if the file is whole, else what is wrong; remembered per path and modification time."""
    import soundfile

    if size == 0:
        return "the file is empty"
    try:
        with open(path, "rb") as file:
            magic = file.read(4)
            cut = (magic == b"RIFF" and _wav_is_cut(file)) or (magic == b"OggS" and _ogg_is_cut(file))
        if cut:
            return "the file is truncated"
        with soundfile.SoundFile(os.fsencode(path)) as file:
            if file.frames <= 0:
                return "the file holds no samples"
            tail = min(file.frames, 1024)
            file.seek(file.frames - tail)
            if len(file.read(tail, dtype="float32", always_2d=True)) < tail:
                return "the file is truncated"
    except soundfile.LibsndfileError as error:
        return f"not readable as audio ({error.error_string})"
    except OSError as error:
        raise UnreadableError(f"{path}: {error.strerror}") from error
    return ""


def check(path: str | os.PathLike) -> None:
    """UnreadableError if the file can't be opened, AudioError if it is empty, not audio or truncated.

    An mp3 without a length header can't tell.
    """
    try:
        stat = os.stat(path)
    except OSError as error:
        raise UnreadableError(f"{path}: {error.strerror}") from error
    if problem := _whole(str(path), stat.st_mtime_ns, stat.st_size):
        raise AudioError(f"{path}: {problem}")


def info(path: str | os.PathLike) -> tuple[int, int, int]:
    """(samples, sample rate in Hz, channels) of a whole file; AudioError otherwise."""
    import soundfile

    check(path)
    found = soundfile.info(os.fsencode(path))
    return found.frames, found.samplerate, found.channels


def read(path: str | os.PathLike, start: int = 0, count: int = -1) -> tuple[np.ndarray, int]:
    """`count` samples from `start` (-1: all), (S, C) float32, and the rate; AudioError for bad files or values."""
    import soundfile

    check(path)
    try:
        with soundfile.SoundFile(os.fsencode(path)) as file:
            expected = file.frames - start if count < 0 else min(count, file.frames - start)
            # An mp3 decoder that starts in the middle needs some frames before its output is right.
            early = min(start, MP3_WARM_UP) if file.format == "MP3" else 0
            file.seek(start - early)
            samples = file.read(count + early if count >= 0 else -1, dtype="float32", always_2d=True)[early:]
            rate = file.samplerate
    except soundfile.LibsndfileError as error:
        raise AudioError(f"{path}: not readable as audio ({error.error_string})") from error
    except OSError as error:
        raise UnreadableError(f"{path}: {error.strerror}") from error
    if len(samples) < expected:
        raise AudioError(f"{path}: the file is truncated")
    if not np.isfinite(samples).all():
        raise AudioError(f"{path}: samples are NaN or infinite")
    return samples, rate


@contextlib.contextmanager
def writing(path: str | os.PathLike) -> Iterator[None]:
    """Raises an OSError where libsndfile says no more than that it could not write; AudioError if the system could."""
    import soundfile

    try:
        yield
    except (soundfile.LibsndfileError, AssertionError, TypeError, ValueError) as error:
        with tempfile.TemporaryFile(dir=pathlib.Path(path).parent) as file:
            file.write(bytes(PROBE_BYTES))
        raise AudioError(f"{path}: can't be written as audio ({error}); name it .wav or .flac") from error


def write(path: str | os.PathLike, samples: np.ndarray, rate: int) -> None:
    """Writes (S,) or (S, C) as 16-bit wav or flac by the name's extension; whole or not at all."""
    import soundfile

    with atomic.written(path) as temporary, writing(path):
        soundfile.write(
            os.fsencode(temporary), np.clip(samples, -1, 1), rate, subtype="PCM_16", format=file_format(path)
        )


def file_format(path: str | os.PathLike) -> str:
    """What libsndfile calls the format of a file of that name."""
    return pathlib.Path(path).suffix[1:].upper()


def find(folder: str | os.PathLike) -> list[pathlib.Path]:
    """Every audio file below a folder, by extension, sorted; hidden ones left out."""
    root = pathlib.Path(folder)
    return sorted(
        p for p in root.rglob("*") if p.suffix.lower() in EXTENSIONS and not p.name.startswith(".") and p.is_file()
    )

"""Inspection of audio containers: whether a file is complete, and its true length.

Decoders trust the length that a file states. Programs that write into a pipe can't state it, some encoders never do, and
concatenated files have a wrong one. Here the length is found from the data, and decoders see the file with the right length
patched in.
"""

import dataclasses
import io
import mmap
import os
import struct
from collections.abc import Callable, Sequence
from typing import Any

from quarkaudio_jax.io import mpeg
from quarkaudio_jax.types import round_up

Piece = bytes | tuple[int, int]
"""A piece of a view: bytes, or a range [start, stop) of the file."""

UNKNOWN = 0x7FFFF000
"""Sizes from here on, if beyond the end of the file, stand for an unknown length."""

TRUNCATED = "the file is truncated"


@dataclasses.dataclass(frozen=True)
class Layout:
    """Layout of a file. problem: why it is not complete, or ''. views: what to decode in sequence; (): the file itself."""

    problem: str = ""
    views: tuple[tuple[Piece, ...], ...] = ()


def patched(size: int, position: int, data: bytes, replaced: int | None = None) -> tuple[Piece, ...]:
    """A view of a file of `size` bytes with `data` in place of `replaced` bytes at `position` (default: as many)."""
    after = position + (len(data) if replaced is None else replaced)
    return (0, position), data, (after, size)


class SplicedFile(io.RawIOBase):
    """A read-only file made of pieces of another file and of other bytes."""

    def __init__(self, path: str | bytes, pieces: Sequence[Piece]):
        super().__init__()
        self._file = open(path, "rb")  # noqa: SIM115
        self._pieces, self._starts, start = list(pieces), [], 0
        for piece in pieces:
            self._starts.append(start)
            start += len(piece) if isinstance(piece, bytes) else piece[1] - piece[0]
        self._size, self._position = start, 0

    def close(self) -> None:
        """Closes the file."""
        self._file.close()
        super().close()

    def readable(self) -> bool:
        """Always True."""
        return True

    def seekable(self) -> bool:
        """Always True."""
        return True

    def tell(self) -> int:
        """The position in bytes."""
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Moves to a position and returns it."""
        self._position = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        return self._position

    def readinto(self, buffer: Any) -> int:
        """Reads bytes into a buffer and returns their number."""
        view, done = memoryview(buffer).cast("B"), 0
        while done < len(view) and 0 <= self._position < self._size:
            found = self._read(len(view) - done)
            if not found:
                break
            view[done : done + len(found)] = found
            done += len(found)
            self._position += len(found)
        return done

    def _read(self, count: int) -> bytes:
        """Reads at most `count` bytes at the position, of one piece."""
        which = max(i for i, start in enumerate(self._starts) if start <= self._position)
        piece, offset = self._pieces[which], self._position - self._starts[which]
        if isinstance(piece, bytes):
            return piece[offset : offset + count]
        self._file.seek(piece[0] + offset)
        return self._file.read(min(count, piece[1] - piece[0] - offset))


def inspect(path: str | bytes) -> Layout:
    """Inspects a file, in a format given by its first bytes; OSError if it can't be opened."""
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size < 12:
            return Layout(TRUNCATED if file.read(4) in WALKERS else "")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            magic = data[:4]
            if magic in WALKERS:
                return WALKERS[magic](data, size)
            if mpeg.starts(data, size):
                return _mpeg(data, size)
    return Layout()


def _stated(stated: int, begin: int, size: int, position: int, form: str, empty: bool) -> Layout:
    """The layout of a file with samples from `begin`, `stated` bytes according to the field at `position` of format `form`."""
    if begin + stated <= size and stated:
        return Layout()
    if stated >= UNKNOWN:
        return Layout()  # decoders read to the end then
    if stated:
        return Layout(TRUNCATED)
    return Layout() if empty else Layout(views=(patched(size, position, struct.pack(form, size - begin)),))


def _chunks_end(data, position: int, size: int, form: str) -> bool:
    """Whether the file from `position` on consists of valid chunks."""
    while position + 8 <= size:
        tag, length = struct.unpack_from(form, data, position)
        if not tag.isascii() or not tag.decode().isprintable():
            return False
        position += 8 + length + (length & 1)
    return position in (size, size + 1)


def _riff(data, size: int) -> Layout:
    """WAV and RF64."""
    form = "4sI"
    form = (">" if data[:4] == b"RIFX" else "<") + form
    position, large = 12, 0
    while position + 8 <= size:
        tag, length = struct.unpack_from(form, data, position)
        if tag == b"ds64" and position + 24 <= size:
            (large,) = struct.unpack_from("<Q", data, position + 16)
        if tag == b"data":
            if large and length == 0xFFFFFFFF:
                return Layout() if position + 8 + large <= size else Layout(TRUNCATED)
            begin = position + 8
            empty = not length and _chunks_end(data, begin, size, form)
            return _stated(length, begin, size, position + 4, form[0] + "I", empty)
        position += 8 + length + (length & 1)
    return Layout(TRUNCATED)


def _aiff(data, size: int) -> Layout:
    position = 12
    while position + 8 <= size:
        tag, length = struct.unpack_from(">4sI", data, position)
        if tag == b"SSND":
            begin = position + 8
            empty = not length and _chunks_end(data, begin, size, ">4sI")
            return _stated(length, begin, size, position + 4, ">I", empty)
        position += 8 + length + (length & 1)
    return Layout(TRUNCATED)


def _au(data, size: int) -> Layout:
    begin, length = struct.unpack_from(">II", data, 4)
    return _stated(length, begin, size, 8, ">I", begin >= size)


def _caf(data, size: int) -> Layout:
    position = 8
    while position + 12 <= size:
        tag, length = struct.unpack_from(">4sq", data, position)
        if tag == b"data" or length < 0:
            return Layout(TRUNCATED) if position + 12 + length > size else Layout()
        position += 12 + length
    return Layout(TRUNCATED)


def _w64(data, size: int) -> Layout:
    position = 40
    while position + 24 <= size:
        (length,) = struct.unpack_from("<Q", data, position + 16)
        if data[position : position + 4] == b"data":
            return Layout(TRUNCATED) if position + length > size else Layout()
        position += max(round_up(length, 8), 24)
    return Layout(TRUNCATED)


def _ogg(data, size: int) -> Layout:
    """Ogg: checks that pages are consecutive and the last one ends its stream; every chained stream is a view."""
    position, links, pages, last, opening = 0, [], {}, 0, False
    while position < size:
        if data[position : position + 4] != b"OggS":
            return Layout(f"the file is damaged at byte {position}")
        if position + 27 > size:
            return Layout(TRUNCATED)
        last, serial, number = data[position + 5], *struct.unpack_from("<II", data, position + 14)
        segments = data[position + 26]
        stop = position + 27 + segments + sum(data[position + 27 : position + 27 + segments])
        if position + 27 + segments > size or stop > size:
            return Layout(TRUNCATED)
        if last & 2:
            if not opening:
                links.append(position)
            pages[serial] = number
        elif pages.get(serial, number - 1) != number - 1:
            return Layout(f"the file is damaged: pages are missing before byte {position}")
        pages[serial], opening = number, bool(last & 2)
        position = stop
    if not last & 4:
        return Layout(TRUNCATED)
    if len(links) < 2:
        return Layout()
    return Layout(views=tuple(((start, stop),) for start, stop in zip(links, [*links[1:], size], strict=True)))


_FLAC_TOTAL = (1 << 36) - 1
FLAC_BLOCKS = (0, 192, *(576 << i for i in range(4)), 0, 0, *(256 << i for i in range(8)))
"""Samples of a frame, by the code in its header."""


def _flac(data, size: int) -> Layout:
    """FLAC: replaces a length of 0 in its first block, which stands for an unknown length."""
    if size < 42 or int.from_bytes(data[18:26], "big") & _FLAC_TOTAL:
        return Layout()
    field = int.from_bytes(data[18:26], "big") | _flac_end(data, size)
    return Layout(views=(patched(size, 18, field.to_bytes(8, "big")),))


def _flac_end(data, size: int) -> int:
    """Length of a FLAC by its last frame (RFC 9639, section 9.1), searched from the end; 0 if there is none."""
    position = size
    while (position := data.rfind(b"\xff", 0, position)) > 42:
        header = data[position : position + 16]
        if len(header) < 6 or header[1] & 0xFE != 0xF8 or header[3] & 1 or header[2] >> 4 == 0:
            continue
        width = next((n for n in range(8) if not header[4] << n & 0x80), 8)  # of the number, coded as in UTF-8
        number, at = header[4] & (0x7F >> width), 5
        for byte in header[5 : 4 + max(width, 1)]:
            number, at = number << 6 | byte & 0x3F, at + 1
        code, rate = header[2] >> 4, header[2] & 15
        extra = {6: 1, 7: 2}.get(code, 0)
        stated = int.from_bytes(header[at : at + extra], "big") + 1
        block = stated if extra else FLAC_BLOCKS[code]
        at += extra + {12: 1, 13: 2, 14: 2}.get(rate, 0)
        if at < len(header) and _crc8(header[:at]) == header[at]:
            start = number if header[1] & 1 else number * int.from_bytes(data[8:10], "big")
            return start + block
    return 0


def _crc8(data: bytes) -> int:
    """CRC-8 with polynomial 7, of FLAC frame headers."""
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc << 1 ^ 7 if crc & 0x80 else crc << 1) & 0xFF
    return crc


def _mpeg(data, size: int) -> Layout:
    found = mpeg.walk(data, size)
    if found.truncated:
        return Layout(TRUNCATED)
    return Layout() if found.patch is None else Layout(views=(patched(size, *found.patch),))


WALKERS: dict[bytes, Callable] = {
    **dict.fromkeys((b"RIFF", b"RIFX", b"RF64"), _riff),
    b"FORM": _aiff,
    b".snd": _au,
    b"caff": _caf,
    b"riff": _w64,
    b"OggS": _ogg,
    b"fLaC": _flac,
}
"""First bytes of a file -> function that inspects it."""

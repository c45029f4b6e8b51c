"""Counting of MPEG audio frames (mp3), so that files with a missing or wrong length header are read to their end.

Formats: ISO 11172-3 and 13818-3 for frames; the Xing header as LAME writes it.
"""

import dataclasses
import functools
import struct
from typing import TypeGuard

BITRATES = {
    (1, 1): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (1, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
"""kbit/s by (1 for MPEG-1, 2 for MPEG-2 and 2.5; layer), the layers 2 and 3 of the latter being the same."""

RATES = (44100, 48000, 32000)
SEARCH = 1 << 16
"""Bytes within which the first frame, or the next one after damage, must be found."""


@dataclasses.dataclass(frozen=True)
class Frame:
    """Header of a frame. size: bytes of the frame. version: 1, 2 or 3 (MPEG-2.5)."""

    version: int
    layer: int
    rate: int
    size: int


@dataclasses.dataclass(frozen=True)
class Walk:
    """Result of `walk`: whether frames are missing, and the patch that states the length.

    patch: (position, new bytes, number of bytes that they replace).
    """

    truncated: bool = False
    patch: tuple[int, bytes, int] | None = None


@functools.lru_cache(maxsize=4096)
def _frame(second: int, third: int) -> Frame | None:
    """Parses a header by its second and third byte; None if it is invalid or of free format."""
    if second & 0xE0 != 0xE0:
        return None
    version, layer = {0: 3, 2: 2, 3: 1}.get(second >> 3 & 3), {1: 3, 2: 2, 3: 1}.get(second >> 1 & 3)
    bitrate, rate, padding = third >> 4, third >> 2 & 3, third >> 1 & 1
    if version is None or layer is None or bitrate in (0, 15) or rate == 3:
        return None
    hertz = RATES[rate] >> (version - 1)
    bits = BITRATES[(1, layer) if version == 1 else (2, min(layer, 2))][bitrate] * 1000
    if layer == 1:
        return Frame(version, layer, hertz, (12 * bits // hertz + padding) * 4)
    slots = 72 if layer == 3 and version > 1 else 144
    return Frame(version, layer, hertz, slots * bits // hertz + padding)


def _at(data, position: int, size: int) -> Frame | None:
    if position + 4 > size or data[position] != 0xFF:
        return None
    return _frame(data[position + 1], data[position + 2])


def _like(frame: Frame | None, first: Frame) -> TypeGuard[Frame]:
    """Whether there is a frame, and it belongs to the same stream."""
    return frame is not None and (frame.version, frame.layer, frame.rate) == (first.version, first.layer, first.rate)


def _skip_tags(data, position: int, size: int) -> int:
    """Position after ID3v2 tags."""
    while position + 10 <= size and data[position : position + 3] == b"ID3":
        length = 0
        for byte in data[position + 6 : position + 10]:
            length = length << 7 | byte & 0x7F
        position += 10 + length + (10 if data[position + 5] & 0x10 else 0)
    return position


def starts(data, size: int) -> bool:
    """Whether a file begins with a tag or with two MPEG frames."""
    if data[:3] == b"ID3":
        return True
    first = _at(data, 0, size)
    return first is not None and _like(_at(data, first.size, size), first)


def _search(data, position: int, size: int, first: Frame | None) -> int | None:
    """Position of the next frame that is followed by another one."""
    end = min(position + SEARCH, size)
    while (position := data.find(b"\xff", position, end)) >= 0:
        frame = _at(data, position, size)
        if frame is not None and (first is None or _like(frame, first)):
            following = position + frame.size
            if following == size or _like(_at(data, following, size), frame):
                return position
        position += 1
    return None


def _is_tag(data, position: int) -> bool:
    return data[position : position + 3] == b"TAG" or data[position : position + 8] in (b"APETAGEX", b"LYRICSBE")


def walk(data, size: int) -> Walk:
    """Counts the frames of a file and compares them with its length header."""
    begin = _search(data, _skip_tags(data, 0, size), size, None)
    if begin is None:
        return Walk()
    first, position, count = _at(data, begin, size), begin, 0
    assert first is not None, "_search found it"
    while position < size:
        frame = _at(data, position, size)
        if _like(frame, first):
            if position + frame.size > size:
                return Walk(truncated=True)
            count, position = count + 1, position + frame.size
        elif _is_tag(data, position) or (found := _search(data, _skip_tags(data, position, size), size, first)) is None:
            break
        else:
            position = found
    return _compared(data, begin, first, count)


def _side(frame: Frame, mono: bool, protected: bool) -> int:
    """Bytes of a layer 3 frame before a Xing header."""
    side = (17 if mono else 32) if frame.version == 1 else (9 if mono else 17)
    return 4 + side + (2 if protected else 0)


def _compared(data, begin: int, first: Frame, count: int) -> Walk:
    mono, protected = data[begin + 3] >> 6 == 3, not data[begin + 1] & 1
    if first.layer != 3:
        return Walk()  # other layers have a constant bitrate, so that decoders know the length
    place = begin + _side(first, mono, protected)
    if data[place : place + 4] in (b"Xing", b"Info"):
        flags, stated = struct.unpack_from(">II", data, place + 4)
        if not flags & 1 or stated in (count - 1, count):
            return Walk()
        if stated > count:
            return Walk(truncated=True)
        return Walk(patch=(place + 8, struct.pack(">I", count - 1), 4))
    vbri = data[begin + 36 : begin + 40] == b"VBRI"
    header = _xing_frame(data[begin : begin + 4], mono, count - vbri)
    return Walk(patch=(begin, header, first.size if vbri else 0))


def _xing_frame(header: bytes, mono: bool, count: int) -> bytes:
    """A silent frame of the same kind that states the number of frames after it."""
    # Without padding and checksum, at a bitrate whose frames have room for it.
    header = bytes((0xFF, header[1] | 1, 0x50 | header[2] & 0x0C, header[3]))
    frame = _frame(header[1], header[2])
    assert frame is not None, "a header as that of the first frame, but for its bitrate"
    tag = struct.pack(">4sII", b"Xing", 1, count)
    return (header + bytes(_side(frame, mono, False) - 4) + tag).ljust(frame.size, b"\0")

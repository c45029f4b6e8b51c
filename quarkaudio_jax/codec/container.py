"""The token file: codes of one recording, bit-packed behind a JSON header; no pickle.

    bytes 0-7    magic b"QKAUDIO1"
    bytes 8-11   length of the header, little-endian uint32
    header       UTF-8 JSON, see `Header`
    payload      frames (of an adaptive codec: groups of frames) in time order; in each the acoustic
                 codebooks, then the semantic ones, a code in ceil(log2(codebook size)) bits, then
                 of a group its frames - 1 in ceil(log2(max_group)) bits; most significant bit
                 first; zero bits fill the last byte
    last 4       CRC-32 of everything before, little-endian

Upstream's code arrays are (B, K, T); frames of K codes are this module's only other layout.
"""

import dataclasses
import json
import os
import pathlib
import struct
import zlib
from typing import NamedTuple

import numpy as np

from quarkaudio_jax import atomic
from quarkaudio_jax.errors import QuarkAudioError

MAGIC = b"QKAUDIO1"
SUFFIX = ".qka"


class ContainerError(QuarkAudioError, ValueError):
    """A token file that is damaged, of another kind, or made with another codec."""


@dataclasses.dataclass(frozen=True)
class Header:
    """What the file says of itself.

    codec: the variant's name. sample_rate: of the codec, in Hz; num_samples: of the recording at
    that rate. codebooks, codebook_sizes: per stream, acoustic then semantic. chunk_frames,
    context_frames: the grid that `codec.chunked` cut the recording by; decoding uses the same.
    features: the recipe that made the SSL features. source_rate, source_channels: of the file
    that was encoded. max_group, num_groups: of an adaptive codec, frames that a group may hold
    and groups in the payload; 0 otherwise.
    """

    codec: str
    sample_rate: int
    frame_hop: int
    num_samples: int
    codebooks: tuple[int, int]
    codebook_sizes: tuple[int, int]
    chunk_frames: int
    context_frames: int
    features: str
    source_rate: int
    source_channels: int
    max_group: int = 0
    num_groups: int = 0

    @property
    def num_frames(self) -> int:
        """Code frames of the recording."""
        return -(-self.num_samples // self.frame_hop)

    @property
    def num_rows(self) -> int:
        """Frames, or groups of them, in the payload."""
        return self.num_groups if self.max_group else self.num_frames

    @property
    def bits(self) -> list[int]:
        """Bits of each number of a frame or group, in order."""
        pairs = zip(self.codebooks, self.codebook_sizes, strict=True)
        bits = [(size - 1).bit_length() for count, size in pairs for _ in range(count)]
        return [*bits, (self.max_group - 1).bit_length()] if self.max_group else bits

    @property
    def payload_bits(self) -> int:
        """Bits of all codes."""
        return self.num_rows * sum(self.bits)

    @property
    def seconds(self) -> float:
        """Length of the recording."""
        return self.num_samples / self.sample_rate


class TokenFile(NamedTuple):
    """What a token file holds; durations_T: frames of each group, None without grouping."""

    header: Header
    acoustic_TxK: np.ndarray
    semantic_TxK: np.ndarray
    durations_T: np.ndarray | None = None


def require_same_codec(theirs: Header, ours: Header, name: str) -> None:
    """ContainerError, naming what differs, unless the file `name` can be decoded by the codec of `ours`."""
    for field in ("sample_rate", "frame_hop", "codebooks", "codebook_sizes", "max_group", "codec"):
        value, own = getattr(theirs, field), getattr(ours, field)
        if value != own:
            raise ContainerError(
                f"{name}: made with codec {theirs.codec} ({theirs.sample_rate} Hz, {field} {value}), but the "
                f"checkpoint is {ours.codec} ({ours.sample_rate} Hz, {field} {own}); give the checkpoint it was made with"
            )


def pack(codes_TxK: np.ndarray, bits: list[int]) -> bytes:
    """Codes (T, K) as a bit stream; code k of a frame takes bits[k]."""
    if codes_TxK.size and (codes_TxK.min() < 0 or (codes_TxK >= (1 << np.asarray(bits))).any()):
        raise ContainerError("codes are negative or too large for their codebook")
    parts = [
        (codes_TxK[:, k, None] >> np.arange(width - 1, -1, -1)).astype(np.uint8) & 1 for k, width in enumerate(bits)
    ]
    return np.packbits(np.concatenate(parts, axis=1)).tobytes() if parts else b""


def unpack(payload: bytes, num_frames: int, bits: list[int]) -> np.ndarray:
    """The inverse of `pack`, (T, K) int32."""
    stream = np.unpackbits(np.frombuffer(payload, np.uint8), count=num_frames * sum(bits))
    stream = stream.reshape(num_frames, sum(bits)).astype(np.int32)
    ends = np.cumsum(bits)
    columns = [
        stream[:, end - width : end] @ (1 << np.arange(width - 1, -1, -1)).astype(np.int32)
        for end, width in zip(ends, bits, strict=True)
    ]
    return np.stack(columns, axis=1)


def dumps(file: TokenFile) -> bytes:
    """A token file as bytes."""
    header, *streams = file
    if (file.durations_T is None) == bool(header.max_group):
        raise ContainerError("durations belong to codes of an adaptive codec, and only to them")
    columns = list(streams[:2])
    if file.durations_T is not None:
        if file.durations_T.sum() != header.num_frames:
            raise ContainerError(f"groups hold {file.durations_T.sum()} frames, the recording {header.num_frames}")
        columns.append(file.durations_T[:, None] - 1)
    codes = np.concatenate(columns, axis=1)
    if codes.shape != (header.num_rows, len(header.bits)):
        raise ContainerError(f"codes are {codes.shape}, the header says {(header.num_rows, len(header.bits))}")
    text = json.dumps(dataclasses.asdict(header)).encode()
    body = MAGIC + struct.pack("<I", len(text)) + text + pack(codes, header.bits)
    return body + struct.pack("<I", zlib.crc32(body))


def loads(data: bytes, name: str = "token file") -> TokenFile:
    """The inverse of `dumps`; ContainerError says what is wrong with `name`."""
    if data[: len(MAGIC)] != MAGIC:
        raise ContainerError(f"{name}: not a token file of quarkaudio encode (it does not start with {MAGIC.decode()})")
    body, check = data[:-4], data[-4:]
    if len(data) < len(MAGIC) + 8 or struct.pack("<I", zlib.crc32(body)) != check:
        raise ContainerError(f"{name}: damaged or cut short (its checksum does not fit); encode it again")
    (length,) = struct.unpack_from("<I", body, len(MAGIC))
    start = len(MAGIC) + 4 + length
    try:
        fields = json.loads(body[len(MAGIC) + 4 : start])
        fields |= {key: tuple(fields[key]) for key in ("codebooks", "codebook_sizes")}
        header = Header(**fields)
    except (ValueError, TypeError, KeyError) as error:
        raise ContainerError(f"{name}: its header can't be read ({error})") from error
    if len(body) - start != -(-header.payload_bits // 8):
        raise ContainerError(f"{name}: holds {len(body) - start} bytes of codes, its header promises another number")
    codes = unpack(body[start:], header.num_rows, header.bits)
    acoustic, semantic, durations = np.split(codes, np.cumsum(header.codebooks), axis=1)
    if header.max_group and durations.sum() + len(durations) != header.num_frames:
        raise ContainerError(f"{name}: its groups do not add up to the recording's {header.num_frames} frames")
    return TokenFile(header, acoustic, semantic, durations[:, 0] + 1 if header.max_group else None)


def write(path: str | os.PathLike, file: TokenFile) -> int:
    """Writes a token file whole or not at all; returns its size in bytes."""
    data = dumps(file)
    with atomic.written(path) as temporary:
        temporary.write_bytes(data)
    return len(data)


def read(path: str | os.PathLike) -> TokenFile:
    """Reads a token file; ContainerError names it and what is wrong."""
    try:
        data = pathlib.Path(path).read_bytes()
    except OSError as error:
        raise ContainerError(f"{path}: {error.strerror}") from error
    return loads(data, str(path))

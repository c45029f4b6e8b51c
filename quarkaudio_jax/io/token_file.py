"""The token file: bit-packed codes of one recording after a JSON header.

    bytes 0-7    magic b"QKAUDIO2"
    bytes 8-11   length of the header, little-endian uint32, at most 65536
    header       UTF-8 JSON, see `Header`; readers ignore unknown fields
    payload      frames (of an adaptive codec: groups of frames) in time order; in each the acoustic
                 codebooks, then the semantic ones, then those of a third stream (spatial, of stereo
                 codecs, for which the header's fields per stream have three numbers instead of two),
                 a code in ceil(log2(codebook size)) bits, then of a group its frames - 1 in
                 ceil(log2(max_group)) bits; most significant bit first; zero bits fill the last byte
    last 4       CRC-32 of everything before, little-endian

The digit of the magic is the version of the format; it grows when older readers would misread a file. Version 1, which is
still read, lacks `fingerprint` and `codec_codebooks` in its header.
"""

import dataclasses
import json
import os
import struct
import zlib
from typing import Any, NamedTuple

import numpy as np

from quarkaudio_jax.io import atomic
from quarkaudio_jax.io.token_header import ContainerError, Header, wrong
from quarkaudio_jax.types import ceil_div

MAGIC = b"QKAUDIO2"
VERSIONS = (1, 2)
SUFFIX = ".qka"

LONGEST_HEADER = 65536
"""Maximum bytes of JSON; those that are written take about 400."""


class TokenFile(NamedTuple):
    """Contents of a token file.

    durations_T: frames of each group, None without grouping. spatial_TxK: third stream, None without one.
    """

    header: Header
    acoustic_TxK: np.ndarray
    semantic_TxK: np.ndarray
    durations_T: np.ndarray | None = None
    spatial_TxK: np.ndarray | None = None

    @property
    def streams(self) -> tuple[np.ndarray, ...]:
        """The streams that there are, in stored order."""
        found = (self.acoustic_TxK, self.semantic_TxK, self.spatial_TxK)
        return tuple(codes_TxK for codes_TxK in found if codes_TxK is not None)


def pack(codes_TxK: np.ndarray, bits: list[int]) -> bytes:
    """Packs codes (T, K) into a bit stream; code k of a frame takes bits[k] bits."""
    if codes_TxK.size and (codes_TxK.min() < 0 or (codes_TxK >= (1 << np.asarray(bits))).any()):
        raise ContainerError("codes are negative or too large for their codebook")
    parts = [
        (codes_TxK[:, k, None] >> np.arange(width - 1, -1, -1)).astype(np.uint8) & 1 for k, width in enumerate(bits)
    ]
    return np.packbits(np.concatenate(parts, axis=1)).tobytes() if parts else b""


def unpack(payload: bytes, num_frames: int, bits: list[int]) -> np.ndarray:
    """The inverse of `pack`, (T, K) int32."""
    stream = np.unpackbits(np.frombuffer(payload, np.uint8), count=num_frames * sum(bits))
    stream_TxN = stream.reshape(num_frames, sum(bits))
    codes_TxK = np.zeros((num_frames, len(bits)), np.int32)
    for k, (end, width) in enumerate(zip(np.cumsum(bits), bits, strict=True)):
        for i in range(end - width, end):
            codes_TxK[:, k] = codes_TxK[:, k] << 1 | stream_TxN[:, i]
    return codes_TxK


def _check_codes(codes_TxK: np.ndarray, header: Header) -> None:
    """Raises ContainerError unless every code and every group length is within its limit."""
    limits = np.asarray(header.limits)
    outside = (codes_TxK < 0) | (codes_TxK >= limits)
    if outside.any():
        row, column = np.argwhere(outside)[0]
        what = "length - 1" if column == sum(header.codebooks) else "code"
        raise ContainerError(
            f"codes are negative or too large for their codebook: {what} {codes_TxK[row, column]} in row {row} should be "
            f"0 to {limits[column] - 1}"
        )


def dumps(file: TokenFile) -> bytes:
    """Encodes a token file as bytes, in the newest version of the format."""
    header = file.header
    if (file.durations_T is None) == bool(header.max_group):
        raise ContainerError("durations belong to codes of an adaptive codec, and only to them")
    columns = list(file.streams)
    if file.durations_T is not None:
        if file.durations_T.sum() != header.num_frames:
            raise ContainerError(f"groups hold {file.durations_T.sum()} frames, the recording {header.num_frames}")
        columns.append(file.durations_T[:, None] - 1)
    codes = np.concatenate(columns, axis=1)
    if codes.shape != (header.num_rows, len(header.bits)):
        raise ContainerError(f"codes are {codes.shape}, the header says {(header.num_rows, len(header.bits))}")
    if codes.dtype.kind not in "iu":
        raise ContainerError(f"codes are {codes.dtype}; they should be integers")
    _check_codes(codes, header)
    text = json.dumps(dataclasses.asdict(header)).encode()
    body = MAGIC + struct.pack("<I", len(text)) + text + pack(codes, header.bits)
    return body + struct.pack("<I", zlib.crc32(body))


def _read_header(text: bytes, version: int) -> Header:
    """Parses the header of a file of a version; ContainerError says what is wrong with it."""
    try:
        found = json.loads(text.decode())
    except (ValueError, RecursionError) as error:
        raise ContainerError(f"its header is no JSON ({error})") from error
    if not isinstance(found, dict):
        raise ContainerError(f"its header is a {type(found).__name__}, not an object")
    fields = {f.name: f for f in dataclasses.fields(Header)}
    if version == 1:  # the first files of version 1 came before adaptive codecs
        fields = {k: v for k, v in fields.items() if k not in ("fingerprint", "codec_codebooks")}
    optional = ("max_group", "num_groups") if version == 1 else ()
    if missing := [name for name in fields if name not in found and name not in optional]:
        raise ContainerError(f"its header lacks {', '.join(missing)}")
    known: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in found.items() if k in fields}
    if known.get("codec_codebooks") == ():
        raise wrong("codec_codebooks", [], "two or three integers")
    return Header(**known)


def _check_envelope(data: bytes, name: str) -> tuple[int, bytes, bytes]:
    """Checks magic, version and checksum: (version, header, payload)."""
    if data[: len(MAGIC) - 1] != MAGIC[:-1] or not data[len(MAGIC) - 1 : len(MAGIC)].isdigit():
        raise ContainerError(f"{name}: not a token file of quarkaudio encode (it does not start with {MAGIC.decode()})")
    version = int(data[len(MAGIC) - 1 : len(MAGIC)])
    if version not in VERSIONS:
        raise ContainerError(
            f"{name}: version {version} of the format; this quarkaudio_jax reads {VERSIONS[0]} and {VERSIONS[1]}: update it"
        )
    body, check = data[:-4], data[-4:]
    if len(data) < len(MAGIC) + 8 or struct.pack("<I", zlib.crc32(body)) != check:
        raise ContainerError(f"{name}: damaged or cut short (its checksum does not fit); encode it again")
    (length,) = struct.unpack_from("<I", body, len(MAGIC))
    start = len(MAGIC) + 4 + length
    if length > LONGEST_HEADER or start > len(body):
        raise ContainerError(f"{name}: its header takes {length} bytes, more than the file or the format has")
    return version, body[len(MAGIC) + 4 : start], body[start:]


def loads(data: bytes, name: str = "token file") -> TokenFile:
    """The inverse of `dumps`, of any version; ContainerError says what is wrong with `name`."""
    version, text, payload = _check_envelope(data, name)
    try:
        header = _read_header(text, version)
        # Rows are allocated only when the file is long enough for them; every row has a bit at least.
        if len(payload) != ceil_div(header.payload_bits, 8):
            raise ContainerError(f"holds {len(payload)} bytes of codes, its header promises another number")
        codes = unpack(payload, header.num_rows, header.bits)
        _check_codes(codes, header)
    except ContainerError as error:
        raise ContainerError(f"{name}: {error}") from error
    acoustic, semantic, *rest = np.split(codes, np.cumsum(header.codebooks), axis=1)
    durations = rest.pop()
    if header.max_group and durations.sum() + len(durations) != header.num_frames:
        raise ContainerError(f"{name}: its groups do not add up to the recording's {header.num_frames} frames")
    lasting = durations[:, 0] + 1 if header.max_group else None
    return TokenFile(header, acoustic, semantic, lasting, rest[0] if rest else None)


def write(path: str | os.PathLike, file: TokenFile) -> int:
    """Writes a token file atomically; returns its size in bytes."""
    data = dumps(file)
    with atomic.atomic_write(path) as temporary:
        temporary.write_bytes(data)
    return len(data)


def read(path: str | os.PathLike) -> TokenFile:
    """Reads a token file; ContainerError says what is wrong with it."""
    try:
        with open(path, "rb") as file:
            data = file.read(len(MAGIC))
            if data[: len(MAGIC) - 1] == MAGIC[:-1]:
                data += file.read()
    except OSError as error:
        raise ContainerError(f"{path}: {error.strerror}") from error
    return loads(data, str(path))

"""Token files: bytes mutated as they are, or behind a right checksum; headers changed field by field."""

import dataclasses
import functools
import json
import pathlib
import random
import struct
import zlib

import numpy as np

from quarkaudio_jax.io import token_file
from quarkaudio_jax.io.token_file import Header, TokenFile
from tests.conftest import ROOT
from tests.fuzz.mutations import damaged, edited, flipped, json_bytes

START = len(token_file.MAGIC) + 4


@functools.cache
def good() -> tuple[bytes, ...]:
    """A file of a codec with a steady frame rate, and one of an adaptive codec; also as version 1 of the format."""
    rng = np.random.default_rng(0)
    header = Header("hcodec_48k", 48000, 3840, 20 * 3840 - 7, (3, 2), (1024, 1000), 100, 10, "mel", 44100, 2)
    codes = rng.integers(0, 1000, (20, 3), dtype=np.int32), rng.integers(0, 1000, (20, 2), dtype=np.int32)
    steady = token_file.dumps(TokenFile(header, *codes))
    durations = np.array([1, 8, 1, 1, 1], np.int32)
    header = dataclasses.replace(header, num_samples=12 * 3840, max_group=8, num_groups=5)
    adaptive = token_file.dumps(TokenFile(header, codes[0][:5], codes[1][:5], durations))
    old = [(ROOT / "tests" / "fixtures" / f"tokens_v1{kind}.qka").read_bytes() for kind in ("", "_adaptive")]
    return steady, adaptive, *old


def parts(data: bytes) -> tuple[dict, bytes]:
    """(header, codes) of a whole file."""
    (length,) = struct.unpack_from("<I", data, START - 4)
    return json.loads(data[START : START + length]), data[START + length : -4]


def sealed(body: bytes) -> bytes:
    """With the checksum that fits."""
    return body + struct.pack("<I", zlib.crc32(body))


def make(rng: random.Random) -> dict[str, bytes]:
    """One file: mutated, mutated and resealed, with other codes, or with another header."""
    data = rng.choice(good())
    action = rng.random()
    if action < 0.1:
        head = len(data) - 4 - len(parts(data)[1])
        return {"a.qka": sealed(data[:head] + flipped(rng, data[head:-4]))}
    if action < 0.2:
        return {"a.qka": damaged(rng, data, rng.choice(good()))}
    if action < 0.4:
        return {"a.qka": sealed(damaged(rng, data[:-4], rng.choice(good())))}
    header, codes = parts(data)
    text = json_bytes(rng, edited(rng, header))
    if rng.random() < 0.2:
        codes = damaged(rng, codes)
    return {"a.qka": sealed(data[: START - 4] + struct.pack("<I", len(text)) + text + codes)}


def read(path: pathlib.Path) -> None:
    """The whole file; its codes lie within the header's codebooks."""
    file = token_file.read(path)
    header, durations = file.header, file.durations_T
    assert header.seconds >= 0 and header.num_frames >= 0
    for codes, count, size in zip(file.streams, header.codebooks, header.codebook_sizes, strict=True):
        assert codes.shape == (header.num_rows, count)
        assert not codes.size or (codes.min() >= 0 and codes.max() < 1 << (size - 1).bit_length())
    assert (durations is None) == (not header.max_group)
    assert durations is None or (durations.sum() == header.num_frames and durations.min() >= 1)


READERS = (read,)

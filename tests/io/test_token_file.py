"""Token files: exact, compact, and clear about damage."""

import dataclasses
import json
import pathlib
import struct
import tracemalloc
import zlib

import numpy as np
import pytest

from quarkaudio_jax.io import token_file
from quarkaudio_jax.io.token_file import ContainerError, Header, TokenFile

FIXTURES = pathlib.Path(__file__).parents[1] / "fixtures"

HEADER = Header("c", 48000, 3840, 5 * 3840 - 7, (3, 2), (1024, 1000), 100, 10, "mel", 44100, 2)
RNG = np.random.default_rng(0)
CODES = RNG.integers(0, 1000, (5, 3), dtype=np.int32), RNG.integers(0, 1000, (5, 2), dtype=np.int32)


def test_round_trip(tmp_path):
    path = tmp_path / "deep" / "a.qka"
    size = token_file.write(path, TokenFile(HEADER, *CODES))
    assert path.stat().st_size == size and [p.name for p in path.parent.iterdir()] == ["a.qka"]
    header, acoustic, semantic, durations, spatial = token_file.read(path)
    assert durations is None and spatial is None
    assert header == HEADER
    np.testing.assert_array_equal(acoustic, CODES[0])
    np.testing.assert_array_equal(semantic, CODES[1])


def test_groups_of_an_adaptive_codec(tmp_path):
    header = dataclasses.replace(HEADER, num_samples=12 * 3840, max_group=8, num_groups=5)
    durations = np.array([1, 8, 1, 1, 1], np.int32)
    path = tmp_path / "a.qka"
    token_file.write(path, TokenFile(header, *CODES, durations))
    back = token_file.read(path)
    assert back.header == header and header.bits == [10] * 5 + [3] and header.payload_bits == 5 * 53
    np.testing.assert_array_equal(back.durations_T, durations)
    np.testing.assert_array_equal(back.semantic_TxK, CODES[1])
    with pytest.raises(ContainerError, match="groups hold 12 frames, the recording 13"):
        token_file.dumps(TokenFile(dataclasses.replace(header, num_samples=13 * 3840), *CODES, durations))
    with pytest.raises(ContainerError, match="durations belong to codes of an adaptive codec"):
        token_file.dumps(TokenFile(header, *CODES))


def test_the_third_stream_of_a_stereo_codec(tmp_path):
    sizes = dict(codebooks=(3, 2, 1), codebook_sizes=(1024, 1000, 16), codec_codebooks=(4, 4, 2))
    header, spatial = dataclasses.replace(HEADER, **sizes), RNG.integers(0, 16, (5, 1), dtype=np.int32)
    path = tmp_path / "a.qka"
    token_file.write(path, TokenFile(header, *CODES, spatial_TxK=spatial))
    assert header.payload_bits == 5 * (50 + 4) and path.read_bytes()[:8] == token_file.MAGIC
    back = token_file.read(path)
    assert back.header == header and back.durations_T is None and len(back.streams) == 3
    for ours, theirs in zip(back.streams, (*CODES, spatial), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    with pytest.raises(ContainerError, match=r"codes are \(5, 5\), the header says \(5, 6\)"):
        token_file.dumps(TokenFile(header, *CODES))
    with pytest.raises(ContainerError, match="code 16 in row 0 should be 0 to 15"):
        token_file.dumps(TokenFile(header, *CODES, spatial_TxK=spatial * 0 + 16))
    with pytest.raises(
        ContainerError, match="codebook_sizes is .*; it should be 3 integers, one for each of codebooks"
    ):
        dataclasses.replace(header, codebook_sizes=(1024, 1000))


@pytest.mark.parametrize("bits", [[1], [10] * 32, [3, 7, 12], [8]])
def test_packing_is_exact_and_tight(bits):
    codes = np.stack([RNG.integers(0, 1 << b, 17) for b in bits], axis=1)
    data = token_file.pack(codes, bits)
    assert len(data) == -(-17 * sum(bits) // 8)
    np.testing.assert_array_equal(token_file.unpack(data, 17, bits), codes)


def test_the_layout_is_as_documented():
    assert token_file.pack(np.array([[1, 2], [3, 0]]), [2, 3]) == bytes([0b01010110, 0b00000000])


@pytest.mark.parametrize("code", [-1, 1024])
def test_codes_out_of_range_are_refused(code):
    bad = CODES[0].copy()
    bad[0, 0] = code
    with pytest.raises(ContainerError, match="negative or too large"):
        token_file.dumps(TokenFile(HEADER, bad, CODES[1]))


def test_damage_is_named(tmp_path):
    data = token_file.dumps(TokenFile(HEADER, *CODES))
    for position in range(len(token_file.MAGIC), len(data)):
        damaged = data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]
        with pytest.raises(ContainerError, match="x.qka"):
            token_file.loads(damaged, "x.qka")
    for length in range(len(data)):
        with pytest.raises(ContainerError):
            token_file.loads(data[:length])
    with pytest.raises(ContainerError, match="not a token file"):
        token_file.loads(b"RIFF" + data)
    with pytest.raises(ContainerError, match="No such file"):
        token_file.read(tmp_path / "none.qka")


def sealed(text: bytes, payload: bytes, version: int = 2, length: int | None = None) -> bytes:
    """A token file of that header and payload with a right checksum."""
    body = b"QKAUDIO%d" % version + struct.pack("<I", len(text) if length is None else length) + text + payload
    return body + struct.pack("<I", zlib.crc32(body))


ADAPTIVE = dataclasses.replace(HEADER, num_samples=12 * 3840, max_group=8, num_groups=5, fingerprint="0123abcd")
FILES = {
    "fixed": token_file.dumps(TokenFile(HEADER, *CODES)),
    "adaptive": token_file.dumps(TokenFile(ADAPTIVE, *CODES, np.array([1, 8, 1, 1, 1], np.int32))),
}


def parts(data: bytes) -> tuple[dict, bytes]:
    """(fields, payload)."""
    (length,) = struct.unpack_from("<I", data, 8)
    return json.loads(data[12 : 12 + length]), data[12 + length : -4]


VALUES = [
    None,
    True,
    False,
    -1,
    0,
    1,
    1.5,
    48000.0,
    float("nan"),
    float("inf"),
    10**30,
    2**63,
    2**31,
    "",
    "48000",
    "a\nb",
]
VALUES += [
    "x" * 1000,
    [],
    [1],
    [3, 2, 1],
    [3, "2"],
    [3.0, 2.0],
    [True, True],
    [0, 0],
    [-1, 5],
    [10**9, 10**9],
    {},
    [[3, 2]],
]


@pytest.mark.parametrize("kind", FILES)
def test_every_field_is_checked(kind):
    """Whatever a field holds: the file is read, or the error says which file; the checksum is right in all."""
    fields, payload = parts(FILES[kind])
    assert token_file.loads(sealed(json.dumps(fields).encode(), payload)).header.codec == "c"
    refused = 0
    for name in fields:
        for value in VALUES:
            try:
                found = token_file.loads(sealed(json.dumps({**fields, name: value}).encode(), payload), "x.qka")
            except ContainerError as error:
                refused += 1
                assert str(error).startswith("x.qka: ")
            else:
                assert getattr(found.header, name) == (tuple(value) if isinstance(value, list) else value)
                assert len(found.acoustic_TxK) == len(found.semantic_TxK) == 5
        less = {k: v for k, v in fields.items() if k != name}
        with pytest.raises(ContainerError, match=f"x.qka: its header lacks {name}"):
            token_file.loads(sealed(json.dumps(less).encode(), payload), "x.qka")
    assert refused > 0.8 * len(fields) * len(VALUES)


@pytest.mark.parametrize(
    "field, value, message",
    [
        ("chunk_frames", 0, "chunk_frames is 0; it should be an integer, 1 to"),
        ("frame_hop", 0, "frame_hop is 0"),
        ("frame_hop", True, "frame_hop is True"),
        ("sample_rate", 48000.0, "sample_rate is 48000.0"),
        ("num_samples", -1, "num_samples is -1"),
        ("codebooks", [10**9, 10**9], "codebooks is .* two or three integers, 1 to 1024"),
        ("codebook_sizes", [1, 1], "codebook_sizes"),
        ("context_frames", 10**6, "at most 16 times chunk_frames"),
        ("codec_codebooks", [2, 2], r"codebooks is \(3, 2\); it should be at most codec_codebooks"),
        ("codec", "\x1b[31m", "codec is .* it should be a name"),
        ("fingerprint", "123", "eight hexadecimal digits"),
        ("num_samples", 2**52, "bytes of codes, its header promises another number"),
    ],
)
def test_the_field_is_named(field, value, message):
    fields, payload = parts(FILES["fixed"])
    with pytest.raises(ContainerError, match=message):
        token_file.loads(sealed(json.dumps({**fields, field: value}).encode(), payload))


@pytest.mark.parametrize(
    "text", [b"", b"[]", b"1", b"null", b"{", b"[" * 60000, b"\xff\xfe{}", b"1" * 5000, b'{"codec": NaN}', b"{}"]
)
def test_headers_that_are_none(text):
    for version in (1, 2):
        with pytest.raises(ContainerError, match="x.qka: "):
            token_file.loads(sealed(text, b"", version), "x.qka")


def test_nothing_is_allocated_by_a_word_of_the_header():
    fields, payload = parts(FILES["fixed"])
    huge = [(json.dumps({**fields, "num_samples": 2**52}).encode(), None), (json.dumps(fields).encode(), 2**32 - 1)]
    huge += [(json.dumps({**fields, "codebooks": [1024, 1024], "num_samples": 2**52}).encode(), None)]
    tracemalloc.start()
    for text, length in huge:
        with pytest.raises(ContainerError):
            token_file.loads(sealed(text, payload, length=length))
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


def test_codes_beyond_their_codebook_are_refused_in_both_directions():
    """1000 entries take 10 bits, in which 1023 can be written too."""
    semantic = CODES[1].copy()
    semantic[2, 1] = 1023
    with pytest.raises(ContainerError, match="code 1023 in row 2 should be 0 to 999"):
        token_file.dumps(TokenFile(HEADER, CODES[0], semantic))
    fields, _ = parts(FILES["fixed"])
    payload = token_file.pack(np.concatenate([CODES[0], semantic], axis=1), HEADER.bits)
    with pytest.raises(ContainerError, match="x.qka: .*code 1023 in row 2 should be 0 to 999"):
        token_file.loads(sealed(json.dumps(fields).encode(), payload), "x.qka")
    with pytest.raises(ContainerError, match="float"):
        token_file.dumps(TokenFile(HEADER, CODES[0].astype(float), CODES[1]))


def test_unknown_fields_are_ignored_and_newer_versions_refused():
    fields, payload = parts(FILES["adaptive"])
    text = json.dumps({**fields, "speaker": "me"}).encode()
    assert token_file.loads(sealed(text, payload)).header == ADAPTIVE
    with pytest.raises(ContainerError, match="x.qka: version 3 of the format; this quarkaudio_jax reads 1 and 2"):
        token_file.loads(sealed(text, payload, 3), "x.qka")


def test_files_of_version_1_are_read():
    """As 0.1.0's first commits wrote them."""
    acoustic, semantic = ((np.arange(12).reshape(3, 4) * 7 + add) % 256 for add in (1, 2))
    fixed = token_file.read(FIXTURES / "tokens_v1.qka")
    adaptive = token_file.read(FIXTURES / "tokens_v1_adaptive.qka")
    for file in (fixed, adaptive):
        np.testing.assert_array_equal(file.acoustic_TxK, acoustic)
        np.testing.assert_array_equal(file.semantic_TxK, semantic)
        assert file.header.fingerprint == "" and file.header.codec_codebooks == file.header.codebooks == (4, 4)
        back = token_file.loads(token_file.dumps(file))
        assert back.header == file.header
    assert fixed.header.num_samples == 3 * 640 - 5 and fixed.durations_T is None
    assert adaptive.durations_T.tolist() == [1, 8, 1]


def test_cut_codes_say_so(tmp_path):
    header = dataclasses.replace(HEADER, codebooks=(2, 1), codec_codebooks=(3, 2))
    token_file.write(tmp_path / "a.qka", TokenFile(header, CODES[0][:, :2], CODES[1][:, :1]))
    back = token_file.read(tmp_path / "a.qka")
    assert back.header == header and back.acoustic_TxK.shape == (5, 2) and header.payload_bits == 5 * 30
    with pytest.raises(ContainerError, match="codec_codebooks"):
        dataclasses.replace(HEADER, codebooks=(4, 2), codec_codebooks=(3, 2))

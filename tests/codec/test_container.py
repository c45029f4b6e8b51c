"""Token files: exact, compact, and clear about damage."""

import dataclasses

import numpy as np
import pytest

from quarkaudio_jax.codec import container
from quarkaudio_jax.codec.container import ContainerError, Header, TokenFile

HEADER = Header("c", 48000, 3840, 5 * 3840 - 7, (3, 2), (1024, 1000), 100, 10, "mel", 44100, 2)
RNG = np.random.default_rng(0)
CODES = RNG.integers(0, 1000, (5, 3), dtype=np.int32), RNG.integers(0, 1000, (5, 2), dtype=np.int32)


def test_round_trip(tmp_path):
    path = tmp_path / "deep" / "a.qka"
    size = container.write(path, TokenFile(HEADER, *CODES))
    assert path.stat().st_size == size and [p.name for p in path.parent.iterdir()] == ["a.qka"]
    header, acoustic, semantic, durations = container.read(path)
    assert durations is None
    assert header == HEADER
    np.testing.assert_array_equal(acoustic, CODES[0])
    np.testing.assert_array_equal(semantic, CODES[1])


def test_groups_of_an_adaptive_codec(tmp_path):
    header = dataclasses.replace(HEADER, num_samples=12 * 3840, max_group=8, num_groups=5)
    durations = np.array([1, 8, 1, 1, 1], np.int32)
    path = tmp_path / "a.qka"
    container.write(path, TokenFile(header, *CODES, durations))
    back = container.read(path)
    assert back.header == header and header.bits == [10] * 5 + [3] and header.payload_bits == 5 * 53
    np.testing.assert_array_equal(back.durations_T, durations)
    np.testing.assert_array_equal(back.semantic_TxK, CODES[1])
    with pytest.raises(ContainerError, match="groups hold 12 frames, the recording 13"):
        container.dumps(TokenFile(dataclasses.replace(header, num_samples=13 * 3840), *CODES, durations))
    with pytest.raises(ContainerError, match="durations belong to codes of an adaptive codec"):
        container.dumps(TokenFile(header, *CODES))


@pytest.mark.parametrize("bits", [[1], [10] * 32, [3, 7, 12], [8]])
def test_packing_is_exact_and_tight(bits):
    codes = np.stack([RNG.integers(0, 1 << b, 17) for b in bits], axis=1)
    data = container.pack(codes, bits)
    assert len(data) == -(-17 * sum(bits) // 8)
    np.testing.assert_array_equal(container.unpack(data, 17, bits), codes)


def test_the_layout_is_as_documented():
    assert container.pack(np.array([[1, 2], [3, 0]]), [2, 3]) == bytes([0b01010110, 0b00000000])


@pytest.mark.parametrize("code", [-1, 1024])
def test_codes_out_of_range_are_refused(code):
    bad = CODES[0].copy()
    bad[0, 0] = code
    with pytest.raises(ContainerError, match="negative or too large"):
        container.dumps(TokenFile(HEADER, bad, CODES[1]))


def test_damage_is_named(tmp_path):
    data = container.dumps(TokenFile(HEADER, *CODES))
    for position in range(len(container.MAGIC), len(data)):
        damaged = data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]
        with pytest.raises(ContainerError, match="x.qka"):
            container.loads(damaged, "x.qka")
    for length in range(len(data)):
        with pytest.raises(ContainerError):
            container.loads(data[:length])
    with pytest.raises(ContainerError, match="not a token file"):
        container.loads(b"RIFF" + data)
    with pytest.raises(ContainerError, match="No such file"):
        container.read(tmp_path / "none.qka")

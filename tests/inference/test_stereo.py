"""Stereo codecs: batches, lengths, chunks, channels in their places, mono in and mono to stereo."""

import dataclasses

import numpy as np
import pytest

import quarkaudio_jax
from quarkaudio_jax.codec.chunked import ChunkSpec
from quarkaudio_jax.codec.variants import get_variant
from quarkaudio_jax.errors import UserError
from quarkaudio_jax.inference.codec import Codec
from quarkaudio_jax.ssl.features import Extractor, get_recipe
from quarkaudio_jax.types import Wave
from quarkaudio_jax.weights.hcodec import import_hcodec
from tests.parity.codecs import golden_state_dict

RNG = np.random.default_rng(0)


def made(name):
    cfg = get_variant(name)
    return Codec(cfg, import_hcodec(cfg, golden_state_dict(cfg)), Extractor(get_recipe("mel")))


@pytest.fixture(scope="module")
def codec():
    """A mono2stereo codec, which does all that a stereo codec does."""
    return made("hcodec_16k_mono2stereo_tiny")


def noise(*shape):
    return 0.1 * RNG.standard_normal(shape).astype(np.float32)


def test_it_says_what_it_is(codec):
    assert codec.channels == 2 and codec.can_spatialize and codec.num_codebooks == (4, 4, 4)
    assert codec.codebook_size == (256, 256, 256) and codec.bitrate == 25 * 12 * 8
    assert get_variant("hcodec_16k_stereo").bitrate == 2500
    assert "16000 Hz, stereo, 25 frames a second, 4 + 4 + 4 codebooks of 256, 2.4 kbit/s" in repr(codec)


@pytest.mark.slow
def test_a_batch_equals_its_items(codec):
    wave, lengths = noise(3, 20000, 2), [20000, 12345, 1]
    codes = codec.encode(wave, lengths=lengths)
    back = codec.decode(codes, lengths)
    assert back.samples_BxS.shape == (3, 20000, 2) and back.lengths_B.tolist() == lengths
    turned = codec.spatialize(codes, [0, 90, 180], 0, [1, 2, 3], lengths)
    for i, length in enumerate(lengths):
        one = codec.encode(wave[i, :length])
        count = int(codes.lengths_B[i])
        for batch, alone in zip(codes.streams, one.streams, strict=True):
            np.testing.assert_array_equal(batch[i, :count], alone[0])
        np.testing.assert_allclose(back.samples_BxS[i, :length], codec.decode(one, length).samples_BxS[0], atol=1e-6)
        alone = codec.spatialize(one, 90 * i, 0, 1 + i, length).samples_BxS[0]
        np.testing.assert_allclose(turned.samples_BxS[i, :length], alone, atol=1e-6)
        assert not back.samples_BxS[i, length:].any()


def test_mid_codes_are_those_of_the_mono_codec(codec):
    """The weights of the golden rule depend on names alone, so that both have the same ones."""
    mono, wave = made("hcodec_16k_tiny"), noise(16000, 2)
    want, got = mono.encode(wave.mean(1)), codec.encode(wave)
    np.testing.assert_array_equal(got.acoustic_BxTxK, want.acoustic_BxTxK)
    np.testing.assert_array_equal(got.semantic_BxTxK, want.semantic_BxTxK)
    alone = codec.decode(dataclasses.replace(got, spatial_BxTxK=None)).samples_BxS
    np.testing.assert_array_equal(alone[..., 0], alone[..., 1])
    np.testing.assert_allclose(alone[..., 0], mono.decode(want).samples_BxS, atol=1e-6)
    with pytest.raises(UserError, match="codes have a spatial stream, but hcodec_16k_tiny is a mono codec"):
        mono.decode(got)


def test_mono_is_doubled(codec):
    wave = noise(2, 8000)
    codes = codec.encode(wave, lengths=[8000, 8000])
    for doubled in (codec.encode(np.repeat(wave[..., None], 2, axis=-1)), codec.encode(Wave(wave, 16000))):
        for one, other in zip(codes.streams, doubled.streams, strict=True):
            np.testing.assert_array_equal(one, other)
    silent_side = codec.encode(np.zeros((8000, 2))).spatial_BxTxK
    np.testing.assert_array_equal(codes.spatial_BxTxK[0], silent_side[0])
    assert codec.reconstruct(wave[0]).shape == codec.reconstruct(np.stack(wave, axis=-1)).shape == (8000, 2)


@pytest.mark.slow
def test_channels_keep_their_places(codec):
    """Swapped channels have the same mid and the opposite side."""
    wave = noise(16000, 2)
    one, other = codec.encode(wave), codec.encode(wave[:, ::-1])
    np.testing.assert_array_equal(one.acoustic_BxTxK, other.acoustic_BxTxK)
    assert (one.spatial_BxTxK != other.spatial_BxTxK).any()
    vectors = codec._codec.apply(codec._variables, one, method="dequantize")
    wanted = codec._codec.apply(codec._variables, vectors[0] + vectors[2], vectors[1], method="synthesize")
    np.testing.assert_allclose(codec.decode(one).samples_BxS[..., 0], wanted[..., 0], atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("position", [None, (90.0, 10.0, 2.0)])
def test_chunks_do_not_depend_on_how_the_samples_were_fed(codec, position, monkeypatch):
    monkeypatch.setattr(codec, "chunk_spec", ChunkSpec(6, 2))
    wave = noise(640 * 40 + 17, 2)
    codes = codec.encode(np.stack([wave, wave * 0.5]), lengths=[len(wave), 640 * 20])
    acoustic, semantic, durations, spatial = codec.encode_stream(lambda a, b: wave[a:b], len(wave))
    assert durations is None
    for fed, stream in zip((acoustic, semantic, spatial), codes.streams, strict=True):
        np.testing.assert_array_equal(fed, stream[0])
    blocks = codec.decode_stream(acoustic, semantic, len(wave), None, None, spatial, position)
    whole = codec.decode(codes) if position is None else codec.spatialize(codes, *position)
    np.testing.assert_array_equal(np.concatenate(list(blocks)), whole.samples_BxS[0, : len(wave)])
    mono = codec.encode_stream(lambda a, b: wave[a:b, 0], len(wave))
    np.testing.assert_array_equal(mono[3], codec.encode(wave[:, 0]).spatial_BxTxK[0])


@pytest.mark.slow
def test_first_codebooks(codec):
    wave = noise(6400, 2)
    codes, stereo = codec.encode(wave, num_codebooks=3), made("hcodec_16k_stereo_tiny")
    assert [x.shape[2] for x in codes.streams] == [3, 3, 3]
    assert [x.shape[2] for x in stereo.encode(wave, num_codebooks=3).streams] == [3, 3, 2]
    assert stereo.header(6400, 16000, 2, 0, 3).codebooks == (3, 3, 2) and stereo.num_codebooks == (4, 4, 2)
    assert codec.decode(codes).samples_BxS.shape == (1, 6400, 2)
    with pytest.raises(UserError, match="hcodec_16k_stereo_tiny has no mapping of mono to stereo"):
        stereo.spatialize(codes, 90)
    with pytest.raises(UserError, match="it takes no position"):
        stereo.decode_stream(*(x[0] for x in codes.streams[:2]), 6400, position=(0, 0, 1))


@pytest.mark.parametrize(
    "arguments, message",
    [
        ((361,), "azimuth is 361; it should be -180 to 360 degrees"),
        ((0, 91), "elevation is 91; it should be -90 to 90 degrees"),
        ((0, 0, 5.1), "distance is 5.1; it should be 0 to 5 m"),
        ((0, 0, -1), "distance is -1"),
        ((float("nan"),), "azimuth is nan"),
        (("left",), "azimuth is 'left'; it should be an array"),
        (([1, 2, 3],), "azimuth is .*a number, or one for each of 1 items"),
    ],
)
def test_positions_out_of_range_are_refused(codec, arguments, message):
    codes = codec.encode(noise(1280))
    with pytest.raises(UserError, match=message):
        codec.spatialize(codes, *arguments)


@pytest.mark.parametrize(
    "shape, message",
    [
        ((2, 8000), r"of a stereo recording give wave.T"),
        ((8000, 6), r"shape \(8000, 6\)"),
        ((1, 8000, 6), r"should be \(samples, 2\)"),
        ((0, 2), "not empty"),
    ],
)
def test_what_is_not_stereo_is_refused(codec, shape, message):
    with pytest.raises(UserError, match=message):
        codec.encode(np.zeros(shape, np.float32))


@pytest.mark.slow
def test_a_saved_folder_is_the_same_codec(codec, tmp_path):
    wave, folder = noise(6400, 2), codec.save_pretrained(tmp_path / "saved")
    again = quarkaudio_jax.load_codec(folder)
    assert again.name == codec.name and again.fingerprint() == codec.fingerprint()
    for one, other in zip(again.encode(wave).streams, codec.encode(wave).streams, strict=True):
        np.testing.assert_array_equal(one, other)
    assert '"channels": 2' in (folder / "config.json").read_text()

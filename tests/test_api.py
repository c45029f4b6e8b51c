"""The library API: load, encode, decode, in batches, with lengths."""

import jax
import numpy as np
import pytest

import quarkaudio_jax
from quarkaudio_jax.api import Codec
from quarkaudio_jax.bridge.files import write_tensors
from quarkaudio_jax.bridge.hcodec import export_hcodec
from quarkaudio_jax.codec.chunked import Grid
from quarkaudio_jax.codec.hcodec import HCodec
from quarkaudio_jax.codec.variants import get_variant
from quarkaudio_jax.ssl.features import Extractor, get_recipe
from quarkaudio_jax.types import Wave

RNG = np.random.default_rng(0)


def noise(*shape):
    return 0.1 * RNG.standard_normal(shape).astype(np.float32)


@pytest.fixture(scope="module", params=["hcodec_16k_tiny", "hcodec_16k_adaptive_tiny"])
def codec(request):
    import flax.linen as nn

    cfg = get_variant(request.param)
    wave, feats = np.zeros((1, 1280), np.float32), np.zeros((1, 4, cfg.semantic.feature_dim), np.float32)
    variables = nn.meta.unbox(jax.jit(HCodec(cfg).init)(jax.random.key(0), wave, feats))
    return Codec(cfg, variables, Extractor(get_recipe("mel")))


def test_it_says_what_it_is(codec):
    assert codec.sample_rate == 16000 and codec.frame_rate == 25.0
    assert codec.num_codebooks == (4, 4) and codec.codebook_size == (256, 256)
    assert codec.bitrate == (64 + 3 * codec.is_adaptive) * 25


def test_a_batch_equals_its_items(codec):
    wave, lengths = noise(3, 20000), [20000, 12345, 1]
    codes = codec.encode(wave, lengths=lengths)
    back = codec.decode(codes, lengths)
    assert back.samples_BxS.shape == (3, 20000) and back.lengths_B.tolist() == lengths
    for i, length in enumerate(lengths):
        one = codec.encode(wave[i, :length])
        count = int(codes.lengths_B[i])
        assert count == one.acoustic_BxTxK.shape[1]
        np.testing.assert_array_equal(codes.acoustic_BxTxK[i, :count], one.acoustic_BxTxK[0])
        np.testing.assert_array_equal(codes.semantic_BxTxK[i, :count], one.semantic_BxTxK[0])
        if codec.is_adaptive:
            assert codes.durations_BxT[i].sum() == -(-length // 640)
        np.testing.assert_allclose(back.samples_BxS[i, :length], codec.decode(one, length).samples_BxS[0], atol=1e-6)
        assert not back.samples_BxS[i, length:].any()


def test_rates_codebooks_and_waves(codec):
    codes = codec.encode(Wave(noise(1, 9600), 48000), num_codebooks=2)
    assert codes.acoustic_BxTxK.shape[2] == codes.semantic_BxTxK.shape[2] == 2
    assert codec.decode(codes).samples_BxS.shape == (1, 3200)
    for bad, message in (
        (dict(num_codebooks=5), "has 1 to 4"),
        (dict(lengths=[0]), "do not fit a batch"),
        (dict(threshold=0.5, max_group=9), "fixed frame rate|allows 1 to 8"),
    ):
        with pytest.raises(ValueError, match=message):
            codec.encode(noise(1, 640), **bad)
    with pytest.raises(ValueError, match="not empty"):
        codec.encode(noise(1, 0))


@pytest.mark.parametrize("codec", ["hcodec_16k_adaptive_tiny"], indirect=True)
def test_threshold_and_group_length(codec):
    wave = noise(640 * 20)
    assert codec.encode(wave, threshold=1.0).durations_BxT.tolist() == [[1] * 20]
    assert codec.encode(wave, threshold=-1.1).durations_BxT.tolist() == [[8, 8, 4]]
    assert codec.encode(wave, threshold=-1.1, max_group=3).durations_BxT.tolist() == [[3] * 6 + [2]]


def test_long_recordings_go_in_chunks(codec):
    """Groups end at the chunks' edges; what was fed in pieces decodes to its own length."""
    grid, codec.grid = codec.grid, Grid(6, 2)
    try:
        wave = noise(640 * 20 + 17)
        codes = codec.encode(wave, threshold=-1.1) if codec.is_adaptive else codec.encode(wave)
        if codec.is_adaptive:
            assert codes.durations_BxT.tolist() == [[6, 6, 6, 3]]
        assert codec.reconstruct(wave).shape == wave.shape
    finally:
        codec.grid = grid


def test_weights_of_the_public_code_load_by_path(codec, tmp_path, monkeypatch):
    """A bare weight file is recognised by its names and shapes."""
    params = {"params": stacked(codec), "codebooks": codec._variables["codebooks"]}
    path = tmp_path / "codec.safetensors"
    write_tensors(path, export_hcodec(codec.cfg, params))
    monkeypatch.setattr("quarkaudio_jax.bridge.ssl.codec_extractor", lambda *_: codec.extractor)
    loaded = quarkaudio_jax.load_codec(path)
    wave = noise(6400)
    assert loaded.name == codec.name
    np.testing.assert_array_equal(loaded.encode(wave).acoustic_BxTxK, codec.encode(wave).acoustic_BxTxK)


def stacked(codec):
    from quarkaudio_jax.nn.stack import stack_params

    return stack_params(codec._variables["params"])

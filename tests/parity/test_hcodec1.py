"""H-Codec 1.0 and 1.5 against the public PyTorch code, with the weights of the golden rule."""

import dataclasses

import jax
import numpy as np
import pytest

from quarkaudio_jax.codec.aggregate import group_frames, neighbor_similarity
from quarkaudio_jax.codec.hcodec import HCodec, expand_codes
from quarkaudio_jax.codec.variants import (
    HCODEC_16K,
    HCODEC_16K_ADAPTIVE,
    HCODEC_16K_ADAPTIVE_TINY,
    HCODEC_16K_TINY,
    attending_to_padding,
)
from quarkaudio_jax.types import Codes
from quarkaudio_jax.weights.hcodec import abstract_variables, export_hcodec, import_hcodec, torch_shapes
from tests.parity import golden
from tests.parity.codecs import close, golden_state_dict, inputs, stored_codes


def reduced(cfg):
    """1.5 as the fixture has it: 2 layers instead of 32 in the three long transformers, threshold 0.65."""
    parts = {k: dataclasses.replace(getattr(cfg.aggregation, k), num_layers=2) for k in ("aggregator", "bottleneck")}
    return dataclasses.replace(cfg, aggregation=dataclasses.replace(cfg.aggregation, threshold=0.65, **parts))


@pytest.fixture(scope="module")
def fixed():
    return import_hcodec(HCODEC_16K, golden_state_dict(HCODEC_16K)), *golden.load("hcodec1")


@pytest.fixture(scope="module")
def adaptive():
    cfg = reduced(HCODEC_16K_ADAPTIVE)
    return cfg, import_hcodec(cfg, golden_state_dict(cfg)), *golden.load("hcodec1_5")


class TestFixedRate:
    def test_encoding(self, fixed):
        variables, arrays, meta = fixed
        codec = HCodec(HCODEC_16K)
        emb = jax.jit(lambda v, w, f: codec.apply(v, w, f, method="embed"))(variables, *inputs(arrays))
        close(emb.acoustic_BxTxD, meta, arrays, "emb")
        close(emb.semantic_BxTxD, meta, arrays, "semantic_emb")
        codes = codec.apply(variables, emb, method="quantize")
        np.testing.assert_array_equal(codes.acoustic_BxTxK.swapaxes(1, 2), arrays["acoustic_codes"])
        np.testing.assert_array_equal(codes.semantic_BxTxK.swapaxes(1, 2), arrays["semantic_codes"])

    def test_decoding_of_stored_codes(self, fixed):
        variables, arrays, meta = fixed
        codec, codes = HCodec(HCODEC_16K), stored_codes(HCODEC_16K, arrays)

        def outputs(codec, codes):
            vectors = codec.dequantize(codes)
            return *vectors, codec.decode(codes), codec.predict_features(vectors[1])

        found = jax.jit(lambda v, c: codec.apply(v, c, method=outputs))(variables, codes)
        for name, array in zip(("quantized", "quantized_semantic", "recon", "pred_feat"), found, strict=True):
            close(array, meta, arrays, name)

    @pytest.mark.slow
    @pytest.mark.parametrize("length", [5000, 320])
    def test_encoder_on_odd_lengths(self, fixed, length):
        variables, arrays, meta = fixed

        def encode(codec, wave):
            return codec.encoder(wave)

        emb = jax.jit(lambda v, w: HCodec(HCODEC_16K).apply(v, w, method=encode))(variables, arrays[f"wav_{length}"])
        close(emb, meta, arrays, f"emb_{length}")


@pytest.mark.slow
class TestAdaptiveRate:
    def test_grouping(self, adaptive):
        cfg, variables, arrays, meta = adaptive
        encode = jax.jit(lambda v, w, f: HCodec(cfg).apply(v, w, f, method="encode_frames"))
        frames = encode(variables, *inputs(arrays))
        close(frames.acoustic_BxTxD, meta, arrays, "emb")
        close(frames.semantic_BxTxD, meta, arrays, "semantic_emb")
        similarity = neighbor_similarity(frames.semantic_BxTxD)
        close(similarity, meta, arrays, "similarity")
        groups = jax.jit(group_frames)(similarity, 0.65, 8)
        np.testing.assert_array_equal(groups.segment_BxT, arrays["frame_to_segment"])
        np.testing.assert_array_equal(groups.mask_BxG.sum(-1), arrays["num_segments"])
        longest = arrays["token_lengths"].shape[1]
        np.testing.assert_array_equal(groups.durations_BxG[:, :longest], arrays["token_lengths"])
        assert not groups.durations_BxG[:, longest:].any()

    def test_one_item(self, adaptive):
        cfg, variables, arrays, meta = adaptive
        item = int(arrays["one_item"])
        wave, feats = (x[item : item + 1] for x in inputs(arrays))
        codec = HCodec(cfg)
        emb = jax.jit(lambda v, w, f: codec.apply(v, w, f, method="embed"))(variables, wave, feats)
        count = arrays["one_token_lengths"].shape[1]
        close(emb.acoustic_BxTxD[:, :count], meta, arrays, "one_agg_acoustic")
        close(emb.semantic_BxTxD[:, :count], meta, arrays, "one_agg_semantic")
        check_codes(codec.apply(variables, emb, method="quantize"), arrays, "one_")

    @pytest.mark.slow
    def test_a_batch_equals_its_items(self, adaptive):
        """The masked default, from the arrays of the item that the batch's padding would have changed."""
        cfg, variables, arrays, meta = adaptive
        item = int(arrays["one_item"])
        emb = jax.jit(lambda v, w, f: HCodec(cfg).apply(v, w, f, method="embed"))(variables, *inputs(arrays))
        count = arrays["one_token_lengths"].shape[1]
        close(emb.acoustic_BxTxD[item : item + 1, :count], meta, arrays, "one_agg_acoustic")
        close(emb.semantic_BxTxD[item : item + 1, :count], meta, arrays, "one_agg_semantic")

    @pytest.mark.slow
    def test_the_originals_batch_by_name(self, adaptive):
        cfg, variables, arrays, meta = adaptive
        codec, count = HCodec(attending_to_padding(cfg)), arrays["token_lengths"].shape[1]
        emb = jax.jit(lambda v, w, f: codec.apply(v, w, f, method="embed"))(variables, *inputs(arrays))
        close(emb.acoustic_BxTxD[:, :count], meta, arrays, "agg_acoustic")
        close(emb.semantic_BxTxD[:, :count], meta, arrays, "agg_semantic")
        check_codes(codec.apply(variables, emb, method="quantize"), arrays, "")

    def test_decoding_of_stored_codes(self, adaptive):
        cfg, variables, arrays, meta = adaptive
        plain = [np.mod(arrays[f"{s}_codes"], 1024).swapaxes(1, 2) for s in ("acoustic", "semantic")]
        codes = Codes(*plain, cfg.frame_rate, arrays["num_segments"], arrays["token_lengths"])
        codec = HCodec(cfg)
        np.testing.assert_array_equal(expand_codes(codes).lengths_B, [48, 48])

        def outputs(codec, codes):
            vectors = codec.dequantize(expand_codes(codes, 48))
            return codec.concat_streams(*vectors), codec.decode(codes, 48), codec.predict_features(vectors[1])

        mixed, wave, features = jax.jit(lambda v, c: codec.apply(v, c, method=outputs))(variables, codes)
        close(mixed, meta, arrays, "bottleneck_out")
        close(wave, meta, arrays, "recon")
        close(features, meta, arrays, "pred_feat")


def check_codes(codes, arrays, prefix):
    """Real groups' codes and lengths against the original's code + 1024 * (length - 1)."""
    durations = arrays[f"{prefix}token_lengths"]
    count = durations.shape[1]
    np.testing.assert_array_equal(codes.durations_BxT[:, :count], durations)
    for stream, ours in (("acoustic", codes.acoustic_BxTxK), ("semantic", codes.semantic_BxTxK)):
        want = arrays[f"{prefix}{stream}_codes"].swapaxes(1, 2)
        got = np.asarray(ours)[:, :count] + 1024 * (durations[..., None] - 1)
        np.testing.assert_array_equal(got[durations > 0], want[durations > 0])
        assert (want[durations == 0] < 0).all()


@pytest.mark.parametrize("cfg, name", [(HCODEC_16K, "hcodec1"), (HCODEC_16K_ADAPTIVE, "hcodec1_5")])
def test_full_size_names_and_shapes(cfg, name):
    manifest = golden.manifest(name)
    params = sum(np.prod(leaf.shape) for leaf in jax.tree.leaves(abstract_variables(cfg)["params"]))
    assert params == manifest["total_params"]
    shapes = {k: tuple(t["shape"]) for k, t in manifest["tensors"].items()}
    assert torch_shapes(cfg) == shapes


@pytest.mark.slow
def test_import_then_export_is_the_identity(fixed, adaptive):
    for cfg, variables in ((HCODEC_16K, fixed[0]), adaptive[:2]):
        state, back = golden_state_dict(cfg), export_hcodec(cfg, variables)
        assert back.keys() == state.keys()
        for name, value in state.items():
            np.testing.assert_array_equal(back[name], value, err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("length", [640 * 10, 640 * 10 - 123])
@pytest.mark.parametrize("cfg", [HCODEC_16K_TINY, HCODEC_16K_ADAPTIVE_TINY], ids=lambda c: c.name)
def test_a_padded_batch_gives_what_its_items_give(cfg, length):
    codec, variables = HCodec(cfg), import_hcodec(cfg, golden_state_dict(cfg))
    rng = np.random.default_rng(0)
    wave = 0.1 * rng.standard_normal((2, 640 * 16), dtype=np.float32)
    feats = rng.standard_normal((2, 32, cfg.semantic.feature_dim), dtype=np.float32)
    lengths = np.array([wave.shape[1], length], np.int32)
    embed = jax.jit(lambda w, f, n: codec.apply(variables, w, f, n, method="embed"))
    quantize = jax.jit(lambda e: codec.apply(variables, e, method="quantize"))
    decode = jax.jit(lambda c, n: codec.apply(variables, c, n, method="decode"), static_argnums=1)
    batch, frames = embed(wave, feats, lengths), int(cfg.num_frames(length))
    alone = np.pad(wave[1:, :length], ((0, 0), (0, frames * cfg.frame_hop - length)))
    one = embed(alone, feats[1:, : 2 * frames], lengths[1:])
    count = int(one.mask_BxT.sum())
    assert int(batch.mask_BxT[1].sum()) == count
    np.testing.assert_allclose(batch.acoustic_BxTxD[1, :count], one.acoustic_BxTxD[0, :count], atol=1e-4)
    np.testing.assert_allclose(batch.semantic_BxTxD[1, :count], one.semantic_BxTxD[0, :count], atol=1e-4)
    codes = quantize(batch)
    decoded = decode(codes, 16)
    streams = (c[1:, :count] for c in (codes.acoustic_BxTxK, codes.semantic_BxTxK))
    durations = None if codes.durations_BxT is None else codes.durations_BxT[1:, :count]
    out = decode(Codes(*streams, cfg.frame_rate, None, durations), frames)
    np.testing.assert_allclose(decoded[1, : frames * cfg.frame_hop], out[0], atol=2e-6)
    assert not np.any(decoded[1, frames * cfg.frame_hop :])

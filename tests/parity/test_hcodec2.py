"""H-Codec 2.0 against the public PyTorch code, with the weights of the golden rule."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from quarkaudio_jax.codec.hcodec import HCodec
from quarkaudio_jax.codec.spectral import CLIP, FADE, log_magnitude_and_phase
from quarkaudio_jax.codec.variants import HCODEC_48K, HCODEC_48K_6HZ, fading_phase, hcodec2
from quarkaudio_jax.nn.stack import stack_params, unstack_params
from quarkaudio_jax.types import Codes
from quarkaudio_jax.weights.hcodec import abstract_variables, export_hcodec, import_hcodec, torch_shapes
from quarkaudio_jax.weights.rules import UnmatchedError
from tests.parity import golden
from tests.parity.codecs import (
    close,
    golden_state_dict,
    inputs,
    stored_codes,
    zeros_like_abstract,
)

SMALL = dict(
    dim=128,
    hidden=384,
    latent=64,
    encoder_layers=2,
    decoder_layers=2,
    transformer_layers=1,
    semantic_channels=96,
    num_codebooks=4,
    codebook_size=64,
)
CASES = {
    "hcodec2_12hz5": hcodec2("golden_12hz5", **SMALL, strides=(2, 1, 2)),
    "hcodec2_6hz25": hcodec2("golden_6hz25", **SMALL, strides=(2, 2, 2)),
}


@pytest.fixture(scope="module", params=["hcodec2_12hz5", pytest.param("hcodec2_6hz25", marks=pytest.mark.slow)])
def case(request):
    arrays, meta = golden.load(request.param)
    cfg = CASES[request.param]
    return cfg, import_hcodec(cfg, golden_state_dict(cfg)), arrays, meta


def call(cfg, method, variables, *x, scan=True):
    """A method of the codec, compiled."""
    return jax.jit(lambda v, *x: HCodec(cfg, scan=scan).apply(v, *x, method=method))(variables, *x)


def test_embeddings(case):
    cfg, variables, arrays, meta = case
    emb = call(cfg, "embed", variables, *inputs(arrays))
    close(emb.acoustic_BxTxD, meta, arrays, "emb")
    close(emb.semantic_BxTxD, meta, arrays, "semantic_emb")


def test_codes_are_equal(case):
    cfg, variables, arrays, _ = case
    codes = call(cfg, "encode", variables, *inputs(arrays))
    np.testing.assert_array_equal(codes.acoustic_BxTxK.swapaxes(1, 2), arrays["acoustic_codes"])
    np.testing.assert_array_equal(codes.semantic_BxTxK.swapaxes(1, 2), arrays["semantic_codes"])


@pytest.mark.slow
def test_the_audio_is_full_band_so_that_no_code_hangs_on_rounding(case):
    """No bin is weak enough to be clipped or faded: both front ends give the stored codes."""
    cfg, variables, arrays, _ = case
    bins = cfg.encoder.n_fft // 2 + 1
    magnitude = log_magnitude_and_phase(arrays["wav"], cfg.encoder.n_fft, cfg.encoder.hop)[..., :bins]
    assert float(magnitude.min()) > np.log(FADE * CLIP)
    codes = call(fading_phase(cfg), "encode", variables, *inputs(arrays))
    np.testing.assert_array_equal(codes.acoustic_BxTxK.swapaxes(1, 2), arrays["acoustic_codes"])


@pytest.mark.parametrize("scan", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_decoding_of_stored_codes(case, scan):
    cfg, variables, arrays, meta = case
    if not scan:
        variables = {**variables, "params": unstack_params(variables["params"])}
        stacked = stack_params(variables["params"])
        jax.tree.map(np.testing.assert_array_equal, stacked, case[1]["params"])

    def outputs(codec, codes):
        vectors = codec.dequantize(codes)
        return *vectors, codec.decode(codes), codec.predict_features(vectors[1])

    found = call(cfg, outputs, variables, stored_codes(cfg, arrays), scan=scan)
    for name, array in zip(("quantized", "quantized_semantic", "recon", "pred_feat"), found, strict=True):
        close(array, meta, arrays, name)


@pytest.mark.slow
def test_a_padded_batch_gives_what_its_items_give(case):
    cfg, variables, arrays, _ = case
    codec = HCodec(cfg)
    wave, feats = inputs(arrays)
    hop, total = cfg.frame_hop, wave.shape[1]
    lengths = np.array([total, total // 2 - 321], np.int32)
    encode = jax.jit(lambda w, f, n: codec.apply(variables, w, f, n, method="embed"))
    batch = encode(wave, feats, lengths)
    codes = call(cfg, "encode", variables, wave, feats, lengths)
    decoded = call(cfg, "decode", variables, codes)
    for i, length in enumerate(lengths):
        frames = int(cfg.num_frames(int(length)))
        alone = np.zeros((1, frames * hop), np.float32)
        alone[0, :length] = wave[i, :length]
        one = call(cfg, "embed", variables, alone, feats[i : i + 1, : frames * cfg.semantic.stride])
        np.testing.assert_allclose(batch.acoustic_BxTxD[i, :frames], one.acoustic_BxTxD[0], atol=1e-4)
        np.testing.assert_allclose(batch.semantic_BxTxD[i, :frames], one.semantic_BxTxD[0], atol=1e-5)
        single = Codes(codes.acoustic_BxTxK[i : i + 1, :frames], codes.semantic_BxTxK[i : i + 1, :frames], 0.0)
        out = call(cfg, "decode", variables, single)
        np.testing.assert_allclose(decoded[i, : frames * hop], out[0], atol=2e-6)
        assert not np.any(decoded[i, frames * hop :])


@pytest.mark.parametrize("cfg", [HCODEC_48K, HCODEC_48K_6HZ], ids=lambda c: c.name)
def test_full_size_names_and_shapes(cfg):
    """Every tensor of the manifest and every variable of the model correspond one to one, both ways."""
    manifest = golden.manifest("hcodec2")
    shapes = {name: tuple(t["shape"]) for name, t in manifest["tensors"].items()}
    if cfg is HCODEC_48K_6HZ:  # the manifest is the 12.5 Hz model; the sibling differs in these kernels
        shapes["encoder.out.conv.weight"] = (512, 1536, 17)
        shapes["decoder.embed.conv.weight"] = (1536, 1024, 9)
        shapes["semantic_encoder.conv_blocks.1.conv.conv.weight"] = (1536, 1536, 4)
        for leaf, shape in (("weight", (1536, 1536, 4)), ("bias", (1536,))):
            del shapes[f"semantic_decoder.conv_blocks.1.conv.conv.{leaf}"]
            shapes[f"semantic_decoder.conv_blocks.1.conv.deconv.{leaf}"] = shape
    variables = abstract_variables(cfg)
    params = sum(np.prod(leaf.shape) for leaf in jax.tree.leaves(variables["params"]))
    if cfg is HCODEC_48K:
        assert params == manifest["total_params"]
    exported = torch_shapes(cfg)
    assert exported == shapes


def test_import_then_export_is_the_identity(case):
    cfg, variables, _, _ = case
    state = golden_state_dict(cfg)
    back = export_hcodec(cfg, variables)
    assert back.keys() == state.keys()
    for name, value in state.items():
        np.testing.assert_array_equal(back[name], value, err_msg=name)


def test_import_names_what_does_not_match():
    cfg = CASES["hcodec2_12hz5"]
    state = golden_state_dict(cfg)
    del state["decoder.head.out.bias"]
    state["decoder.extra.weight"] = np.zeros(3, np.float32)
    with pytest.raises(UnmatchedError, match=re.escape("decoder.extra.weight")) as error:
        import_hcodec(cfg, state)
    assert "params/decoder/head/out/bias" in str(error.value)
    state = golden_state_dict(cfg)
    state["encoder.stft.window"] = state["encoder.stft.window"] * 0.5
    with pytest.raises(UnmatchedError, match="encoder.stft.window is not the constant"):
        import_hcodec(cfg, state)
    deeper = dataclasses.replace(cfg, encoder=dataclasses.replace(cfg.encoder, convnext_layers=3))
    with pytest.raises(UnmatchedError, match="needs layers 0 to 2"):
        import_hcodec(deeper, golden_state_dict(cfg))


def test_wrong_shapes_are_named():
    cfg = CASES["hcodec2_12hz5"]
    variables = zeros_like_abstract(cfg)
    feats = jnp.zeros((1, 8, 768))
    with pytest.raises(ValueError, match="not a multiple of 3840"):
        HCodec(cfg).apply(variables, jnp.zeros((1, 7681)), feats, method="embed")
    with pytest.raises(ValueError, match="8 frames of width 768"):
        HCodec(cfg).apply(variables, jnp.zeros((1, 7680)), feats[:, :7], method="embed")

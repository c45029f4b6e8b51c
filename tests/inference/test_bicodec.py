"""BiCodec from waves to tokens and back, with small models of the golden rule."""

import jax
import numpy as np
import pytest

from quarkaudio_jax.errors import UserError
from quarkaudio_jax.inference.bicodec import BiCodecTokens, load_bicodec
from quarkaudio_jax.weights.saved_bicodec import bicodec_folder
from tests.parity import golden
from tests.parity.models import write_bicodec_folder, write_ssl_folder

pytestmark = pytest.mark.slow

RATE = 16000


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("spark")
    write_ssl_folder(folder / "wav2vec2-large-xlsr-53", "hf_wav2vec2_stable17")
    write_bicodec_folder(folder / "BiCodec")
    return folder


@pytest.fixture(scope="module")
def codec(folder):
    return load_bicodec(folder)


def voice(samples, seed=0):
    return (0.1 * np.random.default_rng(seed).standard_normal(samples) + 0.02).astype(np.float32)


def test_the_folder_is_found_from_its_weights_and_not_from_other_files(tmp_path):
    inner = tmp_path / "BiCodec"
    inner.mkdir()
    for path in (inner / "config.yaml", inner / "model.safetensors", tmp_path / "hcodec.safetensors"):
        path.touch()
    assert {bicodec_folder(path) for path in (tmp_path, inner, inner / "model.safetensors")} == {inner}
    assert bicodec_folder(tmp_path / "hcodec.safetensors") is None and bicodec_folder(tmp_path / "nothing") is None


def test_tokens_are_those_of_the_original_features(folder, codec):
    """The features of transformers, of the wave as its feature extractor scales it, without padding."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    wave = voice(RATE)
    extractor = transformers.Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=True)
    model = transformers.Wav2Vec2Model.from_pretrained(folder / "wav2vec2-large-xlsr-53").eval()
    values = extractor(wave[None], sampling_rate=RATE, return_tensors="pt", padding=True).input_values
    with torch.inference_mode():
        states = model(values, output_hidden_states=True).hidden_states
    features = ((states[11] + states[14] + states[16]) / 3).numpy()
    ours = codec.extractor.states(codec.extractor.params, wave[None])
    np.testing.assert_allclose(ours, features, atol=2e-5, rtol=0)
    clip = np.tile(wave, 6)[None, : 6 * RATE]
    encode = jax.jit(lambda params, *given: codec._codec.apply({"params": params}, *given, method="encode"))
    globals_BxN, semantic = encode(codec.params, features, clip)
    tokens = codec.encode(wave)
    np.testing.assert_array_equal(tokens.semantic_BxT, semantic)
    np.testing.assert_array_equal(tokens.globals_BxN, globals_BxN)
    assert tokens.semantic_BxT.shape == (1, 49) and tokens.globals_BxN.shape == (1, 32)


def test_a_batch_gives_what_its_items_give(codec):
    waves, lengths = np.stack([voice(RATE), voice(RATE, 1)]), [RATE, 9000]
    batch, alone = codec.encode(waves, lengths=lengths), codec.encode(waves[1, :9000])
    assert list(batch.lengths_B) == [49, 27] and alone.lengths_B == [27]
    np.testing.assert_array_equal(batch.semantic_BxT[1, :27], alone.semantic_BxT[0])
    np.testing.assert_array_equal(batch.globals_BxN[1], alone.globals_BxN[0])
    wave, one = codec.decode(batch), codec.decode(alone)
    assert list(wave.lengths_B) == [49 * 320, 27 * 320]
    np.testing.assert_allclose(
        wave.samples_BxS[1, : 27 * 320],
        one.samples_BxS[0],
        rtol=0,
        atol=golden.tolerance(golden.load("bicodec")[1], "wave"),
    )


def test_the_reference_makes_the_global_tokens(codec):
    wave, other = voice(RATE), voice(12000, 2)
    tokens = codec.encode(wave, reference=(other, RATE))
    np.testing.assert_array_equal(tokens.globals_BxN, codec.encode(other).globals_BxN)
    np.testing.assert_array_equal(tokens.semantic_BxT, codec.encode(wave).semantic_BxT)
    long = np.concatenate([voice(6 * RATE, 3), voice(RATE, 4)])
    np.testing.assert_array_equal(codec.encode(long).globals_BxN, codec.encode(long[: 6 * RATE]).globals_BxN)


def test_what_can_not_be_encoded_or_decoded_is_said(codec):
    with pytest.raises(UserError, match="too few for one token"):
        codec.encode(voice(300))
    with pytest.raises(UserError, match="semantic tokens reach from 0 to 64; they should be from 0 to 63"):
        codec.decode(BiCodecTokens(np.zeros((1, 32), int), np.array([[0, 64]]), np.array([2])))
    with pytest.raises(UserError, match="there should be 32"):
        codec.decode(BiCodecTokens(np.zeros((1, 5), int), np.array([[0, 1]]), np.array([2])))

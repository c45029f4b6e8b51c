"""HuBERT, wav2vec 2.0 and WavLM against transformers, with the weights of the golden rule."""

import dataclasses
import json

import flax.traverse_util
import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from quarkaudio_jax.config import FeatureConfig
from quarkaudio_jax.errors import UserError
from quarkaudio_jax.nn.resample import resample
from quarkaudio_jax.nn.stack import unstack_params
from quarkaudio_jax.ssl.features import RECIPES, Extractor, average_states
from quarkaudio_jax.ssl.model import HUBERT_BASE, WAV2VEC2_LARGE, WAVLM_BASE, SSLEncoder
from quarkaudio_jax.weights.hub import MissingWeightsError
from quarkaudio_jax.weights.rules import export_params
from quarkaudio_jax.weights.ssl import (
    abstract_params,
    codec_extractor,
    config_from_hf,
    import_ssl,
    load_extractor,
    table,
)
from tests.parity import golden

CASES = ["hf_hubert", "hf_wav2vec2_group", "hf_wav2vec2_stable", "hf_wavlm"]


def state_dict(cfg):
    params = jax.tree.map(lambda s: np.zeros(s.shape, np.float32), abstract_params(cfg))
    return {k: golden.tensor(k, v.shape) for k, v in export_params(table(cfg), params).items()}


def load(case):
    arrays, meta = golden.load(case)
    cfg = config_from_hf(meta["config"])
    return cfg, import_ssl(cfg, state_dict(cfg)), arrays, meta


def write_folder(folder, case):
    """The golden model of a case as a Hugging Face folder; returns its width."""
    cfg, _, _, meta = load(case)
    folder.mkdir()
    save_file(state_dict(cfg), folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(meta["config"]))
    return cfg.dim


def close(got, arrays, meta, name):
    np.testing.assert_allclose(got, arrays[name], rtol=0, atol=golden.tolerance(meta, name), err_msg=name)


@pytest.mark.parametrize("scan", [True, pytest.param(False, marks=pytest.mark.slow)])
@pytest.mark.parametrize("case", CASES)
def test_hidden_states_and_recipe(case, scan):
    cfg, params, arrays, meta = load(case)
    encode = jax.jit(
        lambda w: SSLEncoder(cfg, scan=scan).apply({"params": params if scan else unstack_params(params)}, w)
    )
    for i, state in enumerate(encode(arrays["wav"])):
        close(state, arrays, meta, f"hidden_{i}")
    states = encode(np.pad(arrays["wav"], ((0, 0), (160, 160))))
    for i, state in enumerate(states[:-1]):
        close(state, arrays, meta, f"padded_hidden_{i}")
    plain = dataclasses.replace(RECIPES["hubert"], compress=False)
    close(average_states(states, plain), arrays, meta, "mean_of_hidden")
    close(average_states(states, RECIPES["hubert"]), arrays, meta, "feats")


def test_mix_of_hcodec_1_5():
    cfg, params, arrays, meta = load("hf_wav2vec2_stable17")
    states = jax.jit(SSLEncoder(cfg).apply)({"params": params}, np.pad(arrays["wav"], ((0, 0), (160, 160))))
    close(average_states(states, RECIPES["wav2vec2"]), arrays, meta, "mix_1_5")


@pytest.mark.parametrize("case", [pytest.param(c, marks=pytest.mark.slow) for c in CASES[:3]] + CASES[3:])
def test_a_padded_batch_gives_what_its_items_give(case):
    cfg, params, arrays, _ = load(case)
    wave = arrays["wav"].copy()
    lengths = np.array([16000, 9333])
    encode = jax.jit(lambda w, n: SSLEncoder(cfg).apply({"params": params}, w, n))
    batch = encode(wave, lengths)
    one = jax.jit(SSLEncoder(cfg).apply)({"params": params}, wave[1:, :9333])
    np.testing.assert_allclose(batch[:, 1, : one.shape[2]], one[:, 0], atol=5e-5)


@pytest.mark.slow
@pytest.mark.parametrize("rate", [16000, 48000])
def test_long_waves_in_a_padded_batch_against_transformers(rate):
    """12 and 13 s, with lengths and zeros behind: features of each item as transformers makes them of it alone."""
    torch = pytest.importorskip("torch", reason="torch runs the reference")
    transformers = pytest.importorskip("transformers", reason="transformers holds the reference")
    cfg, params, _, meta = load("hf_hubert")
    model = transformers.HubertModel(transformers.HubertConfig(**meta["config"])).eval()
    missing = model.load_state_dict({k: torch.from_numpy(v) for k, v in state_dict(cfg).items()}, strict=False)
    assert missing.missing_keys in ([], ["masked_spec_embed"]) and not missing.unexpected_keys

    lengths, hop = np.array([12 * rate, 13 * rate], np.int32), rate // 50
    rng = np.random.default_rng(0)
    wave = 0.1 * rng.standard_normal((2, 14 * rate)).astype(np.float32) * (np.arange(14 * rate) < lengths[:, None])
    mean = dataclasses.replace(RECIPES["hubert"], compress=False)
    both = [Extractor(recipe, params, cfg) for recipe in (mean, RECIPES["hubert"])]
    found, compressed = jax.jit(lambda w, n: [e(params, w, rate, hop, cfg.dim, lengths_B=n) for e in both])(
        wave, lengths
    )
    for i, length in enumerate(lengths):
        alone = np.pad(np.asarray(resample(wave[i : i + 1, :length], rate, 16000)), ((0, 0), (160, 160)))
        with torch.no_grad():
            states = model(torch.from_numpy(alone), output_hidden_states=True).hidden_states
        want = torch.stack(states).mean(0)[0].numpy()
        assert want.shape == (length // hop, cfg.dim)
        np.testing.assert_allclose(found[i, : len(want)], want, rtol=0, atol=1e-5)
        sign = np.where(want > 0, 1.0, -1.0)
        clear = np.abs(want) > 1e-3
        np.testing.assert_allclose(compressed[i, : len(want)][clear], (sign * np.abs(want) ** 0.3)[clear], atol=1e-3)


@pytest.mark.parametrize(
    "cfg, name",
    [
        (HUBERT_BASE, "hf_hubert_base"),
        (WAV2VEC2_LARGE, "hf_wav2vec2_large_xlsr_53"),
        (WAVLM_BASE, "hf_wavlm_base_plus"),
    ],
)
def test_full_size_names_and_shapes(cfg, name):
    manifest = golden.manifest(name)
    assert config_from_hf(manifest["config"]) == cfg
    shapes = {k: tuple(t["shape"]) for k, t in manifest["tensors"].items()}
    assert shapes.pop("masked_spec_embed")
    params = jax.tree.map(lambda s: np.broadcast_to(np.float32(0), s.shape), abstract_params(cfg))
    assert {k: v.shape for k, v in export_params(table(cfg), params).items()} == shapes


def test_a_hugging_face_folder(tmp_path):
    """safetensors of a pre-training model (prefix, old weight-norm names, heads) make the recipe's features."""
    cfg, _, arrays, meta = load("hf_hubert")
    old = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
    tensors = {"hubert.masked_spec_embed": np.zeros(32, np.float32), "lm_head.bias": np.zeros(5, np.float32)}
    for name, value in state_dict(cfg).items():
        for new, was in old.items():
            name = name.replace(new, was)
        tensors[f"hubert.{name}"] = value
    save_file(tensors, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({**meta["config"], "model_type": "hubert"}))
    extractor = load_extractor("hubert", tmp_path)
    feats = extractor(extractor.params, arrays["wav"], 16000, 320, 32)
    close(feats, arrays, meta, "feats")
    with pytest.raises(ValueError, match="50 a second and 32 wide; the codec wants 50 a second, 768 wide"):
        extractor(extractor.params, arrays["wav"], 16000, 320, 768)
    (tmp_path / "config.json").write_text(json.dumps({**meta["config"], "model_type": "bert"}))
    with pytest.raises(ValueError, match="model_type is 'bert'"):
        load_extractor("hubert", tmp_path)
    (tmp_path / "model.safetensors").unlink()
    (tmp_path / "config.json").write_text(json.dumps(meta["config"]))
    with pytest.raises(MissingWeightsError, match=r"neither a folder with config.json and model.safetensors \(or"):
        load_extractor("hubert", tmp_path)


def test_missing_weights_say_what_to_download(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(MissingWeightsError, match="https://huggingface.co/microsoft/wavlm-base-plus into a folder"):
        load_extractor("wavlm")
    with pytest.raises(
        MissingWeightsError, match=r"by --features=FOLDER \(train and prepare: --config.features.weights=FOLDER\)"
    ):
        load_extractor("hubert", "no/such-model")


def test_rules_cover_each_parameter_once():
    for cfg in (HUBERT_BASE, WAV2VEC2_LARGE, WAVLM_BASE):
        paths = flax.traverse_util.flatten_dict(abstract_params(cfg), sep="/")
        assert sorted(rule.path for rule in table(cfg)) == sorted(paths)


class TestWhichModel:
    """Two HuBERTs differ in nothing but their values: which one it is, is told, recorded and compared."""

    @pytest.fixture
    def hubert(self, tmp_path, monkeypatch):
        monkeypatch.delenv("QUARKAUDIO_HUBERT", raising=False)

        def make(place, scale=1.0):
            (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
            write_folder(tmp_path / place, "hf_hubert")
            if scale != 1.0:
                tensors = load_file(tmp_path / place / "model.safetensors")
                save_file(
                    {k: v * np.float32(scale) for k, v in tensors.items()}, tmp_path / place / "model.safetensors"
                )
            return tmp_path / place

        return make

    def test_it_is_recorded_and_told(self, hubert, caplog):
        right = load_extractor("hubert", hubert("hubert_base")).model
        assert right.startswith("bosonai/hubert_base crc32:") and not caplog.text
        other = load_extractor("hubert", hubert("hubert-base-ls960", 2.0)).model
        assert other.startswith("facebook/hubert-base-ls960 crc32:") and other.split()[1] != right.split()[1]
        assert "facebook/hubert-base-ls960 is not bosonai/hubert_base; the features of the two differ" in caplog.text
        caplog.clear()
        snapshot = load_extractor("hubert", hubert("models--facebook--hubert-base-ls960/snapshots/0", 2.0)).model
        assert snapshot == other
        caplog.clear()
        unknown = load_extractor("hubert", hubert("mine")).model
        assert unknown == right.replace("bosonai/hubert_base", "-")
        assert "unknown model; it should be bosonai/hubert_base" in caplog.text

    def test_a_codec_meets_its_own_model_or_none(self, hubert, caplog):
        one, two = str(hubert("one")), str(hubert("two", 2.0))
        trained = FeatureConfig("hubert", one, load_extractor("hubert", one).model)
        caplog.clear()
        assert codec_extractor(trained).model == trained.model and not caplog.text
        moved = dataclasses.replace(trained, weights=two)
        with pytest.raises(UserError, match=r"- \(crc32:.*\) is not the codec's, - \(crc32:.*choose the right model"):
            codec_extractor(moved)
        assert codec_extractor(moved, two).recipe.name == "hubert"  # named by the user: said, not refused
        assert "is not the codec's" in caplog.text
        assert codec_extractor(moved, one).model == trained.model

    def test_a_published_codec_asks_for_the_right_one(self, hubert, monkeypatch, caplog):
        published = FeatureConfig("hubert", model="bosonai/hubert_base")
        with pytest.raises(MissingWeightsError, match="need the weights of bosonai/hubert_base"):
            codec_extractor(published)
        codec_extractor(published, hubert("hubert-base-ls960"))
        assert "facebook/hubert-base-ls960 is not bosonai/hubert_base" in caplog.text
        with pytest.raises(MissingWeightsError, match="need the weights of facebook/hubert-base-ls960"):
            codec_extractor(FeatureConfig("hubert", model="facebook/hubert-base-ls960 crc32:00000000"))
        caplog.clear()
        with pytest.raises(MissingWeightsError):
            codec_extractor(FeatureConfig("hubert"))
        assert "does not record which HuBERT its features came from; assuming bosonai/hubert_base" in caplog.text

"""T5 and CLAP's text encoder against transformers, on random small ones."""

import json
import pickle

import flax.linen as nn
import jax
import numpy as np
import pytest

from quarkaudio_jax.text.clap import CLAP_TEXT, ClapTextEncoder
from quarkaudio_jax.text.t5 import T5_BASE, T5Encoder
from quarkaudio_jax.weights.hub import MissingWeightsError
from quarkaudio_jax.weights.rules import UnmatchedError
from quarkaudio_jax.weights.text import clap_config, import_text, load_text_extractor, t5_config
from tests.parity import golden

torch = pytest.importorskip("torch", reason="torch is the reference here; the tests' extra command installs it")
transformers = pytest.importorskip("transformers", reason="transformers is the reference here")

LENGTHS = np.array([9, 5], np.int32)
IDS = np.random.default_rng(0).integers(3, 90, (2, 9)).astype(np.int32)


def mask():
    return torch.tensor((np.arange(9) < LENGTHS[:, None]).astype(np.int64))


def padded(padding):
    ids = np.where(np.arange(9) < LENGTHS[:, None], IDS, padding)
    return ids, torch.tensor(ids.astype(np.int64))


def numpy_state(model):
    return {name: value.numpy() for name, value in model.state_dict().items()}


def small_t5(kind="gated-gelu"):
    torch.manual_seed(0)
    config = transformers.T5Config(
        d_model=32, d_kv=8, d_ff=64, num_layers=3, num_heads=4, vocab_size=100, feed_forward_proj=kind,
        relative_attention_num_buckets=8, relative_attention_max_distance=12,
    )  # fmt: skip
    return transformers.T5EncoderModel(config).eval()


def small_clap():
    torch.manual_seed(0)
    config = transformers.ClapTextConfig(
        vocab_size=100,
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=64,
        projection_dim=16,
    )
    return transformers.ClapTextModelWithProjection(config).eval()


@pytest.mark.parametrize("kind", ["gated-gelu", "relu"])
@pytest.mark.parametrize("scan", [True, False])
def test_t5_equals_transformers(kind, scan):
    from quarkaudio_jax.nn.stack import unstack_params

    model = small_t5(kind)
    ids, theirs = padded(0)
    with torch.no_grad():
        expected = model(theirs, attention_mask=mask()).last_hidden_state.numpy()
    cfg = t5_config(model.config.to_dict())
    params = import_text(cfg, numpy_state(model))
    params = params if scan else unstack_params(params)
    found = np.asarray(T5Encoder(cfg, scan=scan).apply({"params": params}, ids, LENGTHS))
    for row, length in enumerate(LENGTHS):
        np.testing.assert_allclose(found[row, :length], expected[row, :length], atol=2e-5, rtol=1e-4)


def test_clap_text_equals_transformers():
    model = small_clap()
    ids, theirs = padded(1)
    with torch.no_grad():
        expected = model(theirs, attention_mask=mask())
    cfg = clap_config(model.config.to_dict())
    states, embedding = ClapTextEncoder(cfg).apply({"params": import_text(cfg, numpy_state(model))}, ids, LENGTHS)
    np.testing.assert_allclose(np.asarray(embedding), expected.text_embeds.numpy(), atol=2e-6)
    for row, length in enumerate(LENGTHS):
        np.testing.assert_allclose(
            np.asarray(states)[row, :length], expected.last_hidden_state.numpy()[row, :length], atol=2e-5
        )


@pytest.mark.parametrize(
    "name, full, config, module",
    [
        ("hf_t5_base_encoder", T5_BASE, t5_config, T5Encoder),
        ("hf_clap_text", CLAP_TEXT, clap_config, ClapTextEncoder),
    ],
)
def test_full_sizes_are_those_of_the_published_models(name, full, config, module):
    """Every name and shape of the published file is used, and every parameter of ours filled, without memory."""
    manifest = golden.manifest(name)
    assert config(manifest["config"]) == full
    tensors = {k: np.broadcast_to(np.float32(0), t["shape"]) for k, t in manifest["tensors"].items()}
    ids, lengths = np.zeros((1, 4), np.int32), np.ones(1, np.int32)
    shapes = jax.eval_shape(module(full).init, jax.random.key(0), ids, lengths)["params"]
    filled = jax.eval_shape(lambda: import_text(full, tensors))
    assert jax.tree.map(lambda x: x.shape, nn.meta.unbox(shapes)) == jax.tree.map(lambda x: x.shape, filled)
    assert sum(x.size for x in jax.tree.leaves(shapes)) == manifest["total_params"]


def write_folders(folder):
    """Small models as Hugging Face folders FOLDER/t5 and FOLDER/clap, with a tokenizer of whole words."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = {w: i for i, w in enumerate(["<pad>", "<unk>", "a", "dog", "is", "barking"])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    for name, model in (("t5", small_t5()), ("clap", small_clap())):
        model.save_pretrained(folder / name)
        tokenizer.save(str(folder / name / "tokenizer.json"))


@pytest.fixture
def folders(tmp_path):
    """What `write_folders` writes."""
    write_folders(tmp_path)
    return tmp_path


def test_recipes_from_folders(folders):
    t5 = load_text_extractor("t5", folders / "t5")
    long, none, short = t5(["a dog is barking", "", "dog"])
    assert long.shape == (4, 32) and none.shape == (0, 32) and short.shape == (1, 32) and t5.width == 32
    with torch.no_grad():
        expected = small_t5()(torch.tensor([[2, 3, 4, 5]])).last_hidden_state.numpy()[0]
    np.testing.assert_allclose(long, expected, atol=2e-5, rtol=1e-4)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(t5))(["dog"])[0], short)
    clap = load_text_extractor("clap", folders / "clap")
    (embedding,) = clap(["a dog is barking"])
    assert embedding.shape == (1, 16) and np.linalg.norm(embedding) == pytest.approx(1.0, abs=1e-5)
    assert load_text_extractor("bytes").width == 0 and load_text_extractor("bytes")(["x"])[0].shape == (0, 1)


def test_what_is_missing_or_strange_is_said(folders, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(
        MissingWeightsError,
        match=r"neither a folder with config.json, tokenizer.json and model.safetensors.* --text-features=FOLDER \(",
    ):
        load_text_extractor("t5", tmp_path / "nowhere")
    with pytest.raises(ValueError, match="choose one of bytes, t5, clap"):
        load_text_extractor("bert")
    config = json.loads((folders / "t5" / "config.json").read_text())
    with pytest.raises(ValueError, match="only T5 with relu or gated-gelu"):
        t5_config({**config, "feed_forward_proj": "swish"})
    with pytest.raises(UnmatchedError):
        import_text(t5_config(config), {**numpy_state(small_t5()), "encoder.extra": np.zeros(3)})

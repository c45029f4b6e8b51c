"""CLAP's audio encoder against transformers, on random small models."""

import json

import flax.linen as nn
import flax.traverse_util
import jax
import numpy as np
import pytest

from quarkaudio_jax.clap.model import CLAP_AUDIO, ClapAudio, ClapAudioEncoder, bicubic, clap_mel, clap_windows
from quarkaudio_jax.weights.clap import clap_audio_config, clap_audio_table, import_clap_audio, load_clap_audio
from quarkaudio_jax.weights.hub import MissingWeightsError
from quarkaudio_jax.weights.rules import UnmatchedError, export_tensors

torch = pytest.importorskip("torch", reason="torch is the reference here; the tests' extra command installs it")
transformers = pytest.importorskip("transformers", reason="transformers is the reference here")

AUDIO = dict(
    patch_embeds_hidden_size=8, depths=[2, 1, 1, 2], num_attention_heads=[1, 2, 2, 4], hidden_size=64, aff_block_r=2
)


def small_model(fused=False):
    """A random CLAP whose batch statistics and biases are not those of a new one."""
    torch.manual_seed(0)
    text = dict(vocab_size=20, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    heard = AUDIO | (dict(enable_fusion=True, fusion_type="aff_2d") if fused else {})
    model = transformers.ClapModel(
        transformers.ClapConfig(text_config=text, audio_config=heard, projection_dim=12)
    ).eval()
    with torch.no_grad():
        for name, value in model.audio_model.state_dict().items():
            if name.endswith("running_mean") or name.endswith("batch_norm.bias"):
                value.copy_(torch.randn_like(value) * 3 - (40 if name.endswith("mean") else 0))
            elif name.endswith("running_var"):
                value.copy_(300 + 100 * torch.rand_like(value))
            elif value.is_floating_point() and "batch_norm" not in name:
                value.add_(0.2 * torch.randn_like(value))
    return model


def extractor(fused=False, **others):
    others = dict(frequency_min=50, truncation="fusion" if fused else "rand_trunc") | others
    return transformers.ClapFeatureExtractor(**others)


def heard(seconds, seed=0):
    """A chord with noise, at 48 kHz."""
    t = np.arange(int(48000 * seconds)) / 48000
    noise = np.random.default_rng(seed).standard_normal(len(t))
    tones = sum(np.sin(2 * np.pi * f * (1 + seed) * t) for f in (110.0, 441.0, 2200.0, 9000.0))
    return (0.1 * tones + 0.05 * noise * (1.1 + np.sin(t))).astype(np.float32)


def reference(model, prepare, waves):
    """transformers' embeddings; no recording counts as longer than a window."""
    features = prepare(waves, sampling_rate=48000, return_tensors="pt")["input_features"]
    with torch.no_grad():
        pooled = model.audio_model(
            input_features=features.float(), is_longer=torch.zeros(len(waves), dtype=torch.bool)
        ).pooler_output
        return features.numpy(), model.audio_projection(pooled).numpy()


@pytest.mark.parametrize("fused", [False, True])
def test_spectrogram_and_embedding_equal_transformers(fused):
    model, prepare = small_model(fused), extractor(fused)
    waves = [heard(10), heard(3.3, 1)]
    features, expected = reference(model, prepare, waves)
    cfg = clap_audio_config(model.config.to_dict(), prepare.to_dict())
    windows = np.concatenate([clap_windows(w, cfg) for w in waves])
    np.testing.assert_allclose(np.asarray(clap_mel(windows, cfg)), features[:, 0], atol=2e-3)  # dB
    params = import_clap_audio(cfg, {k: v.numpy() for k, v in model.state_dict().items()})
    found = np.asarray(jax.jit(ClapAudioEncoder(cfg).apply)({"params": params}, windows))
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("padding", ["repeatpad", "repeat", "pad"])
def test_short_recordings_are_filled_up_as_transformers_does(padding):
    prepare, wave = extractor(padding=padding), heard(3.3)
    cfg = clap_audio_config({"audio_config": AUDIO}, prepare.to_dict())
    found = np.asarray(clap_mel(clap_windows(wave, cfg), cfg))
    np.testing.assert_allclose(found, prepare(wave, sampling_rate=48000)["input_features"][0], atol=2e-3)


def test_long_recordings_are_covered_by_windows_of_even_distance():
    wave = np.arange(48000 * 25, dtype=np.float32)
    starts = [window[0] for window in clap_windows(wave, CLAP_AUDIO)]
    assert starts == [0, 48000 * 7.5, 48000 * 15] and clap_windows(wave[: 48000 * 10], CLAP_AUDIO).shape[0] == 1
    with pytest.raises(ValueError, match="the recording is empty"):
        clap_windows(wave[:0], CLAP_AUDIO)


def test_bicubic_equals_pytorch():
    x = np.random.default_rng(0).standard_normal((1, 1, 11, 3)).astype(np.float32)
    expected = torch.nn.functional.interpolate(torch.tensor(x), (32, 3), mode="bicubic", align_corners=True)
    np.testing.assert_allclose(np.einsum("ot,bctf->bcof", bicubic(11, 32), x), expected.numpy(), atol=2e-6)


def test_full_size_is_the_published_models():
    """Every name and shape of the published architecture has its place, without memory."""
    with torch.device("meta"):
        model = transformers.ClapModel(transformers.ClapConfig())
    cfg = clap_audio_config(transformers.ClapConfig().to_dict(), extractor().to_dict())
    assert cfg == CLAP_AUDIO
    tensors = {k: np.broadcast_to(np.float32(0), v.shape) for k, v in model.state_dict().items()}
    wave = np.zeros((1, cfg.samples), np.float32)
    shapes = nn.meta.unbox(jax.eval_shape(ClapAudioEncoder(cfg).init, jax.random.key(0), wave))["params"]
    filled = jax.eval_shape(lambda: import_clap_audio(cfg, tensors))
    assert jax.tree.map(lambda x: x.shape, shapes) == jax.tree.map(lambda x: x.shape, filled)
    back = export_tensors(clap_audio_table(cfg), flax.traverse_util.flatten_dict(shapes_as_arrays(shapes), sep="/"))
    assert {k: v.shape for k, v in back.items()} == {k: tensors[k].shape for k in back}


def shapes_as_arrays(shapes):
    return jax.tree.map(lambda x: np.broadcast_to(np.float32(0), x.shape), shapes)


def test_from_a_folder_and_what_is_missing_or_strange_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    model, prepare = small_model(), extractor()
    with pytest.raises(MissingWeightsError, match="neither a folder with config.json, preprocessor_config.json"):
        load_clap_audio(str(tmp_path))
    model.save_pretrained(tmp_path)
    prepare.save_pretrained(tmp_path)
    encoder = ClapAudio(*load_clap_audio(str(tmp_path)), batch=2)
    long, short = encoder([heard(12), heard(0.5)])
    assert long.shape == (2, 12) and short.shape == (1, 12)
    _, expected = reference(model, prepare, [heard(0.5)])
    np.testing.assert_allclose(short[0], expected[0] / np.linalg.norm(expected[0]), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(long, axis=1), 1, atol=1e-5)
    config, settings = (json.loads((tmp_path / n).read_text()) for n in ("config.json", "preprocessor_config.json"))
    for field, value, message in (
        ("hidden_act", "relu", "hidden_act is 'relu'"),
        ("patch_stride", [2, 2], "only square ones side by side"),
        ("window_size", 7, "does not split into windows of 7"),
    ):
        changed = {**config, "audio_config": {**config["audio_config"], field: value}}
        with pytest.raises(ValueError, match=message):
            clap_audio_config(changed, settings)
    with pytest.raises(UnmatchedError):
        import_clap_audio(CLAP_AUDIO, {k: v.numpy() for k, v in model.state_dict().items()})

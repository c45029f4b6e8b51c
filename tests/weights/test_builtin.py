"""The models in the package: found by name, with a card, and as good as their cards say."""

import importlib.util
import re

import jax
import numpy as np
import pytest
from flax.linen import meta

from quarkaudio_jax.cli import decode, encode, tasks
from quarkaudio_jax.codec.variants import get_variant
from quarkaudio_jax.config import CodecConfig, CodecTrainConfig
from quarkaudio_jax.inference.codec import load_codec
from quarkaudio_jax.io import audio
from quarkaudio_jax.metrics import reconstruction
from quarkaudio_jax.weights.builtin import BUILTIN, DEFAULT_CODEC, TASK_MODELS, find_builtin
from quarkaudio_jax.weights.files import read_json
from quarkaudio_jax.weights.models import abstract_codec
from quarkaudio_jax.weights.pretrained import read_lm_folder
from quarkaudio_jax.weights.repository import locate, own_codec
from quarkaudio_jax.weights.saved_codec import read_codec_config, read_initial_codec

RESTORER = TASK_MODELS["restore"]


def on_card(row, name=DEFAULT_CODEC):
    """The value of a row of a model's card."""
    return re.search(rf"^\| {row} \| (.+) \|$", (BUILTIN[name] / "README.md").read_text(), re.M)[1]


def test_it_is_found_by_name(tmp_path, monkeypatch):
    assert locate(DEFAULT_CODEC) == BUILTIN[DEFAULT_CODEC] and find_builtin("quarkaudio/other") is None
    assert read_codec_config(DEFAULT_CODEC) == get_variant("hcodec_16k_small")
    monkeypatch.chdir(tmp_path)
    (tmp_path / DEFAULT_CODEC).mkdir(parents=True)  # a folder of the user's own
    assert find_builtin(DEFAULT_CODEC) is None


def test_its_files_are_small_and_its_card_says_what_it_is():
    assert sum(path.stat().st_size for path in BUILTIN[DEFAULT_CODEC].iterdir()) < 12e6
    assert read_json(BUILTIN[DEFAULT_CODEC] / "config.json")["variant"] == "hcodec_16k_small"
    assert on_card("license") == "apache-2.0" and int(on_card("steps")) > 1000
    assert on_card("data").startswith("synthetic") and float(on_card("seconds of audio seen")) > 10_000
    assert float(on_card("stoi")) > 0.8 and float(on_card("mel distance")) < 1.6


def test_it_initializes_training():
    cfg = CodecTrainConfig(codec=CodecConfig(variant="hcodec_16k_small"), ema_decay=0.9)
    abstract = meta.unbox(abstract_codec(cfg))
    seen = []
    model = read_initial_codec(DEFAULT_CODEC, abstract, seen.append)
    assert jax.tree.map(np.shape, model) == jax.tree.map(np.shape, abstract)
    assert [found.codec.variant for found in seen] == ["hcodec_16k_small"]
    averages = zip(jax.tree.leaves(model.params), jax.tree.leaves(model.ema), strict=True)
    assert all((a == b).all() for a, b in averages)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("pystoi") is None, reason="pystoi is missing")
def test_it_is_as_good_as_its_card_says(real_audio):
    """Two recordings that it never heard, of its card's mean STOI up to 0.05."""
    codec = load_codec(DEFAULT_CODEC)
    values = []
    for name in ("EN_prompt_1.wav", "EN_prompt_7.wav"):
        wave_S = audio.read_mono(real_audio / "speech" / name, codec.sample_rate)[0][: 4 * codec.sample_rate]
        out = codec.decode(codec.encode(wave_S, codec.sample_rate))
        decoded_S = out.samples_BxS[0, : len(wave_S)]
        values.append(reconstruction.stoi(wave_S, decoded_S, codec.sample_rate))
        assert reconstruction.mel_distance(wave_S, decoded_S, codec.sample_rate) < 2.0
    assert np.mean(values) == pytest.approx(float(on_card("stoi")), abs=0.05)


@pytest.mark.slow
def test_the_verbs_use_it_without_a_checkpoint(tmp_path, real_audio, capsys):
    source = real_audio / "speech" / "audio_speech_speech_01_edited.wav"
    encode.main(["quarkaudio encode", str(source), f"--output={tmp_path}"])
    decode.main(["quarkaudio decode", str(tmp_path / f"{source.stem}.qka"), f"--output={tmp_path}"])
    assert audio.info(tmp_path / source.name)[1] == 16000
    assert f"no --checkpoint: the built-in codec {DEFAULT_CODEC}" in capsys.readouterr().err


def test_the_restorer_is_small_and_its_card_says_what_it_does():
    folder = BUILTIN[RESTORER]
    assert sum(path.stat().st_size for path in folder.iterdir()) < 20e6
    assert on_card("license", RESTORER) == "apache-2.0" and int(on_card("steps", RESTORER)) > 1000
    before, after = re.match(r"([\d.]+) before, ([\d.]+) after", on_card("mel distance", RESTORER)).groups()
    assert float(after) < float(before)


@pytest.mark.slow
def test_the_restorer_goes_with_the_codec_in_the_package():
    cfg, _ = read_lm_folder(BUILTIN[RESTORER])
    assert own_codec(BUILTIN[RESTORER] / "model.safetensors") == DEFAULT_CODEC
    assert cfg.dataset.codec_weights == load_codec(DEFAULT_CODEC, encoding=False).fingerprint()
    assert cfg.dataset.tasks == ("restoration",)


@pytest.mark.slow
def test_restore_uses_it_without_a_checkpoint(tmp_path, real_audio, capsys):
    """A real noisy recording becomes quieter where nobody speaks, and keeps its length."""
    source = sorted((real_audio / "tasks" / "sr" / "noisy").glob("*.wav"))[0]
    tasks.main(["quarkaudio", "restore", str(source), f"--output={tmp_path}"])
    assert f"no --checkpoint: the built-in model {RESTORER}" in capsys.readouterr().err
    noisy_S = audio.read_mono(source, 16000)[0]
    found_S = audio.read_mono(tmp_path / source.name, 16000)[0]
    assert len(found_S) == len(noisy_S)

    def floor(wave_S):
        """The level of the quietest tenth of frames of 20 ms, in dB below the mean."""
        power = (wave_S[: len(wave_S) // 320 * 320].reshape(-1, 320) ** 2).mean(1) + 1e-12
        return 10 * np.log10(power.mean() / np.quantile(power, 0.1))

    assert floor(found_S) > floor(noisy_S) + 3

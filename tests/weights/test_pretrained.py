"""Folders of save_pretrained, and models by name from a hub on loopback."""

import json
import os
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import soundfile

import quarkaudio_jax
from quarkaudio_jax.cli import convert
from quarkaudio_jax.errors import UserError
from quarkaudio_jax.weights.builtin import BUILTIN
from quarkaudio_jax.weights.files import read_json
from quarkaudio_jax.weights.pretrained import read_lm_folder
from quarkaudio_jax.weights.repository import own_codec
from quarkaudio_jax.weights.saved_lm import read_lm
from tests.weights.hub_server import serve

ROOT = pathlib.Path(__file__).parents[2]
WAVE = 0.1 * np.random.default_rng(0).standard_normal(24000, dtype=np.float32)


def export(*arguments):
    convert.main(["quarkaudio convert", "export", *map(str, arguments), "--format=hub"])


@pytest.fixture(scope="module")
def codec_folder(trained, tmp_path_factory):
    folder = tmp_path_factory.mktemp("hub") / "codec"
    export(trained, "--output", folder, "--license=cc-by-4.0")
    return folder


def test_a_codec_is_written_with_what_is_known_of_it(codec_folder, trained):
    config = read_json(codec_folder / "config.json")
    assert config["model_type"] == "quarkaudio_hcodec" and config["variant"] == "hcodec_48k_tiny_faded"
    assert (config["sample_rate"], config["frame_rate"], config["feature_recipe"]) == (48000, 12.5, "mel")
    card = (codec_folder / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: quarkaudio_jax\nlicense: cc-by-4.0\n")
    for row in ("| steps | 2 |", "| data | embedded:speech", "| license | cc-by-4.0 |", "| heldout/mel distance | "):
        assert row in card
    logged = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    value = next(row["heldout/mel_distance"] for row in logged[::-1] if "heldout/mel_distance" in row)
    assert f"| heldout/mel distance | {round(value, 4)} |" in card


@pytest.mark.slow
def test_a_saved_codec_is_read_again(codec_folder, trained, tmp_path):
    codec = quarkaudio_jax.load_codec(trained)
    codec.save_pretrained(tmp_path / "saved", {"data": "noise"})
    assert "| data | noise |" in (tmp_path / "saved" / "README.md").read_text()
    codes = codec.encode(WAVE, 48000)
    for folder in (codec_folder, tmp_path / "saved", codec_folder / "model.safetensors"):
        again = quarkaudio_jax.load_codec(folder)
        assert again.fingerprint() == codec.fingerprint() and again.extractor.name == "mel"
    np.testing.assert_array_equal(again.encode(WAVE, 48000).acoustic_BxTxK, codes.acoustic_BxTxK)


@pytest.mark.slow
def test_a_saved_language_model_brings_its_codec(trained_lm, trained, tmp_path):
    model = quarkaudio_jax.load_task_model(trained_lm, trained)
    model.save_pretrained(tmp_path / "saved", {"license": "mit"})
    export(trained_lm, "--codec", trained, "--output", tmp_path / "exported")
    expected = model("restoration", WAVE, 48000)
    for folder in (tmp_path / "saved", tmp_path / "exported"):
        again = quarkaudio_jax.load_task_model(folder)
        np.testing.assert_array_equal(again("restoration", WAVE, 48000), expected)
    assert "| steps | 4 |" in (tmp_path / "exported" / "README.md").read_text()
    cfg, _ = read_lm_folder(tmp_path / "exported")
    assert cfg.data.folder == "" and cfg.dataset == model.cfg.dataset
    with pytest.raises(UserError, match="is a training run without a codec"):
        quarkaudio_jax.load_task_model(trained_lm)
    with pytest.raises(SystemExit, match="is a language model: name the codec of its data, --codec=CODEC"):
        export(trained_lm, "--output", tmp_path / "without")
    assert not (tmp_path / "without").exists()


@pytest.mark.slow
def test_a_saved_language_model_names_a_built_in_codec(codec_folder, trained_lm, tmp_path, monkeypatch):
    """Instead of a copy of it; in bfloat16."""
    monkeypatch.setitem(BUILTIN, "quarkaudio/mine", codec_folder)
    export(trained_lm, "--codec=quarkaudio/mine", "--dtype=bfloat16", "--output", tmp_path / "lm")
    assert sorted(path.name for path in (tmp_path / "lm").iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
    ]
    assert own_codec(tmp_path / "lm" / "model.safetensors") == "quarkaudio/mine"
    model = quarkaudio_jax.load_task_model(tmp_path / "lm")
    stored, whole = read_lm_folder(tmp_path / "lm")[1], read_lm(trained_lm)[1]
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a, np.asarray(jnp.bfloat16(b), np.float32)), stored, whole)
    assert np.isfinite(model("restoration", WAVE, 48000)).all()


def test_what_is_not_a_saved_model_is_named(codec_folder, trained, tmp_path):
    with pytest.raises(UserError, match="has no language model: its config.json has no model_type 'quarkaudio_lm'"):
        read_lm_folder(codec_folder)
    with pytest.raises(SystemExit, match="is not empty"):
        export(trained, "--output", codec_folder)
    with pytest.raises(SystemExit, match="is a codec: leave --codec out"):
        export(trained, "--output", tmp_path / "x", "--codec", trained)
    with pytest.raises(SystemExit, match="is not a folder of `convert export --format=hub`"):
        convert.main(["quarkaudio convert", "push", str(trained), "org/name"])
    with pytest.raises(SystemExit, match="is not the name of a hub model: ORG/NAME"):
        convert.main(["quarkaudio convert", "push", str(codec_folder), "name"])


@pytest.mark.slow
def test_a_model_by_name_from_the_hub_and_from_its_cache(codec_folder, trained, tmp_path):
    """Pushed, then used by name in other processes; the last with the hub gone."""
    pytest.importorskip("huggingface_hub")
    soundfile.write(tmp_path / "in.wav", WAVE, 48000)
    env = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
    env |= dict(HF_HOME=str(tmp_path / "home"), HF_HUB_DISABLE_XET="1", HF_TOKEN="hf_x", HF_HUB_DISABLE_TELEMETRY="1")

    def call(*arguments, status=0):
        command = [sys.executable, "-m", "quarkaudio_jax", *map(str, arguments)]
        done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
        assert done.returncode == status, done.stderr
        return done.stdout + done.stderr

    def codes(checkpoint, name):
        said = call("encode", tmp_path / "in.wav", "--checkpoint", checkpoint, "--output", tmp_path / name)
        return (tmp_path / name / "in.qka").read_bytes(), said

    expected, _ = codes(trained, "local")
    with serve() as hub:
        env["HF_ENDPOINT"] = hub.url
        call("convert", "push", codec_folder, "org/codec@v1")
        assert sorted(hub.files["org/codec"]) == ["README.md", "config.json", "model.safetensors"]
        assert hub.files["org/codec"]["model.safetensors"] == (codec_folder / "model.safetensors").read_bytes()
        hub.files["org/codec"]["big.wav"] = b"not needed"
        hub.revisions.clear()
        found, said = codes("org/codec@v1", "online")
        assert found == expected and "org/codec: model.safetensors, license: cc-by-4.0" in said
        assert sorted(set(hub.downloads)) == ["README.md", "config.json", "model.safetensors"]
        assert "v1" in hub.revisions
        said = call("decode", tmp_path / "online", "--checkpoint=org/none", "--output", tmp_path / "o", status=1)
        assert "org/none: no such file or folder, not in the Hugging Face cache, and not read from the hub" in said
        call("convert", "import", "org/codec@v1", "--output", tmp_path / "run")
        about = read_json(tmp_path / "run" / "about.json")
        assert (about["source"], about["license"]) == ("org/codec@v1", "cc-by-4.0")
    assert codes("org/codec@v1", "gone")[0] == expected  # the hub does not answer
    env["HF_HUB_OFFLINE"] = "1"
    assert codes("org/codec@v1", "offline")[0] == expected


@pytest.mark.parametrize("option", ["--dtype=bfloat16", "--detail=data=mine"])
def test_options_of_the_hub_folder_are_refused_elsewhere(option, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        convert.main(
            ["quarkaudio convert", "export", "none", f"--output={tmp_path / 'a.pt'}", "--format=torch", option]
        )
    assert ended.value.code == 2
    assert "--dtype and --detail are for --format=hub, not torch" in capsys.readouterr().err

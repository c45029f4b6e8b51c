"""Hub names, and the files of a repository that a model needs."""

import pytest

from quarkaudio_jax.weights.repository import HubError, HubName, parse_hub_name, select_files

SPARK = (
    *("README.md", "config.yaml", "BiCodec/config.yaml", "BiCodec/model.safetensors", "LLM/config.json"),
    *("LLM/model.safetensors", "LLM/tokenizer.json", "wav2vec2-large-xlsr-53/pytorch_model.bin"),
)
"""Files of a repository with several models, as the one that BiCodec was published in."""


@pytest.mark.parametrize(
    "text, name",
    [
        ("Org/H-Codec-2.0", HubName("Org/H-Codec-2.0")),
        ("org/name@v1.0", HubName("org/name", "v1.0")),
        ("org/name@refs/pr/1:a/b.ckpt", HubName("org/name", "refs/pr/1", "a/b.ckpt")),
        ("org/name:sub/", HubName("org/name", "", "sub")),
        ("runs/mine", None),  # a typing error in the name of a local folder, not a model of the hub
        ("./org/name", None),
        ("../name", None),
        ("~/name", None),
        ("/org/name", None),
        ("name", None),
        ("a/b/c", None),
    ],
)
def test_hub_names(text, name, tmp_path, monkeypatch):
    (tmp_path / "runs").mkdir()
    monkeypatch.chdir(tmp_path)
    assert parse_hub_name(text) == name


@pytest.mark.parametrize(
    "path, files, wanted",
    [
        ("", ["README.md", "x/codec.ckpt", "demo.wav"], ["x/codec.ckpt"]),
        ("", ["config.json", "model.safetensors", "pytorch_model.bin"], ["model.safetensors", "config.json"]),
        (
            "",
            ["config.json", "model.safetensors", "codec/config.json", "codec/model.safetensors", "codec/README.md"],
            ["model.safetensors", "config.json", "codec/config.json", "codec/model.safetensors"],
        ),
        ("BiCodec", SPARK, ["BiCodec/model.safetensors", "BiCodec/config.yaml"]),
        ("a.ckpt", ["a.ckpt", "b.ckpt", "conf.yaml"], ["a.ckpt", "conf.yaml"]),
    ],
)
def test_only_needed_files_are_chosen(path, files, wanted):
    assert select_files(HubName("org/name", "", path), files) == wanted


@pytest.mark.parametrize(
    "path, files, message",
    [
        ("", SPARK, "org/name has several models; choose one: org/name:BiCodec/model.safetensors, org/name:LLM/"),
        ("", ["README.md"], "org/name has no weight file .*, only: README.md"),
        ("", [], "only: no files"),
        ("c.ckpt", ["a.ckpt"], "org/name:c.ckpt has no weight file .*, only: a.ckpt"),
    ],
)
def test_what_is_not_there_is_named(path, files, message):
    with pytest.raises(HubError, match=message):
        select_files(HubName("org/name", "", path), files)

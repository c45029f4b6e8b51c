"""Hugging Face models by hub name: from the cache alone unless downloads are allowed; failures say what failed."""

import json

import pytest

from quarkaudio_jax.weights import hub
from quarkaudio_jax.weights.hub import MissingWeightsError, find_model
from quarkaudio_jax.weights.names import WeightFileError

library = pytest.importorskip("huggingface_hub")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache, and a network that fails a test which touches it."""
    from huggingface_hub import constants

    def network(*_, **__):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(library.HfApi, "list_repo_files", network)
    monkeypatch.setattr(library, "snapshot_download", network)
    monkeypatch.delenv(hub.DOWNLOAD, raising=False)
    return tmp_path / "cache"


def find(source, **options):
    return find_model(str(source), ["config.json"], "features 'x'", "org/usual", "--features=FOLDER", **options)


def cached(cache, name, files):
    folder = cache / f"models--{name.replace('/', '--')}"
    snapshot = folder / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("0" * 40)
    for file in files:
        (snapshot / file).write_text("{}")
    return snapshot


def test_nothing_is_downloaded_unasked(cache):
    with pytest.raises(MissingWeightsError, match=r"nor in the Hugging Face cache\. Download .*QUARKAUDIO_DOWNLOAD=1"):
        find("org/model")
    snapshot = cached(cache, "org/model", ["config.json", "model.safetensors"])
    assert find("org/model").weights == snapshot / "model.safetensors"


def test_shards_count_as_weights(cache):
    snapshot = cached(cache, "org/model", ["config.json", "pytorch_model.bin.index.json"])
    assert find("org/model").weights == snapshot / "pytorch_model.bin.index.json"


@pytest.mark.parametrize("allowed", ["argument", "environment"])
def test_what_failed_is_said(allowed, monkeypatch):
    from huggingface_hub.errors import OfflineModeIsEnabled

    def offline(*_, **__):
        raise OfflineModeIsEnabled("the hub can't be reached: HF_HUB_OFFLINE is set")

    monkeypatch.setattr(library.HfApi, "list_repo_files", offline)
    if allowed == "environment":
        monkeypatch.setenv(hub.DOWNLOAD, "1")
    with pytest.raises(MissingWeightsError, match="download failed: OfflineModeIsEnabled: the hub can't be reached"):
        find("org/model", download=allowed == "argument")


def test_faults_of_ours_are_not_swallowed(monkeypatch):
    def broken(*_, **__):
        raise TypeError("a fault")

    monkeypatch.setattr(library, "try_to_load_from_cache", broken)
    with pytest.raises(TypeError, match="a fault"):
        find("org/model")


def test_one_copy_of_the_weights_is_downloaded(monkeypatch, tmp_path):
    asked = {}
    (tmp_path / "there").mkdir()
    for file in ("config.json", "model.safetensors"):
        (tmp_path / "there" / file).write_text("{}")
    files = ["config.json", "model.safetensors", "pytorch_model.bin", "tf_model.h5"]
    monkeypatch.setattr(library.HfApi, "list_repo_files", lambda self, name: files)
    monkeypatch.setattr(
        library,
        "snapshot_download",
        lambda name, allow_patterns: asked.update({name: allow_patterns}) or str(tmp_path / "there"),
    )
    assert find("org/model", download=True).folder == tmp_path / "there"
    assert asked == {"org/model": ["config.json", "model.safetensors"]}


def test_a_name_that_is_no_name(tmp_path):
    with pytest.raises(MissingWeightsError, match=r"no name of a hub model \(ORGANIZATION/NAME\)"):
        find(tmp_path / "a" / "none")


@pytest.mark.parametrize(
    "text, message",
    [
        ("{", "not JSON"),
        ("[]", "holds a list, not an object"),
        ("{}", "there is no 'hidden_size' in it"),
        (json.dumps({"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 3,
                     "conv_dim": 7}), "a field is of the wrong type"),
    ],
)  # fmt: skip
def test_damaged_settings_are_named(text, message, tmp_path):
    from quarkaudio_jax.weights.ssl import load_extractor

    (tmp_path / "model.safetensors").write_text("{}")
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(WeightFileError, match=rf"config.json: .*{message}"):
        load_extractor("hubert", tmp_path)

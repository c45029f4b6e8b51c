"""convert: PyTorch weights in and out, refused when they don't fit or can't be trusted."""

import json
import pickle
import shutil
import sys

import numpy as np
import pytest

import quarkaudio_jax
from quarkaudio_jax.cli import convert
from quarkaudio_jax.codec.variants import get_variant
from quarkaudio_jax.errors import QuarkAudioError
from quarkaudio_jax.types import Codes
from quarkaudio_jax.weights import files
from quarkaudio_jax.weights.checkpoint import CheckpointError, find_checkpoint
from quarkaudio_jax.weights.files import read_tensors, write_tensors
from quarkaudio_jax.weights.hcodec import export_hcodec
from quarkaudio_jax.weights.saved_codec import read_any_codec, read_codec
from tests.parity.codecs import golden_state_dict

VARIANTS = ["hcodec_16k_tiny", "hcodec_16k_adaptive_tiny", "hcodec_48k_tiny"]


def call(*args):
    convert.main(["quarkaudio convert", *map(str, args)])


def equal(a, b):
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)
        assert a[name].dtype == b[name].dtype


@pytest.mark.parametrize("variant", [VARIANTS[0], *(pytest.param(v, marks=pytest.mark.slow) for v in VARIANTS[1:])])
def test_import_then_export_gives_every_tensor_back(variant, tmp_path, capsys):
    state = golden_state_dict(get_variant(variant))
    write_tensors(tmp_path / "in.safetensors", state)
    call("import", tmp_path / "in.safetensors", "--output", tmp_path / "run", "--license", "Apache-2.0")
    assert f"in.safetensors: {variant}, {len(state)} tensors" in capsys.readouterr().out
    about = json.loads((tmp_path / "run" / "about.json").read_text())
    assert about["variant"] == variant and about["license"] == "Apache-2.0" and len(about["sha256"]) == 64
    call("export", tmp_path / "run", "--output", tmp_path / "out.safetensors")
    equal(read_tensors(tmp_path / "out.safetensors"), state)
    with pytest.raises(SystemExit, match="exists already"):
        call("import", tmp_path / "in.safetensors", "--output", tmp_path / "run")


def test_averaged_weights_are_exported_unless_told_otherwise(trained, tmp_path):
    call("export", trained, "--output", tmp_path / "average.safetensors")
    call("export", trained, "--no-average", "--output", tmp_path / "plain.safetensors")
    average, plain = (read_tensors(tmp_path / f"{n}.safetensors") for n in ("average", "plain"))
    assert np.abs(average["encoder.out.conv.weight"] - plain["encoder.out.conv.weight"]).max() > 0
    with pytest.raises(SystemExit, match=r"should end in .safetensors, .pt or .pth"):
        call("export", trained, "--output", tmp_path / "x.onnx")


@pytest.mark.slow
def test_an_export_says_that_its_front_end_is_not_the_published_one(trained, tmp_path, capsys):
    call("export", trained, "--output", tmp_path / "a.safetensors")
    assert "note: hcodec_48k_tiny_faded fades phases" in capsys.readouterr().out
    cfg, variables, _ = read_any_codec(tmp_path / "a.safetensors")
    assert cfg == read_codec(trained)[0] == get_variant("hcodec_48k_tiny_faded")
    call("import", tmp_path / "a.safetensors", "--output", tmp_path / "run")
    assert read_codec(tmp_path / "run")[0] == cfg
    write_tensors(tmp_path / "b.safetensors", export_hcodec(get_variant("hcodec_48k_tiny"), variables))
    call("import", tmp_path / "b.safetensors", "--output", tmp_path / "plain")
    call("export", tmp_path / "plain", "--output", tmp_path / "c.safetensors")
    assert "note:" not in capsys.readouterr().out


@pytest.mark.slow
def test_what_does_not_fit_is_named_and_nothing_is_written(tmp_path):
    state = golden_state_dict(get_variant("hcodec_16k_tiny"))
    del state["decoder.head.out.bias"]
    state["decoder.extra.weight"] = np.zeros(3, np.float32)
    write_tensors(tmp_path / "in.safetensors", state)
    with pytest.raises(SystemExit) as error:
        call("import", tmp_path / "in.safetensors", "--output", tmp_path / "run")
    text = str(error.value)
    assert "closest is hcodec_16k_tiny" in text and "decoder.head.out.bias" in text and "decoder.extra.weight" in text
    assert not (tmp_path / "run").exists()
    (tmp_path / "bad.safetensors").write_bytes(b"nonsense")
    for name, message in (("bad.safetensors", "can't be read as safetensors"), ("none.pt", "no such file")):
        with pytest.raises(SystemExit, match=message):
            call("import", tmp_path / name, "--output", tmp_path / "run")


class TestPyTorchFiles:
    @pytest.fixture(autouse=True)
    def torch(self):
        return pytest.importorskip("torch", reason="reading and writing PyTorch files needs PyTorch")

    def test_lightning_checkpoints_and_state_dicts(self, torch, tmp_path):
        state = golden_state_dict(get_variant("hcodec_16k_tiny"))
        tensors = {k: torch.from_numpy(v) for k, v in state.items()}
        wrapped = {f"generator.{k}": v for k, v in tensors.items()} | {"discriminator.x": torch.zeros(3)}
        torch.save({"state_dict": wrapped, "epoch": 3, "global_step": 10}, tmp_path / "a.ckpt")
        torch.save(tensors, tmp_path / "b.pt")
        torch.save({"model": {f"module.{k}": v for k, v in tensors.items()}}, tmp_path / "c.pth")
        for name in ("a.ckpt", "b.pt", "c.pth"):
            equal(read_tensors(tmp_path / name), state)

    def test_pt_files_load_as_plain_weights(self, torch, tmp_path):
        state = golden_state_dict(get_variant("hcodec_16k_tiny"))
        write_tensors(tmp_path / "a.pt", state)
        equal({k: v.numpy() for k, v in torch.load(tmp_path / "a.pt", weights_only=True).items()}, state)

    def test_a_hostile_pickle_is_refused(self, torch, tmp_path):
        touched = tmp_path / "touched"

        class Hostile:
            def __reduce__(self):
                return (touched.touch, ())

        (tmp_path / "a.pt").write_bytes(pickle.dumps({"state_dict": Hostile()}))
        torch.save({"state_dict": Hostile()}, tmp_path / "b.pt")
        (tmp_path / "c.pt").write_bytes(b"PK nonsense")
        for name, message in (("a.pt", "refused"), ("b.pt", "refused"), ("c.pt", "can't be read as a PyTorch file")):
            with pytest.raises(SystemExit, match=message):
                call("import", tmp_path / name, "--output", tmp_path / "run")
        assert not touched.exists()

    def test_without_torch_the_error_says_so(self, torch, tmp_path, monkeypatch):
        torch.save({"a": torch.zeros(1)}, tmp_path / "a.pt")
        monkeypatch.setitem(sys.modules, "torch", None)
        with pytest.raises(files.WeightFileError, match="needs PyTorch"):
            read_tensors(tmp_path / "a.pt")


@pytest.mark.slow
def test_an_imported_checkpoint_is_ready_to_use(tmp_path, monkeypatch):
    cfg = get_variant("hcodec_16k_tiny")
    state = golden_state_dict(cfg)
    write_tensors(tmp_path / "in.safetensors", state)
    call("import", tmp_path / "in.safetensors", "--output", tmp_path / "run")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(FileNotFoundError, match="bosonai/hubert_base"):
        quarkaudio_jax.load_codec(tmp_path / "run")
    silent = quarkaudio_jax.load_codec(tmp_path / "run", encoding=False)  # decoding needs no SSL model
    from_file = quarkaudio_jax.load_codec(tmp_path / "in.safetensors", encoding=False)
    assert silent.fingerprint() == from_file.fingerprint() == 0x19D7355C  # on every platform and version
    codes = np.zeros((1, 3, 4), np.int32)
    assert silent.decode(Codes(codes, codes, silent.frame_rate)).samples_BxS.shape == (1, 1920)
    with pytest.raises(ValueError, match="need the weights of bosonai/hubert_base"):
        silent.encode(np.zeros(640, np.float32))
    exported = export_hcodec(cfg, read_codec(tmp_path / "run")[1])
    equal(exported, state)


@pytest.mark.slow
def test_an_export_keeps_its_feature_recipe(trained, tmp_path, caplog):
    """A codec trained on mel, written and read again, encodes with mel: bitwise the same weights, the same codes."""
    pytest.importorskip("torch")
    codec = quarkaudio_jax.load_codec(trained)
    wave = 0.1 * np.random.default_rng(0).standard_normal(codec.sample_rate // 2, dtype=np.float32)
    codes = codec.encode(wave)
    for name in ("a.safetensors", "a.pt"):
        call("export", trained, "--output", tmp_path / name)
        call("import", tmp_path / name, "--output", tmp_path / f"run_{name}")
        for source in (tmp_path / name, tmp_path / f"run_{name}"):
            again = quarkaudio_jax.load_codec(source)
            assert again.extractor.name == "mel" and again.fingerprint() == codec.fingerprint()
    assert "assuming" not in caplog.text
    np.testing.assert_array_equal(again.encode(wave).semantic_BxTxK, codes.semantic_BxTxK)


def test_a_file_that_does_not_tell_its_features(tmp_path, caplog):
    write_tensors(tmp_path / "in.safetensors", golden_state_dict(get_variant("hcodec_16k_tiny")))
    with pytest.raises(FileNotFoundError, match="bosonai/hubert_base"):
        quarkaudio_jax.load_codec(tmp_path / "in.safetensors")
    assert "does not record the features its codec was trained on; assuming hubert" in caplog.text
    write_tensors(tmp_path / "b.safetensors", read_tensors(tmp_path / "in.safetensors"), {"feature_recipe": "mell"})
    with pytest.raises(QuarkAudioError, match="recipe 'mell' is not known"):
        quarkaudio_jax.load_codec(tmp_path / "b.safetensors")


def test_an_unknown_variant_in_a_checkpoint_is_named(trained, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(find_checkpoint(trained), folder)
    (config,) = (p for p in (folder / "config").rglob("*") if p.is_file() and "hcodec_48k_tiny_faded" in p.read_text())
    config.write_text(config.read_text().replace("hcodec_48k_tiny_faded", "hcodec_99k"))
    with pytest.raises(CheckpointError, match=r"run: codec 'hcodec_99k' is not known; choose one of"):
        quarkaudio_jax.load_codec(folder)

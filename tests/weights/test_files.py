"""Weight files as people have them: read under the public names, or refused in one line."""

import argparse
import collections
import itertools
import json
import os
import pathlib
import random
import sys

import numpy as np
import pytest
from safetensors.numpy import save_file

from quarkaudio_jax.codec.variants import get_variant
from quarkaudio_jax.errors import QuarkAudioError
from quarkaudio_jax.weights.files import open_weights, read_tensors, write_tensors
from quarkaudio_jax.weights.hcodec import import_hcodec
from quarkaudio_jax.weights.names import WeightFileError, canonical
from quarkaudio_jax.weights.rules import UnmatchedError
from tests.parity.codecs import golden_state_dict

TINY = get_variant("hcodec_48k_tiny")
SMALL = {"encoder.a.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "decoder.b": np.ones(4, np.float32)}


@pytest.fixture(scope="module")
def state():
    return golden_state_dict(TINY)


@pytest.fixture
def torch():
    return pytest.importorskip("torch", reason="reading and writing PyTorch files needs PyTorch")


def equal(a, b):
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision(dtype, state, torch, tmp_path):
    """The windows are compared as the dtype can hold them; a window of another shape or value is still refused."""
    half = {k: torch.from_numpy(v).to(getattr(torch, dtype)) for k, v in state.items()}
    torch.save(half, tmp_path / "a.pt")
    variables = import_hcodec(TINY, open_weights(tmp_path / "a.pt").tensors)
    want = import_hcodec(TINY, {k: v.float().numpy() for k, v in half.items()} | windows(state))
    np.testing.assert_array_equal(
        variables["params"]["encoder"]["embed"]["kernel"], want["params"]["encoder"]["embed"]["kernel"]
    )
    half["decoder.head.istft.window"] = half["decoder.head.istft.window"].roll(1)
    torch.save(half, tmp_path / "b.pt")
    with pytest.raises(UnmatchedError, match="window is not the constant"):
        import_hcodec(TINY, open_weights(tmp_path / "b.pt").tensors)


def windows(state):
    return {k: v for k, v in state.items() if k.endswith("window")}


def test_half_precision_safetensors(tmp_path):
    import ml_dtypes

    save_file({"a": np.full(3, 1.5, ml_dtypes.bfloat16), "b": np.full(3, 0.1, np.float16)}, tmp_path / "a.safetensors")
    found = open_weights(tmp_path / "a.safetensors").tensors
    assert found["a"].dtype == "bfloat16" and np.asarray(found["a"]).dtype == np.float32
    np.testing.assert_array_equal(found["b"], np.float32(np.float16(0.1)) * np.ones(3))


@pytest.mark.parametrize("prefix", ["".join(p) for n in (1, 2, 3) for p in itertools.permutations(
    ("module.", "_orig_mod.", "codec.", "model.", "dnn."), n)])  # fmt: skip
def test_prefixes_in_any_order(prefix):
    tensors, notes = canonical({prefix + name: value for name, value in SMALL.items()})
    assert tensors.keys() == SMALL.keys() and not notes


def test_wrappers_within_names_and_training_state_beside():
    inside = {"generator.encoder._orig_mod.a.module.weight": 1, "generator.module.decoder.b": 2, "mpd.x": 3}
    tensors, notes = canonical({f"module.{name}": value for name, value in inside.items()})
    assert tensors == {"encoder.a.weight": 1, "decoder.b": 2}
    assert notes == ["1 tensors beside generator.* are ignored: mpd.x"]
    with pytest.raises(WeightFileError, match="encoder.a and module.encoder.a are both encoder.a"):
        canonical({"encoder.a": 1, "module.encoder.a": 2})


def test_both_ways_to_write_a_normalized_kernel():
    new = {"encoder.conv.parametrizations.weight.original0": 1, "encoder.conv.parametrizations.weight.original1": 2}
    assert canonical(new)[0] == {"encoder.conv.weight_g": 1, "encoder.conv.weight_v": 2}


def test_harmless_buffers_are_named():
    extra = {"encoder.bn.num_batches_tracked": 0, "decoder.position_ids": 0, "total_ops": 0}
    tensors, notes = canonical(SMALL | extra)
    assert tensors.keys() == SMALL.keys()
    assert notes == [
        "3 buffers that the model computes itself are ignored: decoder.position_ids, encoder.bn.num_batches_tracked, "
        "total_ops"
    ]


@pytest.mark.parametrize("kind", ["model.safetensors", "pytorch_model.bin"])
def test_shards_with_an_index(kind, tmp_path, torch):
    stem, suffix = kind.rsplit(".", 1)
    places = {}
    for i, (name, value) in enumerate(SMALL.items()):
        shard = places[name] = f"{stem}-0000{i}-of-00002.{suffix}"
        if suffix == "bin":
            torch.save({name: torch.from_numpy(value)}, tmp_path / shard)
        else:
            save_file({name: value}, tmp_path / shard)
    index = tmp_path / f"{kind}.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": places}))
    equal(read_tensors(index), SMALL)
    (tmp_path / places["decoder.b"]).unlink()
    with pytest.raises(WeightFileError, match=r"-of-00002.* is not beside it; download all shards"):
        open_weights(index)
    for wrong, message in (("../x.bin", "no weight file beside it"), ("/etc/passwd", "no weight file beside it")):
        index.write_text(json.dumps({"weight_map": {"a": wrong}}))
        with pytest.raises(WeightFileError, match=message):
            open_weights(index)
    for text in ("[1]", "{", '{"weight_map": 3}'):
        index.write_text(text)
        with pytest.raises(WeightFileError, match=r"index.json: "):
            open_weights(index)


@pytest.mark.parametrize("name", ["a.safetensors", "a.pt", "a.bin"])
def test_what_is_no_weights_is_said(name, tmp_path):
    path = tmp_path / name
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00ff\nsize 377569754\n")
    with pytest.raises(WeightFileError, match=r"a Git LFS pointer, not the weights of 360.1 MiB; .*git lfs pull"):
        open_weights(path)
    path.write_text("<!doctype html><html>")
    with pytest.raises(WeightFileError, match="a web page"):
        open_weights(path)
    path.write_bytes(b"")
    with pytest.raises(WeightFileError, match="empty"):
        open_weights(path)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_tensors_that_are_not_finite_are_named(value, state):
    bad = {k: v.copy() for k, v in state.items()}
    bad["decoder.head.out.bias"][3] = value
    bad["quantizer.layers.1._codebook.embed"][0, 5, 1] = value
    with pytest.raises(UnmatchedError) as error:
        import_hcodec(TINY, bad)
    text = str(error.value)
    assert "2 tensors hold NaN or infinity" in text
    assert "decoder.head.out.bias" in text and "quantizer.layers.1._codebook.embed" in text
    bad = state | {"decoder.head.out.bias": np.zeros(len(state["decoder.head.out.bias"]), np.int64)}
    with pytest.raises(UnmatchedError, match=r"no real numbers: decoder.head.out.bias \(int64\)"):
        import_hcodec(TINY, bad)


class Foreign:
    """A class that no weight file has reason to hold."""


class TestPickles:
    @pytest.fixture(autouse=True)
    def with_torch(self, torch):
        self.torch = torch
        self.tensors = {name: torch.from_numpy(value) for name, value in SMALL.items()}

    def test_settings_of_a_run_are_passed_over(self, tmp_path):
        """As Lightning writes UniSE: a path in the hyper-parameters, and the SSL model beside the language model."""
        settings = argparse.Namespace(folder=pathlib.Path("/data"), nested={"a": pathlib.PurePosixPath("b")})
        hyper = {"config": {"ckpt_dir": pathlib.Path("/logs/x")}, "args": settings}
        hyper["counts"] = collections.defaultdict(int, a=1)
        names = {f"dnn.{name}": value for name, value in self.tensors.items()}
        beside = {"semantic_model.encoder.weight": self.torch.zeros(2)}
        self.torch.save({"state_dict": names | beside, "hyper_parameters": hyper, "epoch": 1}, tmp_path / "a.ckpt")
        found = open_weights(tmp_path / "a.ckpt")
        equal({k: np.asarray(v) for k, v in found.tensors.items()}, SMALL)
        assert found.notes == ["1 tensors beside dnn.* are ignored: semantic_model.encoder.weight"]

    def test_another_class_is_refused_by_name(self, tmp_path):
        self.torch.save({"state_dict": self.tensors, "hyper_parameters": {"x": Foreign()}}, tmp_path / "a.ckpt")
        with pytest.raises(WeightFileError) as error:
            open_weights(tmp_path / "a.ckpt")
        text = str(error.value)
        assert "contains more than weights (tests.weights.test_files.Foreign)" in text
        assert "\x1b" not in text and "\n" not in text

    def test_what_a_file_says_of_itself_is_kept_and_loads_strictly(self, tmp_path):
        told = {"feature_recipe": "mel", "variant": "x"}
        os.umask(umask := os.umask(0))
        for name in ("a.pt", "a.pth", "a.safetensors"):
            write_tensors(tmp_path / name, SMALL, told)
            found = open_weights(tmp_path / name)
            assert found.metadata == told
            assert (tmp_path / name).stat().st_mode & 0o777 == 0o666 & ~umask
            equal({k: np.asarray(v) for k, v in found.tensors.items()}, SMALL)
        nn = self.torch.nn
        module = nn.Module()
        module.encoder, module.decoder = nn.ModuleDict({"a": nn.Linear(3, 2, bias=False)}), nn.Module()
        module.decoder.b = nn.Parameter(self.torch.zeros(4))
        loaded = self.torch.load(tmp_path / "a.pt", weights_only=True)
        module.load_state_dict(loaded, strict=True)
        np.testing.assert_array_equal(module.encoder["a"].weight.detach(), SMALL["encoder.a.weight"])

    def test_writing_without_torch_is_one_line(self, tmp_path, monkeypatch):
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        with pytest.raises(WeightFileError, match=r"writing .pt needs PyTorch \(pip install torch\); or name it"):
            write_tensors(tmp_path / "a.pt", SMALL)
        assert not list(tmp_path.iterdir())

    def test_reading_without_torch_is_one_line(self, tmp_path, monkeypatch):
        self.torch.save(self.tensors, tmp_path / "a.pt")
        monkeypatch.setitem(sys.modules, "torch", None)
        with pytest.raises(WeightFileError, match="needs PyTorch"):
            read_tensors(tmp_path / "a.pt")

    @pytest.mark.parametrize("name", ["zip.pt", "legacy.pt", "lightning.ckpt", "a.safetensors"])
    def test_damaged_files_end_in_our_error(self, name, tmp_path):
        damaged(self.torch, tmp_path / name, count=150, seed=0)

    @pytest.mark.slow
    @pytest.mark.parametrize("name", ["zip.pt", "legacy.pt", "lightning.ckpt", "a.safetensors"])
    def test_many_damaged_files_end_in_our_error(self, name, tmp_path):
        damaged(self.torch, tmp_path / name, count=2500, seed=1)


def damaged(torch, path: pathlib.Path, count: int, seed: int):
    """Reads mutations of a good file, to the values."""
    tensors = {name: torch.from_numpy(value) for name, value in SMALL.items()}
    if path.name == "lightning.ckpt":
        torch.save({"state_dict": {f"dnn.{k}": v for k, v in tensors.items()}, "hyper_parameters": {"a": path}}, path)
    elif path.suffix == ".safetensors":
        save_file(SMALL, path)
    else:
        torch.save(tensors, path, _use_new_zipfile_serialization=path.name == "zip.pt")
    good, rng, refused = path.read_bytes(), random.Random(seed), 0
    for _ in range(count):
        data = bytearray(good)
        for _ in range(rng.choice((1, 1, 2, 8))):
            place = rng.randrange(len(data))
            what = rng.randrange(4)
            if what == 0:
                data[place] = rng.randrange(256)
            elif what == 1:
                data = data[:place] or bytearray(b"P")
            elif what == 2:
                del data[place : place + rng.randrange(1, 40)]
                data = data or bytearray(b"P")
            else:
                data[place:place] = rng.randbytes(rng.randrange(1, 40))
        path.write_bytes(data)
        try:
            for tensor in open_weights(path).tensors.values():
                if np.prod(tensor.shape, dtype=float) < 1e6:
                    np.asarray(tensor)
        except QuarkAudioError as error:
            refused += 1
            assert "\n" not in str(error) and path.name in str(error)
    assert refused > count / 4

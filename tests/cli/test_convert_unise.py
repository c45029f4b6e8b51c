"""convert: UniSE's weight file in and out under its public names; one that doesn't fit is refused by name."""

import jax
import numpy as np
import pytest
from flax.linen import meta

from quarkaudio_jax.cli import convert
from quarkaudio_jax.lm.unise import Unise, UniseConfig, init_unise
from quarkaudio_jax.lm.variants import SIZES
from quarkaudio_jax.weights.backbone import UNISE_UNUSED, export_unise
from quarkaudio_jax.weights.files import read_tensors, write_tensors
from tests.parity import golden

torch = pytest.importorskip("torch", reason="reading and writing PyTorch files needs PyTorch")

CFG = UniseConfig(SIZES["tiny"], 48, 4096, 64)


def call(*args):
    convert.main(["quarkaudio convert", *map(str, args)])


@pytest.fixture(scope="module")
def state():
    """The state dict of a small UniSE, as the public code names it."""
    abstract = meta.unbox(jax.eval_shape(lambda key: init_unise(Unise(CFG), key), jax.random.key(0)))
    empty = jax.tree.map(lambda x: np.zeros(x.shape, np.float32), abstract)
    return {f"dnn.{name}": golden.tensor(name, x.shape) for name, x in export_unise(CFG, empty).items()}


def save(path, tensors):
    torch.save({"state_dict": {name: torch.from_numpy(x) for name, x in tensors.items()}, "epoch": 20}, path)


def test_import_then_export_gives_every_tensor_back(state, tmp_path, capsys):
    unused = {"dnn.cond_input_layer.weight": np.ones((4, 8), np.float32)}
    save(tmp_path / "in.ckpt", {**state, **unused})
    call("import", tmp_path / "in.ckpt", "--output", tmp_path / "run", "--license", "Apache-2.0")
    call("export", tmp_path / "run", "--output", tmp_path / "out.ckpt")
    assert "UniSE, tiny" in capsys.readouterr().out
    saved = torch.load(tmp_path / "out.ckpt", weights_only=True)
    assert saved["current_traning_step"] == 0 and "pytorch-lightning_version" in saved
    found = {name: x.numpy() for name, x in saved["state_dict"].items()}
    assert found.keys() == state.keys()
    for name, x in state.items():
        np.testing.assert_array_equal(found[name], x, err_msg=name)
    call("export", tmp_path / "run", "--output", tmp_path / "out.safetensors")
    assert read_tensors(tmp_path / "out.safetensors").keys() == {name.removeprefix("dnn.") for name in state}
    with pytest.raises(SystemExit, match="exists already"):
        call("export", tmp_path / "run", "--output", tmp_path / "out.ckpt")


def test_the_names_are_those_of_the_published_file(state):
    published = {name for name in golden.manifest("unise_lm")["tensors"] if not UNISE_UNUSED.fullmatch(name)}
    here = tuple(f"layers.{i}." for i in range(CFG.backbone.num_layers))
    kept = {name for name in published if not name.startswith("layers.") or name.startswith(here)}
    assert {name.removeprefix("dnn.") for name in state} == kept


@pytest.mark.parametrize(
    "missing, named",
    [
        ("dnn.norm.weight", "not in the file: backbone/norm/scale"),
        ("dnn.layers.1.self_attn.q_proj.weight", r"layers/query/kernel needs layers 0 to 3, the file has \[0, 2, 3\]"),
    ],
)
def test_what_does_not_fit_is_named_and_nothing_is_written(state, missing, named, tmp_path):
    write_tensors(tmp_path / "less.safetensors", {name: x for name, x in state.items() if name != missing})
    write_tensors(tmp_path / "more.safetensors", {**state, "dnn.extra.weight": np.zeros(3, np.float32)})
    for name, message in (("less", named), ("more", r"extra\.weight")):
        with pytest.raises(SystemExit, match=f"{name}.safetensors is not UniSE of this size.*{message}"):
            call("import", tmp_path / f"{name}.safetensors", "--output", tmp_path / "run")
        assert not (tmp_path / "run" / "checkpoints").exists()

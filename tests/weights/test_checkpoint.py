"""Damaged checkpoints: found before they are read, named with what is whole."""

import json
import os
import pickle
import random
import shutil

import pytest

from quarkaudio_jax.weights.checkpoint import (
    CheckpointError,
    find_checkpoint,
    read_initial_model,
    read_train_config,
)
from quarkaudio_jax.weights.checkpoint_manager import Checkpoints
from quarkaudio_jax.weights.integrity import MODEL, damage, newest_intact
from quarkaudio_jax.weights.saved_codec import read_codec


@pytest.fixture
def steps(trained, tmp_path):
    """A work directory with copies of one checkpoint as steps 2, 4 and 10."""
    for name in ("2", "4", "10"):
        shutil.copytree(trained / "checkpoints" / "2", tmp_path / "checkpoints" / name)
    return tmp_path / "checkpoints"


def cut(path):
    os.truncate(path, path.stat().st_size // 2)


def garbage(path):
    path.write_bytes(random.Random(0).randbytes(path.stat().st_size))


def emptied(path):
    for inner in path.iterdir():
        shutil.rmtree(inner) if inner.is_dir() else inner.unlink()


def large(step, item):
    """The largest file of arrays, which is one that is used."""
    return max((step / item).rglob("d/*"), key=lambda path: path.stat().st_size)


KINDS = {
    "cut arrays": lambda step: cut(large(step, "model")),
    "cut training arrays": lambda step: cut(large(step, "training")),
    "removed arrays": lambda step: large(step, "training").unlink(),
    "cut index": lambda step: cut(next((step / "model" / "d").iterdir())),
    "garbage index": lambda step: garbage(next((step / "model" / "d").iterdir())),
    "no manifest": lambda step: (step / "model" / "manifest.ocdbt").unlink(),
    "cut manifest": lambda step: cut(step / "training" / "manifest.ocdbt"),
    "garbage metadata": lambda step: garbage(step / "model" / "array_metadatas" / "process_0"),
    "garbage config": lambda step: garbage(step / "config" / "metadata"),
    "cut names": lambda step: cut(step / "model" / "_METADATA"),
    "cut data": lambda step: cut(step / "data" / "process_0-of-1.json"),
    "no data": lambda step: shutil.rmtree(step / "data"),
    "no training": lambda step: shutil.rmtree(step / "training"),
    "empty model": lambda step: emptied(step / "model"),
    "empty folder": emptied,
    "without the marker": lambda step: (step / "_CHECKPOINT_METADATA").unlink(),
    "garbage marker": lambda step: garbage(step / "_CHECKPOINT_METADATA"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_damage_is_seen_and_the_newest_whole_step_used(steps, kind, caplog):
    assert damage(steps / "10") == ""
    KINDS[kind](steps / "10")
    lack = damage(steps / "10")
    assert lack and "\n" not in lack
    newest, damaged = newest_intact(steps)
    assert newest == steps / "4" and damaged == {steps / "10": lack}
    assert Checkpoints(steps.parent).latest() == 4
    if damage(steps / "10", MODEL):
        assert find_checkpoint(steps.parent).name == find_checkpoint(steps).name == "4"
        assert "step 10 is damaged" in caplog.text and "using step 4" in caplog.text
        with pytest.raises(
            CheckpointError, match=r"10 is damaged \(.*\): move it away. Intact in .*: step 4, step 2$"
        ) as error:
            find_checkpoint(steps / "10")
        assert "\n" not in str(error.value)
    else:  # what only training needs does not keep the model from being used
        assert find_checkpoint(steps.parent).name == find_checkpoint(steps / "10").name == "10"


def test_no_whole_step_is_said(steps):
    for step in steps.iterdir():
        emptied(step)
    for use in (lambda: Checkpoints(steps.parent), lambda: find_checkpoint(steps)):
        with pytest.raises(CheckpointError, match=r"intact \(step 10|complete checkpoint.*step 10 is damaged"):
            use()
    assert sorted(path.name for path in steps.iterdir()) == ["10", "2", "4"]


def test_values_that_are_damaged_inside_are_one_line(steps):
    """Sizes and index are right, the compressed numbers are not."""
    path = large(steps / "4", "model")
    garbage(path)
    assert damage(steps / "4") == ""
    with pytest.raises(
        CheckpointError, match=r"4 is damaged \(.*\): move it away. Intact in .*: step 10, step 2$"
    ) as error:
        read_codec(steps / "4")
    assert "\n" not in str(error.value) and len(str(error.value)) < 800


def test_what_is_no_checkpoint_is_told_what_is(steps, tmp_path):
    weights = tmp_path / "x.safetensors"
    weights.write_bytes(pickle.dumps({}))
    for read in (find_checkpoint, lambda path: read_initial_model(str(path), None)):
        with pytest.raises(CheckpointError, match="is a file, not a checkpoint; .*convert import"):
            read(weights)
    path = steps / "2" / "config" / "metadata"
    for changes, message in (
        ({"codec": {"variant": "hcodec_9"}}, "2: codec 'hcodec_9' is not known; choose one of"),
        ({"codec": {"color": 1}}, "its config can't be read .*config.codec.color does not exist"),
        ({"program": 3}, "its config can't be read"),
    ):
        saved = json.loads((steps / "4" / "config" / "metadata").read_text())
        saved["config"] |= {k: {**saved["config"][k], **v} if isinstance(v, dict) else v for k, v in changes.items()}
        path.write_text(json.dumps(saved))
        with pytest.raises(CheckpointError, match=message):
            read_codec(steps / "2")
    for text in ("[]", "{}", '{"config": 3, "step": 1}'):
        path.write_text(text)
        with pytest.raises(CheckpointError):
            read_train_config(steps / "2")


def test_nothing_is_removed_where_all_are_kept(steps):
    checkpoints = Checkpoints(steps.parent, keep=0)
    assert checkpoints._manager.all_steps() == [2, 4, 10]
    assert checkpoints._manager._options.max_to_keep is None
    checkpoints.close()

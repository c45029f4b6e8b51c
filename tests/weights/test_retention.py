"""How many checkpoints stay, and what becomes of them on a full disk."""

import collections
import shutil

import grain
import jax.numpy as jnp
import pytest

from quarkaudio_jax.config import CodecTrainConfig
from quarkaudio_jax.training.guard import BadSteps
from quarkaudio_jax.training.program import State
from quarkaudio_jax.weights.checkpoint import CheckpointError
from quarkaudio_jax.weights.checkpoint_manager import Checkpoints


def save(checkpoints, step):
    state = State(jnp.asarray(step), {"w": jnp.ones(2)}, {"m": jnp.zeros(2)})
    batches = iter(grain.MapDataset.range(10).to_iter_dataset())
    checkpoints.save(step, state, batches, CodecTrainConfig(), BadSteps(10).state())


@pytest.mark.parametrize("keep, left", [(0, [1, 2, 3, 4, 5]), (1, [5]), (3, [3, 4, 5])])
def test_the_newest_stay_and_0_keeps_all(keep, left, tmp_path):
    checkpoints = Checkpoints(tmp_path, keep)
    for step in range(1, 6):
        save(checkpoints, step)
    checkpoints.wait()
    checkpoints.close()
    assert sorted(int(p.name) for p in (tmp_path / "checkpoints").iterdir()) == left


def test_a_full_disk_is_said_before_anything_is_written(tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path)
    save(checkpoints, 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: collections.namedtuple("Usage", "free")(10))
    with pytest.raises(CheckpointError, match="no room for step 2: .* are free; make room.*Intact in .*: step 1"):
        save(checkpoints, 2)
    checkpoints.close()
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["1"]

"""How many checkpoints stay."""

import grain
import jax.numpy as jnp
import pytest

from quarkaudio_jax.schema import CodecTrainConfig
from quarkaudio_jax.training.checkpoint import Checkpoints
from quarkaudio_jax.training.guard import BadSteps
from quarkaudio_jax.training.program import State


@pytest.mark.parametrize("keep, left", [(0, [1, 2, 3, 4, 5]), (1, [5]), (3, [3, 4, 5])])
def test_the_newest_stay_and_0_keeps_all(keep, left, tmp_path):
    checkpoints = Checkpoints(tmp_path, keep)
    batches = iter(grain.MapDataset.range(10).to_iter_dataset())
    for step in range(1, 6):
        state = State(jnp.asarray(step), {"w": jnp.ones(2)}, {"m": jnp.zeros(2)})
        checkpoints.save(step, state, batches, CodecTrainConfig(), BadSteps(10).state())
    checkpoints.wait()
    checkpoints.close()
    assert sorted(int(p.name) for p in (tmp_path / "checkpoints").iterdir()) == left

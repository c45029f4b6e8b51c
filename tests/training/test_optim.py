"""Schedules and clipping."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from quarkaudio_jax.config import OptimConfig
from quarkaudio_jax.report.progress import duration
from quarkaudio_jax.training.optim import make_optimizer, make_schedule


@pytest.mark.parametrize("schedule, end", [("constant", 1.0), ("cosine", 0.02), ("exponential", 0.99**90)])
def test_schedules(schedule, end):
    cfg = OptimConfig(lr=1.0, schedule=schedule, warmup_steps=10, decay=0.99)
    rate = make_schedule(cfg, 100)
    np.testing.assert_allclose([rate(0), rate(5), rate(10)], [0.1, 0.55, 1.0], rtol=1e-5)
    assert float(rate(100)) == pytest.approx(end, rel=1e-4)
    assert float(rate(10**6)) >= 0.02 - 1e-6


def test_an_unknown_schedule_is_named():
    with pytest.raises(ValueError, match="schedule 'step' is not one of constant, cosine, exponential"):
        make_schedule(OptimConfig(schedule="step"), 10)


def test_gradients_are_clipped():
    optimizer = make_optimizer(OptimConfig(lr=1.0, clip=1.0, warmup_steps=0, weight_decay=0.0, b1=0.0, b2=0.0), 10)
    params = {"w": jnp.ones(4)}
    small, _ = optimizer.update({"w": jnp.full(4, 1e3)}, optimizer.init(params), params)
    assert float(optax.global_norm(small)) == pytest.approx(2.0, rel=1e-3)


@pytest.mark.parametrize(
    "seconds, text", [(3.4, "3 s"), (190, "3 min 10 s"), (18120, "5 h 02 min"), (273600, "3 d 4 h")]
)
def test_durations_read_well(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize("clip", [0.0, float("inf")])
def test_gradients_are_not_clipped_at_0(clip):
    cfg = OptimConfig(lr=1.0, clip=clip, warmup_steps=0, weight_decay=0.0, b1=0.0, b2=0.5)
    optimizer, params = make_optimizer(cfg, 10), {"w": jnp.ones(4)}
    state = optimizer.init(params)
    assert jax.tree.structure(state) == jax.tree.structure(make_optimizer(OptimConfig(), 10).init(params))
    for gradient in (1.0, 1e3):
        updates, state = optimizer.update({"w": jnp.full(4, gradient)}, state, params)
    unclipped = 1e3 / np.sqrt((0.25 * 1.0 + 0.5 * 1e6) / 0.75)  # both squares as they were, debiased
    np.testing.assert_allclose(updates["w"], -unclipped, rtol=1e-4)

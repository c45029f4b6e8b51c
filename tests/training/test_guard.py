"""Steps that are not finite change nothing and are counted."""

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from quarkaudio_jax.training.guard import BadSteps, NonFiniteError, guarded, guarded_init, non_finite_examples
from quarkaudio_jax.training.program import State


@flax.struct.dataclass
class Model:
    params: jax.Array
    ema: jax.Array


def step(state, batch):
    """Weights run to the batch's mean; its gradient is infinite where the mean is over 100."""
    mean = batch["wave"].mean()
    grad = jnp.where(mean > 100, jnp.inf, mean - state.model.params)
    params = state.model.params + 0.5 * grad
    model = Model(params, 0.9 * state.model.ema + 0.1 * params)
    return State(state.step + 1, model, {"moment": state.training["moment"] + grad}), {
        "loss/total": mean,
        "grad_norm/model": jnp.abs(grad),
    }


@pytest.fixture
def state():
    return State(jnp.int32(7), Model(jnp.float32(1), jnp.float32(2)), {"moment": jnp.float32(3)})


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1000.0])
def test_a_bad_step_leaves_all_but_the_count_of_steps(state, bad):
    guard = jax.jit(guarded(step))
    after, metrics = guard(state, {"wave": jnp.array([0.5, bad])})
    assert not np.isfinite([float(v) for v in metrics.values()]).all()
    assert int(after.step) == 8
    jax.tree.map(np.testing.assert_array_equal, (after.model, after.training), (state.model, state.training))
    good, _ = guard(after, {"wave": jnp.array([0.5, 0.25])})
    plain, _ = jax.jit(step)(after, {"wave": jnp.array([0.5, 0.25])})
    jax.tree.map(np.testing.assert_array_equal, good, plain)


def test_a_fit_to_a_bad_batch_leaves_the_state(state):
    def fit(state, batch):
        return state.replace(model=state.model.replace(params=batch["wave"].mean()))

    fit = jax.jit(guarded_init(fit))
    same, finite = fit(state, {"wave": jnp.array([jnp.nan, 1.0])})
    assert not finite and float(same.model.params) == 1
    fitted, finite = fit(state, {"wave": jnp.array([3.0, 1.0])})
    assert finite and float(fitted.model.params) == 2


def test_bad_steps_are_counted_through_a_restart(caplog):
    good, bad = {"loss/total": 1.0}, {"loss/total": float("nan"), "grad_norm/model": float("inf"), "lr": 0.1}
    counts = BadSteps(2)
    for number, values in enumerate([bad, good, bad, bad], 1):
        counts.check(number, values, ("a.wav", "b.wav"))
    assert (
        "step 4 skipped (3 so far): grad_norm/model is inf, loss/total is nan; its examples: a.wav, b.wav"
        in caplog.text
    )
    again = BadSteps(2)
    again.set_state(counts.state())
    with pytest.raises(
        NonFiniteError, match=r"step 5: .* 3 steps in a row, more than config.loop.bad_steps \(2\).*c.wav"
    ):
        again.check(5, bad, ("c.wav",))
    with pytest.raises(NonFiniteError, match="1 steps in a row"):
        BadSteps(0).check(1, bad, ())


def test_the_examples_to_blame():
    names = ("a", "b", "c")
    wave = np.ones((3, 4), np.float32)
    assert non_finite_examples({"wave": wave, "kind": np.zeros((3, 4), np.int8)}, names) == names
    wave[1, 2] = np.nan
    assert non_finite_examples({"wave": wave}, names) == ("b",)
    assert non_finite_examples({"wave": wave[:2]}, names) == names  # rows that hold several examples
    assert non_finite_examples({"codes": np.zeros((3, 4), np.int32)}, names) == names

"""Steps whose losses or gradients are not finite: they leave the state as it was."""

import logging
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from quarkaudio_jax.errors import QuarkAudioError
from quarkaudio_jax.training.program import Batch, Metrics, State

log = logging.getLogger(__name__)


class NonFiniteError(QuarkAudioError, RuntimeError):
    """Losses or gradients were NaN or infinite too often in a row."""


def guarded(step: Callable[[State, Batch], tuple[State, Metrics]]) -> Callable[[State, Batch], tuple[State, Metrics]]:
    """A training step that changes nothing but `state.step` where one of its metrics is not finite.

    The metrics hold every loss and the global norm of every gradient. Each leaf is chosen where it is computed, so
    that the compiler does both at once and in place.
    """

    def train_step(state: State, batch: Batch) -> tuple[State, Metrics]:
        new, metrics = step(state, batch)
        finite = jnp.isfinite(jnp.stack(list(metrics.values()))).all()
        model, training = _choose(finite, (new.model, new.training), (state.model, state.training))
        return State(new.step, model, training, state.frozen), metrics

    return train_step


def guarded_init(fit: Callable[[State, Batch], State]) -> Callable[[State, Batch], tuple[State, jax.Array]]:
    """(the state fitted to a batch, or as it was if that is not finite; whether it is)."""

    def fit_batch(state: State, batch: Batch) -> tuple[State, jax.Array]:
        new = fit(state, batch)
        finite = jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(new.model)]).all()
        return state.replace(model=_choose(finite, new.model, state.model)), finite

    return fit_batch


def _choose(condition: jax.Array, new: Any, old: Any) -> Any:
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), new, old)


def suspects(batch: Mapping[str, np.ndarray], names: tuple[str, ...]) -> tuple[str, ...]:
    """Names of the examples with values that are not finite; all names where there are none, or rows are no examples."""
    finite = [np.isfinite(a).reshape(len(a), -1).all(1) for a in batch.values() if np.issubdtype(a.dtype, np.floating)]
    if not finite or len(names) != len(finite[0]):
        return names
    whole = np.logical_and.reduce(finite)
    return tuple(name for name, ok in zip(names, whole, strict=True) if not ok) or names


def not_finite(values: Mapping[str, float]) -> list[str]:
    """The names of metrics that are NaN or infinite."""
    return sorted(name for name, value in values.items() if not np.isfinite(value))


class BadSteps:
    """Counts the steps that were skipped; in_a_row and total go into checkpoints, so that a resumed run counts on."""

    def __init__(self, allowed: int):
        self._allowed = allowed
        self.in_a_row = self.total = 0

    def check(self, step: int, values: Mapping[str, float], examples: tuple[str, ...]) -> None:
        """Takes the metrics of a step, and its examples on this host; NonFiniteError after too many bad ones in a row."""
        bad = not_finite(values)
        if not bad:
            self.in_a_row = 0
            return
        self.in_a_row += 1
        self.total += 1
        what = ", ".join(f"{name} is {values[name]}" for name in bad)
        if self.in_a_row > self._allowed:
            raise NonFiniteError(
                f"step {step}: {what}; {self.in_a_row} steps in a row, more than config.loop.bad_steps ({self._allowed}). "
                f"Its examples: {', '.join(examples)}"
            )
        log.warning("step %d skipped (%d so far): %s; its examples: %s", step, self.total, what, ", ".join(examples))

    def state(self) -> dict[str, int]:
        """Plain JSON values."""
        return {"in_a_row": self.in_a_row, "total": self.total}

    def set_state(self, state: Mapping[str, int]) -> None:
        """Counts on from there."""
        self.in_a_row, self.total = state["in_a_row"], state["total"]

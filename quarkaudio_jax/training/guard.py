"""Skipping of steps whose losses or gradients are not finite."""

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
    """Losses or gradients were NaN or infinite in too many consecutive steps."""


def guarded(step: Callable[[State, Batch], tuple[State, Metrics]]) -> Callable[[State, Batch], tuple[State, Metrics]]:
    """Wraps a training step so that it changes only `state.step` if any of its metrics is not finite.

    The metrics include all losses and the global norms of all gradients. Each leaf is selected where it is computed, so
    that XLA can fuse both and update in place.
    """

    def train_step(state: State, batch: Batch) -> tuple[State, Metrics]:
        new, metrics = step(state, batch)
        finite = jnp.isfinite(jnp.stack(list(metrics.values()))).all()
        model, training = _select(finite, (new.model, new.training), (state.model, state.training))
        return State(new.step, model, training, state.frozen), metrics

    return train_step


def guarded_init(init: Callable[[State, Batch], State]) -> Callable[[State, Batch], tuple[State, jax.Array]]:
    """Wraps an initialization from a batch: (the new state, or the old one if it is not finite; whether it is finite)."""

    def init_from_batch(state: State, batch: Batch) -> tuple[State, jax.Array]:
        new = init(state, batch)
        finite = jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(new.model)]).all()
        return state.replace(model=_select(finite, new.model, state.model)), finite

    return init_from_batch


def _select(condition: jax.Array, new: Any, old: Any) -> Any:
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), new, old)


def non_finite_examples(batch: Mapping[str, np.ndarray], names: tuple[str, ...]) -> tuple[str, ...]:
    """Names of the examples with non-finite values; all names if there are none, or if rows are packed."""
    finite = [np.isfinite(a).reshape(len(a), -1).all(1) for a in batch.values() if np.issubdtype(a.dtype, np.floating)]
    if not finite or len(names) != len(finite[0]):
        return names
    all_finite = np.logical_and.reduce(finite)
    return tuple(name for name, ok in zip(names, all_finite, strict=True) if not ok) or names


def non_finite_metrics(values: Mapping[str, float]) -> list[str]:
    """Names of the metrics that are NaN or infinite."""
    return sorted(name for name, value in values.items() if not np.isfinite(value))


class BadSteps:
    """Counter of skipped steps; its state is saved in checkpoints."""

    def __init__(self, allowed: int):
        self._allowed = allowed
        self.in_a_row = self.total = 0

    def check(self, step: int, values: Mapping[str, float], examples: tuple[str, ...]) -> None:
        """Counts a step by its metrics; NonFiniteError after too many skipped in a row. examples: on this host."""
        bad = non_finite_metrics(values)
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
        """The counts, as JSON values."""
        return {"in_a_row": self.in_a_row, "total": self.total}

    def set_state(self, state: Mapping[str, int]) -> None:
        """Restores the counts."""
        self.in_a_row, self.total = state["in_a_row"], state["total"]

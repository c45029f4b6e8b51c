"""What the loop asks of a program (the codec now, the language model later)."""

from typing import Any, Protocol

import jax

State = Any
Batch = dict[str, jax.Array]
Metrics = dict[str, jax.Array]


class Program(Protocol):
    """Pure functions of (state, batch), jitted by the loop. `state.step` counts finished steps.

    `state.model` and `state.training` are saved apart, so that using a checkpoint does not
    mean reading its optimiser.
    """

    frozen: Any
    """Arrays that `state.frozen` holds: used, but neither trained nor saved; None if there are none."""

    outputs: tuple[str, ...]
    """The waves (B, S) that `eval_step` gives, in the order to show them."""

    def init(self) -> State:
        """A fresh state; parameters carry logical axis names (boxed)."""
        ...

    def fit(self, state: State, batch: Batch) -> State:
        """What must be set from the first batch before step 0."""
        ...

    def train_step(self, state: State, batch: Batch) -> tuple[State, Metrics]:
        """One step; metrics are float32 scalars, `loss/...` and `grad_norm/...` among them."""
        ...

    def eval_step(self, state: State, batch: Batch) -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
        """(metrics per item (B,), outputs per item) on held-out data."""
        ...

    def batch_spec(self, batch_size: int) -> dict[str, jax.ShapeDtypeStruct]:
        """Shapes of a batch."""
        ...

"""What the loop asks of a program: the codec or the language model."""

from typing import Any, Protocol

import flax.struct
import jax
import jax.numpy as jnp

from quarkaudio_jax.schema import TrainConfig

Batch = dict[str, jax.Array]
Metrics = dict[str, jax.Array]

DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


@flax.struct.dataclass
class State:
    """step: finished steps, int32. model: what using the model needs, training: what only training needs.

    The two are saved apart, so that using a checkpoint does not mean reading its optimiser.
    frozen: weights that are used, but neither trained nor saved.
    """

    step: jax.Array
    model: Any
    training: Any
    frozen: Any = None


def best(model: Any) -> Any:
    """The parameters to use a model with: averaged ones if it has them."""
    return model.params if model.ema is None else model.ema


class Program(Protocol):
    """Pure functions of (state, batch), jitted by the loop, and the data that they eat.

    Programs inherit from it what they have no need to say.
    """

    cfg: TrainConfig
    """The experiment, complete: a program fills in what the data decides."""

    frozen: Any = None
    """What `state.frozen` is to hold; None if there is nothing."""

    rates: dict[str, float]
    """What a step gets through, by name: for the log, times steps a second."""

    outputs: tuple[str, ...] = ()
    """The waves (B, S) that `eval_step` gives, in the order to show them."""

    sample_rate: int = 0
    """Of those waves."""

    def init(self) -> State:
        """A fresh state; parameters carry logical axis names (boxed)."""
        ...

    def warm_start(self, model: Any) -> Any:
        """A fresh model with those weights put in that come from elsewhere (not jitted)."""
        return model

    def check_resume(self, saved: TrainConfig) -> None:
        """ConfigError if a run that began with `saved` can't go on with this program, though all shapes fit."""

    def check_initial(self, saved: TrainConfig) -> None:
        """ConfigError if `config.init_from` holds a model, trained with `saved`, that this program would misuse."""

    def fit(self, state: State, batch: Batch) -> State:
        """What must be set from the first batch before step 0."""
        return state

    def train_step(self, state: State, batch: Batch) -> tuple[State, Metrics]:
        """One step; metrics are float32 scalars, `loss/...` and `grad_norm/...` among them."""
        ...

    def eval_step(self, state: State, batch: Batch) -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
        """(metrics per item (B,), outputs per item) on held-out data."""
        ...

    def batch_spec(self, batch_size: int) -> dict[str, jax.ShapeDtypeStruct]:
        """Shapes of a batch."""
        ...

    def batches(self, process_index: int, process_count: int) -> tuple[Any, Any]:
        """(this host's endless Grain iterator of batches, what counts the examples that it skips as `count`)."""
        ...

    def heldout(self) -> list[dict[str, Any]]:
        """Examples for `eval_step`: arrays, `name`, and optionally `group`, whose means are told apart."""
        ...

"""What the loop asks of a program: the codec or the language model."""

import dataclasses
import logging
from collections.abc import Mapping
from typing import Any, Protocol

import flax.struct
import jax

from quarkaudio_jax.config import ConfigError, TrainConfig

log = logging.getLogger(__name__)

Batch = dict[str, jax.Array]
Metrics = dict[str, jax.Array]


@flax.struct.dataclass
class State:
    """step: finished steps, int32, those that were skipped among them (see `guard`). model: what using the model needs, training: what only training needs.

    The two are saved apart, so that using a checkpoint does not mean reading its optimizer.
    frozen: weights that are used, but neither trained nor saved.
    """

    step: jax.Array
    model: Any
    training: Any
    frozen: Any = None


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

    def load_pretrained(self, model: Any) -> Any:
        """A fresh model with those weights put in that come from elsewhere (not jitted)."""
        return model

    def resume_fields(self, cfg: TrainConfig) -> dict[str, Any]:
        """What a run that is resumed must have again though other values would fit its shapes, by name."""
        ...

    def check_init_from(self, saved: TrainConfig) -> None:
        """ConfigError if `config.init_from` holds a model, trained with `saved`, that this program would misuse."""

    def init_codebooks(self, state: State, batch: Batch) -> State:
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
        """(this host's endless iterator of batches, what counts the examples that it skips as `count`).

        The iterator is of those in `data.position` and `data.prepared`: `set_states` takes what all hosts' `get_state`
        gave, `sources` is what more a resumed run must have again, `names` are the examples of the last batch.
        """
        ...

    def heldout(self) -> list[dict[str, Any]]:
        """Examples for `eval_step`: arrays, `name`, and optionally `group`, whose means are told apart."""
        ...


def flat(config: Any, prefix: str) -> dict[str, Any]:
    """The fields of a configuration, dotted, those of its groups too."""
    out = {}
    for field in dataclasses.fields(config):
        value, name = getattr(config, field.name), f"{prefix}.{field.name}"
        out |= flat(value, name) if dataclasses.is_dataclass(value) else {name: value}
    return out


def check_unchanged(before: Mapping[str, Any], now: Mapping[str, Any], allowed: bool) -> None:
    """ConfigError if a run would go on with something else than it began with; allowed: a warning."""
    changes = [f"{k} = {before[k]!r} (now {now[k]!r})" for k in before if k in now and before[k] != now[k]]
    if changes and not allowed:
        raise ConfigError(
            f"this run began with {', '.join(changes)}: set that again, start in another --workdir (config.init_from "
            "takes the model along), or set config.loop.allow_changes=True to go on with the new"
        )
    if changes:
        log.warning("this run began with %s", ", ".join(changes))

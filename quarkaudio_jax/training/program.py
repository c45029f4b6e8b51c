"""The interface of training programs, of the codec and of the language model, to the loop."""

import abc
import dataclasses
import logging
from collections.abc import Mapping
from typing import Any, Generic, TypeVar

import flax.struct
import jax

from quarkaudio_jax.config import CodecTrainConfig, ConfigError, LMTrainConfig, TrainConfig
from quarkaudio_jax.weights.checkpoint import read_initial_model

log = logging.getLogger(__name__)

Batch = Mapping[str, jax.Array]
Metrics = dict[str, jax.Array]
Config = TypeVar("Config", CodecTrainConfig, LMTrainConfig)


class State(flax.struct.PyTreeNode):
    """Training state.

    step: number of finished steps, int32, including skipped ones (see `guard`). model: what inference needs. training:
    what only training needs; saved apart from `model`, so that a checkpoint can be used without reading its optimizer.
    frozen: weights that are used in training, but neither trained nor saved.
    """

    step: jax.Array
    model: Any
    training: Any
    frozen: Any = None


class Program(abc.ABC, Generic[Config]):
    """Pure functions of (state, batch) that the loop jits, and their data."""

    cfg: Config
    """The full configuration, including fields that depend on the data."""

    frozen: Any = None
    """Value of `state.frozen`."""

    rates: dict[str, float]
    """Amount that a step processes, by unit; logged per second."""

    outputs: tuple[str, ...] = ()
    """Names of the waves (B, S) that `eval_step` returns, in display order."""

    sample_rate: int = 0
    """Sample rate of those waves, in Hz."""

    @abc.abstractmethod
    def init(self) -> State:
        """Initializes the state; parameters are boxed with logical axis names."""

    def load_pretrained(self, model: Any) -> Any:
        """Replaces weights of a new model by pretrained ones, if any are configured (not jitted)."""
        return model

    @abc.abstractmethod
    def resume_fields(self, cfg: Config) -> dict[str, Any]:
        """Values by name that a resumed run must share with the checkpoint, beyond the shapes of its arrays."""

    def initial_model(self, abstract_model: Any) -> Any:
        """The model of `config.init_from` with the shardings of `abstract_model`."""
        return read_initial_model(self.cfg.init_from, abstract_model, self.check_init_from)

    def check_init_from(self, saved: TrainConfig) -> None:
        """ConfigError if this program can't use the model of `config.init_from`, which was trained with `saved`."""

    def init_codebooks(self, state: State, batch: Batch) -> State:
        """Initializes data-dependent variables, such as codebooks, from the first batch before step 0."""
        return state

    @abc.abstractmethod
    def train_step(self, state: State, batch: Batch) -> tuple[State, Metrics]:
        """Runs one step; metrics are float32 scalars, among them `loss/...` and `grad_norm/...`."""

    @abc.abstractmethod
    def eval_step(self, state: State, batch: Batch) -> tuple[Metrics, dict[str, jax.Array]]:
        """(metrics (B,), outputs) of held-out examples."""

    @abc.abstractmethod
    def batch_spec(self, batch_size: int) -> dict[str, jax.ShapeDtypeStruct]:
        """Shapes and dtypes of a batch."""

    @abc.abstractmethod
    def batches(self, process_index: int, process_count: int) -> tuple[Any, Any]:
        """(this host's endless iterator of batches, a counter of skipped examples with the attribute `count`).

        The iterator is one of `data.position` or `data.packing`: `set_states` takes the `get_state` of all hosts,
        `sources` are further values that a resumed run must share, and `names` are the examples of the last batch.
        """

    @abc.abstractmethod
    def heldout(self) -> list[dict[str, Any]]:
        """Examples for `eval_step`: arrays, `name`, and optionally `group`, for which means are also logged apart."""


def flat_fields(config: Any, prefix: str) -> dict[str, Any]:
    """The fields of a configuration and of its groups by dotted name."""
    out: dict[str, Any] = {}
    for field in dataclasses.fields(config):
        value, name = getattr(config, field.name), f"{prefix}.{field.name}"
        out |= flat_fields(value, name) if dataclasses.is_dataclass(value) else {name: value}
    return out


def check_unchanged(before: Mapping[str, Any], now: Mapping[str, Any], allowed: bool) -> None:
    """ConfigError if a resumed run has other `resume_fields` than before; a warning if that is allowed."""
    changes = [f"{k} = {before[k]!r} (now {now[k]!r})" for k in before if k in now and before[k] != now[k]]
    if changes and not allowed:
        raise ConfigError(
            f"this run began with {', '.join(changes)}: set that again, start in another --workdir (with "
            "config.init_from to keep the model), or set config.loop.allow_changes=True to go on with the new values"
        )
    if changes:
        log.warning("this run began with %s", ", ".join(changes))

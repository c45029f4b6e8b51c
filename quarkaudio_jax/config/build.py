"""From a ConfigDict to frozen dataclasses and back; beyond this room nobody sees a ConfigDict."""

import dataclasses
import difflib
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any

import ml_collections

from quarkaudio_jax.config import values
from quarkaudio_jax.config.lm import LMTrainConfig
from quarkaudio_jax.config.train import CodecTrainConfig, TrainConfig
from quarkaudio_jax.errors import QuarkAudioError

EXPERIMENTS = {cls.program: cls for cls in (CodecTrainConfig, LMTrainConfig)}
"""The configurations that `train` takes, by their field `program`."""

SYNONYMS = {
    "learning_rate": "lr",
    "beta1": "b1",
    "beta2": "b2",
    "grad_clip": "clip",
    "max_grad_norm": "clip",
    "wd": "weight_decay",
    "num_steps": "steps",
    "max_steps": "steps",
    "train_steps": "steps",
    "num_train_steps": "steps",
    "eval_steps": "eval_every",
    "logging_steps": "log_every",
    "save_steps": "checkpoint_every",
    "save_every": "checkpoint_every",
    "save_total_limit": "keep",
    "max_to_keep": "keep",
    "bs": "batch_size",
    "global_batch_size": "batch_size",
    "num_workers": "workers",
    "random_seed": "seed",
    "ema": "ema_decay",
    "precision": "dtype",
    "max_length": "length",
    "seq_len": "length",
}
"""Fields by the names that other trainers give them."""


RENAMED = {
    "adversary": "discriminators",
    "adversary_optim": "discriminator_optim",
    "equaliser": "equalizer",
    "equaliser_bands": "equalizer_bands",
    "facts": "dataset",
    "pools": "sources",
}
"""Fields by their names in version 0.1, as saved configurations hold them."""


class ConfigError(QuarkAudioError, ValueError):
    """A field that does not exist, or a value of the wrong type."""


def to_dict(config: Any) -> dict[str, Any]:
    """A dataclass as nested plain dicts."""
    return dataclasses.asdict(config)


def to_config_dict(config: Any) -> ml_collections.ConfigDict:
    """A dataclass as a ConfigDict with every field present, so that each can be set on the command line."""
    return ml_collections.ConfigDict(to_dict(config))


def nearest_name(name: str, known: list[str]) -> str:
    """', did you mean ...?' for the closest known name, or the list of names."""
    *group, leaf = name.split(".")
    leaf = SYNONYMS.get(leaf, leaf)
    same = [k for k in known if k.rpartition(".")[2] == leaf]
    wanted = ".".join([*group, leaf]) if same else name
    close = difflib.get_close_matches(wanted, same or known, n=1, cutoff=0.0 if same else 0.5)
    return f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known)}"


def field_names(cls: type, prefix: str = "") -> list[str]:
    """Every settable field of a config class, dotted; for TrainConfig, of every experiment."""
    return list(field_kinds(cls, prefix))


def field_kinds(cls: type, prefix: str = "") -> dict[str, Any]:
    """The type of every settable field; see `field_names`."""
    if cls is TrainConfig:
        return {name: kind for each in EXPERIMENTS.values() for name, kind in field_kinds(each).items()}
    out = {}
    for field in dataclasses.fields(cls):
        inner = dataclasses.is_dataclass(field.type)
        out |= field_kinds(field.type, f"{prefix}{field.name}.") if inner else {f"{prefix}{field.name}": field.type}
    return out


def spelled_out(arguments: Sequence[str], cls: type) -> list[str]:
    """Command line arguments with whole numbers (--config.loop.steps=1e4) and flags (yes, no) as absl reads them."""
    kinds = {f"config.{name}": values.base(kind) for name, kind in field_kinds(cls).items()}
    out = list(arguments)
    for i, argument in enumerate(out):
        name, equals, text = argument.partition("=")
        kind = kinds.get(name.lstrip("-")) if argument.startswith("-") else None
        if kind in (int, bool) and equals:
            out[i] = f"{name}={values.spelled(text, kind)}"
        elif kind is int and i + 1 < len(out):
            out[i + 1] = str(values.spelled(out[i + 1], kind))
    return out


def _coerced(value: Any, kind: Any, where: str) -> Any:
    value = _typed(value, values.base(kind), where)
    if should := values.fault(value, kind):
        raise ConfigError(f"config.{where} is {value!r}, but should be {should}")
    return value


def _typed(value: Any, kind: Any, where: str) -> Any:
    value = values.spelled(value, kind)
    if dataclasses.is_dataclass(kind):
        if not isinstance(value, Mapping | ml_collections.ConfigDict):
            raise ConfigError(f"config.{where} is {value!r}, but it is a group of fields")
        return _build(kind, value, f"{where}.")
    origin = typing.get_origin(kind)
    if origin is tuple:
        if isinstance(value, str) or not isinstance(value, list | tuple):
            raise ConfigError(f"config.{where} is {value!r}, but should be a tuple")
        item = typing.get_args(kind)[0]
        return tuple(_coerced(v, item, f"{where}[{i}]") for i, v in enumerate(value))
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(kind, types.UnionType) or not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise ConfigError(f"config.{where} is {value!r} ({type(value).__name__}), but should be {kind.__name__}")
    return value


def _build(cls: type, given: Mapping[str, Any], prefix: str) -> Any:
    fields = {f.name: f for f in dataclasses.fields(cls)}
    given = {name if name in fields else RENAMED.get(name, name): value for name, value in given.items()}
    for name in given:
        if name not in fields:
            hint = nearest_name(name, list(fields))
            raise ConfigError(f"config.{prefix}{name} does not exist; {hint}")
    built = cls(**{name: _coerced(given[name], fields[name].type, prefix + name) for name in given})
    if fault := built.fault() if hasattr(built, "fault") else "":
        raise ConfigError(f"config.{prefix.rstrip('.')}: {fault}")
    return built


def from_config_dict(config: Mapping[str, Any] | ml_collections.ConfigDict, cls: type = TrainConfig) -> Any:
    """A ConfigDict (or nested dict) as the dataclass `cls`; ConfigError names a wrong field and the nearest right one.

    cls: for TrainConfig, the experiment that the field `program` names.
    """
    given = dict(config.items())
    if cls is TrainConfig:
        name = given.get("program")
        if name not in EXPERIMENTS:
            raise ConfigError(f"config.program {name!r} does not exist; {nearest_name(str(name), list(EXPERIMENTS))}")
        cls = EXPERIMENTS[name]
    return _build(cls, given, "")

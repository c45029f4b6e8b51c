"""Conversion between ConfigDict and frozen dataclasses, with checks of names, types and values."""

import dataclasses
import difflib
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any

import ml_collections

from quarkaudio_jax.config import values
from quarkaudio_jax.config.lm import LMTrainConfig, UniseTrainConfig
from quarkaudio_jax.config.train import CodecTrainConfig, TrainConfig
from quarkaudio_jax.errors import QuarkAudioError

ExperimentConfig = CodecTrainConfig | LMTrainConfig
"""A configuration of `train`."""

EXPERIMENTS: dict[str, type[ExperimentConfig]] = {
    cls.program: cls for cls in (CodecTrainConfig, LMTrainConfig, UniseTrainConfig)
}
"""Configuration classes of `train`, by their field `program`."""

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
"""Names that other trainers use -> ours."""

RENAMED = {
    "adversary": "discriminators",
    "adversary_optim": "discriminator_optim",
    "enrolment": "enrollment",
    "equaliser": "equalizer",
    "equaliser_bands": "equalizer_bands",
    "facts": "dataset",
    "pools": "sources",
}
"""Names of version 0.1, which saved configurations may hold -> ours."""


class ConfigError(QuarkAudioError, ValueError):
    """An unknown field or an invalid value."""


def to_dict(config: Any) -> dict[str, Any]:
    """A dataclass as nested plain dicts."""
    return dataclasses.asdict(config)


def to_config_dict(config: Any) -> ml_collections.ConfigDict:
    """A dataclass as a ConfigDict with every field, so that each can be set on the command line."""
    return ml_collections.ConfigDict(to_dict(config))


def nearest_name(name: str, known: list[str]) -> str:
    """A hint for an unknown dotted name: its new name, the closest known name, or all known names."""
    *group, leaf = name.split(".")
    renamed = ".".join(RENAMED.get(part, part) for part in (*group, SYNONYMS.get(leaf, leaf)))
    if any(part in RENAMED for part in (*group, leaf)) and any(f"{k}.".startswith(f"{renamed}.") for k in known):
        return f"it is now {renamed!r}"
    leaf = SYNONYMS.get(leaf, leaf)
    same = [k for k in known if k.rpartition(".")[2] == leaf]
    wanted = ".".join([*group, leaf]) if same else name
    close = difflib.get_close_matches(wanted, same or known, n=1, cutoff=0.0 if same else 0.5)
    return f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known)}"


def field_names(cls: type, prefix: str = "") -> list[str]:
    """Dotted names of all fields of a config class; for TrainConfig, of every experiment."""
    return list(field_kinds(cls, prefix))


def field_kinds(cls: Any, prefix: str = "") -> dict[str, Any]:
    """Types of all fields by dotted name; see `field_names`."""
    if cls is TrainConfig:
        return {name: kind for each in EXPERIMENTS.values() for name, kind in field_kinds(each).items()}
    out: dict[str, Any] = {}
    for name, kind in _field_types(cls).items():
        out |= field_kinds(kind, f"{prefix}{name}.") if dataclasses.is_dataclass(kind) else {f"{prefix}{name}": kind}
    return out


def _field_types(cls: Any) -> dict[str, Any]:
    return {field.name: field.type for field in dataclasses.fields(cls)}


def normalize_arguments(arguments: Sequence[str], cls: type) -> list[str]:
    """Rewrites integers (--config.loop.steps=1e4) and booleans (yes, no) in arguments to forms that absl parses."""
    kinds = {f"config.{name}": values.base_type(kind) for name, kind in field_kinds(cls).items()}
    out = list(arguments)
    for i, argument in enumerate(out):
        name, equals, text = argument.partition("=")
        kind = kinds.get(name.lstrip("-")) if argument.startswith("-") else None
        if kind in (int, bool) and equals:
            out[i] = f"{name}={values.parse_scalar(text, kind)}"
        elif kind is int and i + 1 < len(out):
            out[i + 1] = str(values.parse_scalar(out[i + 1], kind))
    return out


def _coerced(value: Any, kind: Any, where: str) -> Any:
    value = _typed(value, values.base_type(kind), where)
    if expected := values.violations(value, kind):
        raise ConfigError(f"config.{where} is {value!r}, but should be {expected}")
    return value


def _typed(value: Any, kind: Any, where: str) -> Any:
    value = values.parse_scalar(value, kind)
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


def _build(cls: Any, given: Mapping[str, Any], prefix: str) -> Any:
    fields = _field_types(cls)
    given = {name if name in fields else RENAMED.get(name, name): value for name, value in given.items()}
    for name in given:
        if name not in fields:
            hint = nearest_name(name, list(fields))
            raise ConfigError(f"config.{prefix}{name} does not exist; {hint}")
    built = cls(**{name: _coerced(given[name], fields[name], prefix + name) for name in given})
    if problem := built.problem() if hasattr(built, "problem") else "":
        raise ConfigError(f"config.{prefix.rstrip('.')}: {problem}")
    return built


def from_config_dict(config: Mapping[str, Any] | ml_collections.ConfigDict, cls: type = TrainConfig) -> Any:
    """Builds the dataclass `cls` from a ConfigDict or nested dict; for TrainConfig, the class that `program` names.

    ConfigError names an unknown field and the closest known one.
    """
    given = dict(config.items())
    if cls is TrainConfig:
        name = given.get("program")
        if name not in EXPERIMENTS:
            raise ConfigError(f"config.program {name!r} does not exist; {nearest_name(str(name), list(EXPERIMENTS))}")
        cls = EXPERIMENTS[name]
    return _build(cls, given, "")

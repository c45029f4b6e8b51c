"""From a ConfigDict to frozen dataclasses and back; beyond this room nobody sees a ConfigDict."""

import dataclasses
import difflib
import types
import typing
from collections.abc import Mapping
from typing import Any

import ml_collections

from quarkaudio_jax.errors import QuarkAudioError
from quarkaudio_jax.schema.lm import LMTrainConfig
from quarkaudio_jax.schema.train import CodecTrainConfig, TrainConfig

EXPERIMENTS = {cls.program: cls for cls in (CodecTrainConfig, LMTrainConfig)}
"""The configurations that `train` takes, by their field `program`."""


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
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known)}"


def field_names(cls: type, prefix: str = "") -> list[str]:
    """Every settable field of a config class, dotted; for TrainConfig, of every experiment."""
    if cls is TrainConfig:
        return list(dict.fromkeys(name for each in EXPERIMENTS.values() for name in field_names(each)))
    out = []
    for field in dataclasses.fields(cls):
        if dataclasses.is_dataclass(field.type):
            out += field_names(field.type, f"{prefix}{field.name}.")
        else:
            out.append(f"{prefix}{field.name}")
    return out


def _coerced(value: Any, kind: Any, where: str) -> Any:
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


def _build(cls: type, values: Mapping[str, Any], prefix: str) -> Any:
    fields = {f.name: f for f in dataclasses.fields(cls)}
    for name in values:
        if name not in fields:
            hint = nearest_name(name, list(fields))
            raise ConfigError(f"config.{prefix}{name} does not exist; {hint}")
    return cls(**{name: _coerced(values[name], fields[name].type, prefix + name) for name in values})


def from_config_dict(config: Mapping[str, Any] | ml_collections.ConfigDict, cls: type = TrainConfig) -> Any:
    """A ConfigDict (or nested dict) as the dataclass `cls`; ConfigError names a wrong field and the nearest right one.

    cls: for TrainConfig, the experiment that the field `program` names.
    """
    values = dict(config.items())
    if cls is TrainConfig:
        name = values.get("program")
        if name not in EXPERIMENTS:
            raise ConfigError(f"config.program {name!r} does not exist; {nearest_name(str(name), list(EXPERIMENTS))}")
        cls = EXPERIMENTS[name]
    return _build(cls, values, "")

"""Loads configurations by name or file: Python with a function get_config(variant), or the config.json of a run."""

import dataclasses
import importlib.util
import inspect
import json
import os
import pathlib
import sys
import traceback
import types
from typing import Any

import ml_collections

from quarkaudio_jax.config.build import EXPERIMENTS, ConfigError, from_config_dict, to_config_dict

PACKAGED = pathlib.Path(__file__).parents[1] / "configs"
"""Folder of the packaged configurations: `codec48k` is codec48k.py in it."""


def packaged_names() -> list[str]:
    """Names of the packaged configurations."""
    return sorted(path.stem for path in PACKAGED.glob("[!_]*.py"))


def load_config(spec: str) -> ml_collections.ConfigDict:
    """Loads NAME[:VARIANT] or FILE[:VARIANT]; ConfigError names the file and the line at fault.

    NAME is one of `packaged_names`. A Python file may import others of its folder (`from .codec48k import ...`).
    """
    name, colon, variant = os.path.expanduser(spec).partition(":")
    path = PACKAGED / f"{name}.py" if name in packaged_names() else pathlib.Path(name)
    if not path.is_file():
        if path.is_dir():
            raise ConfigError(f"{name}: is a folder; choose a file in it")
        raise ConfigError(f"{name}: no such file; by name there are {', '.join(packaged_names())}")
    if path.suffix == ".json":
        if colon:
            raise ConfigError(f"{name}: the configuration of a run has no variants, such as {variant!r}")
        return _from_json(path)
    if path.suffix != ".py":
        raise ConfigError(f"{name} is no configuration: a Python file with get_config(), or a run's config.json")
    return _from_python(path, [variant] if colon else [])


def _from_json(path: pathlib.Path) -> ml_collections.ConfigDict:
    try:
        values = json.loads(path.read_text("utf-8"))
    except json.JSONDecodeError as error:
        raise ConfigError(f"{path}, line {error.lineno}: not JSON ({error.msg})") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not JSON (it is not UTF-8)") from error
    except (ValueError, RecursionError) as error:  # numbers of thousands of digits, thousands of brackets
        raise ConfigError(f"{path}: not the config.json of a run ({error})") from error
    if not isinstance(values, dict) or values.get("program") not in list(EXPERIMENTS):
        raise ConfigError(f"{path} is not the config.json of a run: it has no field program with {_or(EXPERIMENTS)}")
    try:
        return to_config_dict(from_config_dict(values))
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def _from_python(path: pathlib.Path, variant: list[str]) -> ml_collections.ConfigDict:
    folder = path.absolute().parent
    before = list(sys.path)
    sys.path[:] = [str(folder.parent), *before, os.getcwd(), str(folder)]
    try:
        get_config = getattr(_module(path, folder), "get_config", None)
        if not callable(get_config):
            raise ConfigError(f"{path} is no configuration: it has no function get_config()")
        if variant and not inspect.signature(get_config).parameters:
            raise ConfigError(f"{path} has no variants, such as {variant[0]!r}: its get_config() takes none")
        config = get_config(*variant)
    except ConfigError:
        raise
    except Exception as error:  # whatever the code of a configuration raises
        raise ConfigError(_where(error, path, folder)) from error
    finally:
        sys.path[:] = before
    if not isinstance(config, ml_collections.ConfigDict):
        kind = type(config).__name__
        raise ConfigError(f"{path} is no configuration: its get_config() returns {kind}, not a ConfigDict")
    return config


def _module(path: pathlib.Path, folder: pathlib.Path) -> types.ModuleType:
    """Imports the file as a module of a package made of its folder."""
    package = f"configs_of_{folder.as_posix().replace('/', '_').replace('.', '_')}"
    sys.modules[package] = types.ModuleType(package)
    sys.modules[package].__path__ = [str(folder)]
    spec = importlib.util.spec_from_file_location(f"{package}.{path.stem}", path)
    assert spec is not None and spec.loader is not None, path  # a .py file has both
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _where(error: Exception, path: pathlib.Path, folder: pathlib.Path) -> str:
    """One line, `FILE, line N: reason`; FILE is the innermost frame in the configuration's folder."""
    reason = (str(error).strip().splitlines() or [""])[0]
    if isinstance(error, SyntaxError):
        return f"{error.filename or path}, line {error.lineno}: {error.msg}"
    frames = [f for f in traceback.extract_tb(error.__traceback__) if pathlib.Path(f.filename).parent == folder]
    place = f"{path}, line {frames[-1].lineno}" if frames else str(path)
    if frames and pathlib.Path(frames[-1].filename).name != path.name:
        place = f"{frames[-1].filename}, line {frames[-1].lineno}"
    return f"{place}: {reason}" if type(error) is ValueError else f"{place}: {type(error).__name__}: {reason}"


def require_kind(config: Any, cls: type, name: str) -> type:
    """The class to build a configuration as, `cls` or a subclass; ConfigError if it is for another kind of command."""
    training, wanted = "program" in config, any(issubclass(each, cls) for each in EXPERIMENTS.values())
    if training and not wanted:
        raise ConfigError(
            f"{name} is a configuration of training ({config.program}), not of data: choose one such as configs/prepare.py"
        )
    if not training and wanted:
        raise ConfigError(
            f"{name} is no configuration of training, it has no field program: choose one such as configs/codec48k.py"
        )
    if training and config.program not in EXPERIMENTS:
        raise ConfigError(f"{name}: program is {config.program!r}, but should be {_or(EXPERIMENTS)}")
    return EXPERIMENTS[config.program] if training else cls


def expanded(config: Any) -> Any:
    """A dataclass with `~` at the start of strings, or after a comma, expanded to the home directory."""
    changes = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            changes[field.name] = expanded(value)
        elif isinstance(value, str) and "~" in value:
            changes[field.name] = ",".join(os.path.expanduser(part) for part in value.split(","))
    return dataclasses.replace(config, **changes)


def _or(names: Any) -> str:
    return " or ".join(map(repr, names))

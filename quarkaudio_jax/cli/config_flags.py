"""`--config=NAME:VARIANT` and `--config.FIELD=VALUE`."""

import os
from collections.abc import Callable, Sequence
from typing import Any

from quarkaudio_jax.cli.common import report_errors
from quarkaudio_jax.errors import UserError


def read_config(argv: Sequence[str], cls: type, about: str, define: Callable[[Any], None]) -> tuple[Any, Any]:
    """(configuration `cls`, the other flags) of a verb that takes --config=FILE:VARIANT and --config.field=value.

    define: adds the verb's own flags to the absl FlagValues it is given. Flags are the verb's
    own, so that several verbs can run in one process. `~` at the start of a value is the user's
    folder. SystemExit for unknown flags and fields, and for files that are no configuration.
    """
    with report_errors():
        return _read_config(argv, cls, about, define)


def _read_config(argv: Sequence[str], cls: type, about: str, define: Callable[[Any], None]) -> tuple[Any, Any]:
    from absl import flags
    from ml_collections import config_flags

    from quarkaudio_jax.config import from_config_dict, normalize_arguments
    from quarkaudio_jax.config.files import expanded, load_config, packaged_names, require_kind

    values = flags.FlagValues()
    define(values)
    if set(argv[1:]) & {"--help", "-h", "--helpshort", "--helpfull"}:
        print(
            f"{about}\n\nflags:\n{values.get_help()}\n\n  --config=NAME[:VARIANT]: the experiment, one of "
            f"{', '.join(packaged_names())}; or its file, or the config.json of a run\n"
            "and --config.FIELD=VALUE for every field of the configuration"
        )
        raise SystemExit(0)
    name, arguments = _config_named(argv)
    config = load_config(name) if name is not None else None
    kind = cls if config is None else require_kind(config, cls, name)
    check_fields(arguments[1:], kind)
    arguments = normalize_arguments(arguments, kind)
    try:
        if config is not None:
            config_flags.DEFINE_config_dict("config", config, flag_values=values, sys_argv=arguments)
        rest = values(arguments)[1:]
    except (KeyError, AttributeError) as error:
        raise UserError(f"{name} lacks a field that is set: {str(error).strip()}") from error
    except (flags.Error, ValueError) as error:
        missing = [flag for flag in values if values[flag].value is None and f"--{flag}=None" in str(error)]
        reason = f"--{missing[0]} is missing" if missing else str(error).strip().splitlines()[-1].strip()
        raise UserError(reason) from error
    if rest:
        raise UserError(f"{rest[0]!r} is not a flag; flags start with --")
    if config is None:
        raise UserError("--config is missing, for example --config=codec48k:tiny")
    for flag in values:
        if isinstance(values[flag].value, str):
            values[flag].value = os.path.expanduser(values[flag].value)
    return expanded(from_config_dict(values.config, cls)), values


def _config_named(argv: Sequence[str]) -> tuple[str | None, list[str]]:
    """(what the last --config says, the other arguments)."""
    name, rest, arguments = None, [], iter(argv)
    for argument in arguments:
        plain, equals, value = argument.partition("=")
        if plain not in ("--config", "-config"):
            rest.append(argument)
        elif (name := value if equals else next(arguments, "")) == "":
            raise UserError("--config names nothing; for example --config=codec48k:tiny")
    return name, rest


def check_fields(arguments: Sequence[str], cls: type) -> None:
    """SystemExit naming the nearest field when --config.x.y names none."""
    from quarkaudio_jax.config import field_names, nearest_name

    known = field_names(cls)
    groups = {name.rsplit(".", i)[0] for name in known for i in range(1, name.count(".") + 1)}
    for argument in arguments:
        name = argument.lstrip("-").partition("=")[0]
        if argument.startswith("-") and name.startswith("config."):
            plain = name.removeprefix("config.")
            if not {plain, plain.removeprefix("no")} & (set(known) | groups):
                raise SystemExit(f"error: --config.{plain} does not exist; {nearest_name(plain, known)}")

"""`--config=NAME:VARIANT` and `--config.FIELD=VALUE`."""

import argparse
import re
from collections.abc import Sequence
from typing import Any

from quarkaudio_jax.cli.common import report_errors
from quarkaudio_jax.cli.options import Parser, UsageError
from quarkaudio_jax.errors import QuarkAudioError, system_errors


def read_config(parser: Parser, arguments: Sequence[str], cls: type) -> tuple[Any, argparse.Namespace]:
    """(configuration `cls`, the other options) of a verb that takes --config=NAME:VARIANT and --config.FIELD=VALUE.

    Adds --config to the parser. A leading `~` in a value is the home folder. SystemExit for unknown options and
    fields, and for files that are not configurations.
    """
    with report_errors():
        try:
            with system_errors():
                return _read_config(parser, arguments, cls)
        except UsageError:
            raise
        except QuarkAudioError as error:
            raise UsageError(error) from error


def _read_config(parser: Parser, arguments: Sequence[str], cls: type) -> tuple[Any, argparse.Namespace]:
    from absl import flags
    from ml_collections import config_flags

    from quarkaudio_jax.config import from_config_dict, normalize_arguments
    from quarkaudio_jax.config.files import expanded, load_config, packaged_names, require_kind

    group = parser.add_argument_group("configuration")
    about = f"one of {', '.join(packaged_names())}; a Python file; or the config.json of a run"
    group.add_argument("--config", metavar="NAME[:VARIANT]", required=True, help=about)
    group.add_argument("--config.FIELD", metavar="VALUE", help="set any field of the configuration")
    overrides, rest = _split(arguments, cls)
    args = parser.parse_args(rest)
    if not args.config:
        raise UsageError("--config names nothing; for example --config=codec48k:tiny")
    config = load_config(args.config)
    kind = require_kind(config, cls, args.config)
    check_fields(overrides, kind)
    overrides = normalize_arguments([parser.prog, *overrides], kind)
    values = flags.FlagValues()
    try:
        config_flags.DEFINE_config_dict("config", config, flag_values=values, sys_argv=overrides)
        values(overrides)
    except (KeyError, AttributeError) as error:
        raise UsageError(f"{args.config} lacks a field that is set: {str(error).strip()}") from error
    except (flags.Error, ValueError) as error:
        raise UsageError(str(error).strip().splitlines()[-1].strip()) from error
    return expanded(from_config_dict(values.config, cls)), args


def _split(arguments: Sequence[str], cls: type) -> tuple[list[str], list[str]]:
    """(overrides of fields, the other arguments). A value may be an argument of its own, except of a bool."""
    from quarkaudio_jax.config.build import field_kinds

    kinds = field_kinds(cls)
    overrides: list[str] = []
    rest: list[str] = []
    following = iter(arguments)
    for argument in following:
        found = re.match(r"--?(?:no)?config\.([^=]*)(=?)", argument)
        if not found:
            rest.append(argument)
            continue
        overrides.append(argument)
        name, equals = found.groups()
        if not equals and name in kinds and kinds[name] is not bool:
            overrides += [value for value in [next(following, None)] if value is not None]
    return overrides, rest


def check_fields(overrides: Sequence[str], cls: type) -> None:
    """UsageError naming the nearest field if --config.x.y is not one."""
    from quarkaudio_jax.config import field_names, nearest_name

    known = field_names(cls)
    groups = {name.rsplit(".", i)[0] for name in known for i in range(1, name.count(".") + 1)}
    for argument in overrides:
        name = argument.lstrip("-").partition("=")[0]
        if argument.startswith("-") and name.startswith("config."):
            plain = name.removeprefix("config.")
            if not {plain, plain.removeprefix("no")} & (set(known) | groups):
                raise UsageError(f"--config.{plain} does not exist; {nearest_name(plain, known)}")

"""Options of the command line: one way to declare, parse and explain them for all verbs."""

import argparse
import inspect
import itertools
import os
import re
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from quarkaudio_jax.errors import UserError

USAGE_STATUS = 2
"""Exit status of a wrong command line; 1 is any other failure."""

RENAMED = {"--enrol": "--enrollment", "--recognizer": "--asr-model", "--recogniser": "--asr-model"}
"""Options by their names in version 0.1."""


class UsageError(UserError):
    """An option that is unknown, missing or out of range; the verb ends with USAGE_STATUS."""


def exit_with_usage_error(message: object) -> NoReturn:
    """Prints `error: MESSAGE` on stderr and raises SystemExit with USAGE_STATUS."""
    error = SystemExit(f"error: {message}")
    print(error, file=sys.stderr)
    error.code = USAGE_STATUS
    raise error


def path(text: str) -> str:
    """Parse an argument that names a file or a folder, perhaps on a hub: a leading `~` is the home folder."""
    return os.path.expanduser(text)


def parse_share(text: str) -> tuple[int, int]:
    """(i, n) of --share=i/n, the i-th of n processes, counted from 1; UsageError otherwise."""
    index, slash, count = text.partition("/")
    if slash and index.isdecimal() and count.isdecimal() and 1 <= int(index) <= int(count):
        return int(index), int(count)
    raise UsageError(f"--share={text} is not i/n with i from 1 to n, such as 1/4")


class _Formatter(argparse.RawDescriptionHelpFormatter):
    def __init__(self, prog: str):
        super().__init__(prog, max_help_position=30, width=100)


class Parser(argparse.ArgumentParser):
    """Parser of a verb's options. doc: what the verb does, and an example, as in the docstring of its module.

    Errors are one line and name the nearest option; abbreviations are not accepted.
    """

    def __init__(self, prog: str, doc: str | None = "", **more: Any):
        more.setdefault("formatter_class", _Formatter)
        text = re.sub(r"^quarkaudio ", "  quarkaudio ", inspect.cleandoc(doc or ""), flags=re.MULTILINE)
        super().__init__(prog=prog, description=text, allow_abbrev=False, **more)
        self._optionals.title = "help"

    def format_help(self) -> str:
        """The help, with a usage line of the required arguments only."""
        self.usage = self.usage or " ".join(["%(prog)s", *self._required(), "[OPTIONS]"])
        groups = [group for group in self._action_groups if group is not self._optionals]
        self._action_groups = [*groups, self._optionals]
        return super().format_help()

    def _required(self) -> list[str]:
        out = []
        for action in self._actions:
            name = str(action.metavar or action.dest)
            if isinstance(action, argparse._SubParsersAction):
                out.append(f"{{{','.join(action.choices)}}} ...")
            elif not action.option_strings:
                out.append({"+": f"{name}...", "?": f"[{name}]"}.get(str(action.nargs), name))
            elif action.required:
                out.append(f"{action.option_strings[0]} {name}" + ("..." if action.nargs == "+" else ""))
        return out

    def parse_known_args(self, args=None, namespace=None):  # type: ignore[override]  # narrower than the stub's overloads
        """Parses the arguments, after a check that every option is known."""
        args = list(sys.argv[1:] if args is None else args)
        if self._subparsers is None:
            for argument in itertools.takewhile(lambda a: a != "--", args):
                self._check_known(argument.partition("=")[0])
        return super().parse_known_args(args, namespace)

    def _check_known(self, name: str) -> None:
        known = self._option_string_actions
        if name in known or not re.match(r"--?[a-zA-Z]", name):
            return
        if RENAMED.get(name) in known:
            self.error(f"{name} is now {RENAMED[name]}")
        from quarkaudio_jax.config import nearest_name

        self.error(f"option {name} does not exist; {nearest_name(name, [k for k in known if k.startswith('--')])}")

    def parse_args(self, args=None, namespace=None):  # type: ignore[override]  # narrower than the stub's overloads
        """Parses the arguments; what is left over is an error."""
        found, rest = self.parse_known_args(args, namespace)
        if rest:
            self.error(f"unexpected argument {rest[0]!r}")
        return found

    def error(self, message: str) -> NoReturn:
        """Exits with one line and USAGE_STATUS."""
        prefix = "the following arguments are required: "
        if message.startswith(prefix):
            names = message.removeprefix(prefix)
            message = f"{names} {'are' if ',' in names else 'is'} missing"
        exit_with_usage_error(f"{message.removeprefix('argument ')} (see {self.prog} --help)")


def add_inputs(parser: Any, about: str = "audio files or folders of them, at any sample rate") -> None:
    """Adds the positional argument INPUT..., one or more files or folders."""
    parser.add_argument("input", metavar="INPUT", nargs="+", type=path, help=about)


def add_path(parser: Any, name: str, about: str, **more: Any) -> None:
    """Adds --NAME PATH: a file, a folder or a name on a hub; "" where it is neither given nor required."""
    if not more.get("required"):
        more.setdefault("default", "")
    parser.add_argument(f"--{name}", metavar="PATH", type=path, help=about, **more)


def add_number(parser: Any, name: str, about: str, kind: type = int, **more: Any) -> None:
    """Adds --NAME N, a number; its default is part of the help."""
    if more.get("default") is not None:
        about = f"{about} (default: {more['default']})"
    parser.add_argument(f"--{name}", metavar="N" if kind is int else "X", type=kind, help=about, **more)


def add_codec(parser: Any, about: str) -> None:
    """Adds --checkpoint, a codec; by default "", for which `common.codec_source` gives the built-in one."""
    add_path(parser, "checkpoint", f"{about} (default: the built-in codec, for speech)")


def add_features(parser: Any) -> None:
    """Adds --features, the weights of the SSL model."""
    add_path(
        parser, "features", "folder or hub name of the SSL model's weights, where they are not found automatically"
    )


def add_text_features(parser: Any) -> None:
    """Adds --text-features, the weights of the text encoder."""
    add_path(
        parser,
        "text-features",
        "folder or hub name of the text encoder's weights, where they are not found automatically",
    )


def add_overwrite(parser: Any, skip: bool = False) -> None:
    """Adds --overwrite and, for verbs that go from file to file, --skip-existing."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--overwrite", action="store_true", help="replace existing files")
    if skip:
        group.add_argument("--skip-existing", action="store_true", help="skip existing files: resume a folder")


def require_at_least(args: argparse.Namespace, least: float, *names: str) -> None:
    """UsageError if one of the options is smaller."""
    for name in names:
        if (value := getattr(args, name.replace("-", "_"))) < least:
            raise UsageError(f"--{name} is {value}, but should be at least {least:g}")


def arguments(argv: Sequence[str] | None) -> list[str]:
    """The arguments of a verb: without the program's name, which comes first."""
    return list((sys.argv if argv is None else argv)[1:])

"""The code blocks of the documentation: finding, running and, where they are not run, checking them.

A block is run unless a comment before it says `<!-- not run: REASON -->`, or one on its page `<!-- blocks not run: REASON -->`.
`<!-- run with: ARGUMENTS -->` before a block names arguments that its test adds to commands with a --config, such as fewer steps.
"""

import ast
import contextlib
import dataclasses
import importlib
import os
import pathlib
import re
import shlex
import subprocess
import sys
import tomllib

from quarkaudio_jax.cli import main as cli
from quarkaudio_jax.cli import options
from tests.conftest import ROOT

PAGES = [*sorted((ROOT / "docs").rglob("*.md")), *(ROOT / n for n in ("README.md", "CONTRIBUTING.md", "SECURITY.md"))]
LAUNCHERS = ("tpu.sh", "jobset.sh", "slurm.sh")
"""Scripts of launch/ with --dry-run."""
OTHERS = {"cd", "git", "gcloud", "gcsfuse", "mkdir", "python", "pytest", "ruff", "mypy", "source", "mkdocs"}
"""Programs that are not ours; of blocks that are not run their arguments are not checked."""

FENCE = re.compile(r"((?:^<!-- [^\n]* -->\n+)?)^```(\w*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclasses.dataclass(frozen=True)
class Block:
    """A code block. not_run: why it is not run; empty if it is. extra: arguments added to commands with a --config."""

    page: pathlib.Path
    line: int
    language: str
    text: str
    not_run: str
    extra: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def commands(self) -> list[list[str]]:
        """The words of each command of a bash block; `…` stands for the models and the output that a verb needs."""
        lines = self.text.replace("\\\n", " ").splitlines()
        return [words for line in lines if (words := shlex.split(line, comments=True))]


def blocks(page: pathlib.Path) -> list[Block]:
    """The bash and python blocks of a page, in order."""
    text, out = page.read_text(), []
    whole = re.search(r"<!-- blocks not run: (.*?) -->", text)
    for found in FENCE.finditer(text):
        comment, language, body = found.groups()
        if language not in ("bash", "python"):
            continue
        reason = re.search(r"not run: (.*?) -->", comment) or whole
        extra = re.search(r"run with: (.*?) -->", comment)
        line = text[: found.start(3)].count("\n")
        words = tuple(extra[1].split()) if extra else ()
        out.append(Block(page, line, language, body, reason[1] if reason else "", words))
    return out


class Parsed(Exception):
    """A verb has read its command line, and stops."""


def verb_of(words: list[str]) -> list[str] | None:
    """[verb, argument...] of a command of ours, as `quarkaudio` takes it; None of other programs."""
    if words[0] == "quarkaudio":
        return words[1:]
    if words[:2] == ["python", "-m"] and words[2].startswith("quarkaudio_jax"):
        dotted = words[2].removeprefix("quarkaudio_jax").removeprefix(".")
        return [dotted.replace("_", "-"), *words[3:]] if dotted else words[3:]
    return None


def call(arguments: list[str]) -> None:
    """Runs `quarkaudio ARGUMENTS` in this process."""
    given, sys.argv = sys.argv, ["quarkaudio", *arguments]
    try:
        cli.main()
    except SystemExit as error:
        assert not error.code, error.code
    finally:
        sys.argv = given


def parse(arguments: list[str], monkeypatch) -> None:
    """Lets a verb read its command line and its configuration, and nothing more."""
    verb = arguments[0]
    assert verb in cli.VERBS, verb
    name = "tasks" if verb in cli.TASK_VERBS else verb.replace("-", "_")
    module, parse_args = importlib.import_module(f"quarkaudio_jax.cli.{name}"), options.Parser.parse_args

    def stop(function):
        def stopping(*args, **more):
            function(*args, **more)
            raise Parsed

        return stopping

    with monkeypatch.context() as patch, contextlib.suppress(Parsed):
        if hasattr(module, "read_config"):
            patch.setattr(module, "read_config", stop(module.read_config))
        else:
            patch.setattr(options.Parser, "parse_args", stop(parse_args))
        call(arguments)
        raise AssertionError(f"{verb} reads no command line")


def completed(arguments: list[str]) -> list[str]:
    """A task's command, in which `…` is replaced by the options that it needs."""
    if "…" not in arguments:
        return arguments
    return [a for a in arguments if a != "…"] + ["--checkpoint=runs/lm", "--codec=runs/codec", "--output=out"]


def check(words: list[str], monkeypatch) -> None:
    """Checks a command that is not run: verbs parse it, launchers print it, extras and modules exist."""
    while re.match(r"[A-Z_]+=", words[0]):
        words = words[1:]
    if (arguments := verb_of(words)) is not None:
        parse(completed(arguments), monkeypatch)
    elif words[0] == "bash":
        check_script(words[1:], monkeypatch)
    elif words[:2] == ["pip", "install"]:
        check_extras(words[2:])
    elif words[:2] == ["python", "-m"] and words[2].startswith("benchmarks."):
        path = ROOT / f"{words[2].replace('.', '/')}.py"
        source = path.read_text()
        for name in (word.partition("=")[0].removeprefix("--") for word in words[3:] if word.startswith("--")):
            assert re.search(rf"\b{name.replace('-', '[-_]')}\b", source), f"{path}: no option {name}"
    else:
        assert pathlib.Path(words[0]).name in OTHERS, f"unknown program {words[0]}"


def check_script(words: list[str], monkeypatch) -> None:
    """Checks a call of a script of launch/, and the training that follows `--`."""
    script = ROOT / words[0]
    assert script.is_file(), script
    if script.name not in LAUNCHERS:
        return
    end = words.index("--") if "--" in words else len(words)
    env = dict(os.environ, REPO="https://example.org/project.git")
    command = ["bash", script, *words[1:end], "--dry-run", *words[end:]]
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    if training := words[end + 1 :]:
        parse(["train", *training], monkeypatch)


def check_extras(words: list[str]) -> None:
    """Checks that the extras of this project in arguments of pip exist."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for word in words:
        if found := re.fullmatch(r"(?:\.|quarkaudio_jax)\[(.*)\]", word):
            assert set(found[1].split(",")) <= set(extras), word


def check_python(text: str) -> None:
    """Checks that a block compiles, and that what it imports of this project exists."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("quarkaudio_jax"):
            module = importlib.import_module(node.module)
            for alias in node.names:
                assert hasattr(module, alias.name), f"{node.module}.{alias.name}"


def run(block: Block, names: dict) -> None:
    """Runs a block in the working directory; python blocks of a page share `names`."""
    if block.language == "python":
        exec(compile(block.text, str(block), "exec"), names)
        return
    for words in block.commands:
        arguments = verb_of(words)
        assert arguments is not None, f"{block}: only commands of this project are run, not {words[0]}"
        configured = any(a.startswith("--config") for a in arguments)
        call([*arguments, *(block.extra if configured else ())])

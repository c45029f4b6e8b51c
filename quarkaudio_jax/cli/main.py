"""`quarkaudio VERB ...`: the dispatcher of the command line."""

import importlib
import sys

import quarkaudio_jax
from quarkaudio_jax.cli.options import exit_with_usage_error
from quarkaudio_jax.tokens.tasks import TASKS

TASK_VERBS = {task.verb: task.about for task in TASKS.values() if " " not in task.verb} | {
    "separate": "the speech of each of two speakers"
}
"""Verbs that run a task of the language model (all in `cli.tasks`), and what each gives."""

GROUPS: dict[str, dict[str, str]] = {
    "codec": {
        "encode": "encode audio files to token files",
        "decode": "decode token files to audio",
    },
    "tasks of a language model": TASK_VERBS,
    "training and data": {
        "train": "train a codec or a language model",
        "prepare": "simulate training data and compute its features and codes",
        "simulate": "write examples of a task to listen to",
        "manifest": "list audio files with speakers and transcripts",
        "compile": "report what a configuration needs on a TPU slice, without one",
    },
    "evaluation": {
        "evaluate": "measure a codec or a language model on a folder or a benchmark",
        "rate-distortion": "plot the distortion of codecs against their bit rate",
        "compare": "make a page to listen to recordings side by side",
    },
    "weights": {"convert": "import, export and verify PyTorch weights"},
}
"""Verbs by the sections of `--help`."""

VERBS = {verb: about for group in GROUPS.values() for verb, about in group.items()}

RENAMED = {
    "query": "lass",
    "edit": "edit-speech, or edit-audio (was edit --scene)",
    "curves": "rate-distortion",
    "generate": "a verb of its own for each task, such as restore",
}
"""Verbs by their names in version 0.1."""


def main() -> None:
    """Runs a verb; `sys.argv` holds its name and arguments."""
    name, *rest = sys.argv[1:] or ["--help"]
    if name == "--version":
        print(f"quarkaudio_jax {quarkaudio_jax.__version__}")
    elif name in ("--help", "-h", "help"):
        print(usage())
        raise SystemExit(0)
    elif name in TASK_VERBS:
        importlib.import_module("quarkaudio_jax.cli.tasks").main(["quarkaudio", name, *rest])
    elif name in VERBS:
        importlib.import_module(f"quarkaudio_jax.cli.{name.replace('-', '_')}").main([f"quarkaudio {name}", *rest])
    elif name in RENAMED:
        exit_with_usage_error(f"{name} is now {RENAMED[name]}")
    else:
        from quarkaudio_jax.config import nearest_name

        exit_with_usage_error(
            f"verb {name!r} does not exist; {nearest_name(name, list(VERBS))} (see quarkaudio --help)"
        )


def usage() -> str:
    """The verbs in groups."""
    lines = ["usage: quarkaudio VERB [OPTIONS]"]
    for title, group in GROUPS.items():
        lines += ["", f"{title}:", *(f"  {verb:17}{about}" for verb, about in group.items())]
    lines += ["", "quarkaudio VERB --help   list the options of a verb", "quarkaudio --version     print the version"]
    return "\n".join(lines)

"""One style of options, help and errors over all verbs, named by the table of tasks."""

import importlib
import subprocess
import sys

import pytest

from quarkaudio_jax.cli import main, options, tasks
from quarkaudio_jax.cli.common import report_errors
from quarkaudio_jax.errors import UserError
from quarkaudio_jax.tokens.tasks import TASKS
from tests.conftest import ROOT

OWN_VERBS = [verb for verb in main.VERBS if verb not in main.TASK_VERBS]
"""Verbs with a module of their own."""


def run(monkeypatch, *arguments):
    """(exit status, message) of `quarkaudio ARGUMENTS`."""
    monkeypatch.setattr(sys, "argv", ["quarkaudio", *arguments])
    with pytest.raises(SystemExit) as stopped:
        main.main()
    return stopped.value.code, str(stopped.value)


def test_every_task_has_a_verb_and_every_verb_of_tasks_a_task():
    assert {task.verb.removesuffix(tasks.REVERSE) for task in TASKS.values()} == set(main.TASK_VERBS)
    assert len({task.verb for task in TASKS.values()}) == len(TASKS)
    for task in TASKS.values():
        assert tasks.task_of(task.verb.removesuffix(tasks.REVERSE), task.verb.endswith(tasks.REVERSE)) is task


@pytest.mark.parametrize("verb", main.VERBS)
def test_help_looks_alike(verb, monkeypatch, capsys):
    code, _ = run(monkeypatch, verb, "--help")
    usage, empty, about, blank, example, *rest = capsys.readouterr().out.splitlines()
    assert code == 0 and usage.startswith(f"usage: quarkaudio {verb} ") and not empty and not blank
    assert about[0].isupper() and about.endswith(".") and example.startswith(f"  quarkaudio {verb} ")
    titles = [line for line in rest if line.endswith(":") and not line.startswith(" ")]
    assert titles[-1] == "help:" and len(titles) > 1


@pytest.mark.parametrize("verb", OWN_VERBS)
def test_a_module_says_what_its_verb_does_and_how_it_is_called(verb):
    lines = importlib.import_module(f"quarkaudio_jax.cli.{verb.replace('-', '_')}").__doc__.splitlines()
    assert lines[0].endswith(".") and not lines[1] and lines[2].startswith(f"quarkaudio {verb} ")


@pytest.mark.parametrize("verb", [verb for verb in main.VERBS if verb != "convert"])
def test_unknown_options_name_the_nearest(verb, monkeypatch, capsys):
    wrong = "--worddir=x" if verb == "train" else "--ouptut=x"
    code, message = run(monkeypatch, verb, "in", wrong)
    nearest = "--workdir" if verb == "train" else "--output"
    assert code == 2 and f"did you mean '{nearest}'? (see quarkaudio {verb} --help)" in message
    assert capsys.readouterr().err == f"{message}\n"


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["encod"], "verb 'encod' does not exist; did you mean 'encode'?"),
        (["query", "a dog"], "query is now lass"),
        (["edit", "cut"], "edit is now edit-speech, or edit-audio"),
        (["curves"], "curves is now rate-distortion"),
        (["extract", "a.wav", "--enrol=b.wav"], "--enrol is now --enrollment"),
        (["evaluate", "a.wav", "--recogniser=x"], "--recogniser is now --asr-model"),
        (["evaluate", "a.wav", "--recognizer", "x"], "--recognizer is now --asr-model"),
        (["encode", "a.wav"], "--output is missing"),
        (["encode", "a.wav", "--output=x", "--checkpoint=x", "--channel=0"], "--channel: '0' is neither mean nor"),
        (["encode", "a.wav", "--output=x", "--checkpoint=x", "--check=y"], "option --check does not exist"),
        (["encode", "a.wav", "--output=x", "--checkpoint=x", "--overwrite", "--skip-existing"], "not allowed with"),
        (["convert"], "command is missing"),
        (["convert", "export", "a", "--output=b", "--fromat=torch"], "did you mean '--format'?"),
        (["train", "--workdir=x", "--config=codec48k:tiny", "--config.optm.lr=1"], "did you mean 'optim.lr'?"),
        (["train", "--workdir=x", "--config=codec48k:tiny", "more"], "unexpected argument 'more'"),
        (["train", "--workdir=x"], "--config is missing"),
        (["train", "--workdir=x", f"--config={'x' * 300}"], "xxx: File name too long"),
        (["prepare", "--output=x", "--config=prepare:tiny", "--share=3/2"], "--share=3/2 is not i/n"),
        (["restore", "a.wav", "--checkpoint=x", "--codec=x", "--output=x", "--top-p=0"], "should be in (0, 1]"),
        (["restore", "a.wav", "--checkpoint=x", "--codec=x", "--output=x", "--batch=0"], "should be at least 1"),
        (["lass", " ", "a.wav", "--checkpoint=x", "--codec=x", "--output=x"], "lass needs a text, which is empty"),
        (["simulate", "--config=prepare:tiny", "--task=restoration", "--output=x", "--count=0"], "at least 1"),
    ],
)
def test_a_wrong_command_line_is_one_line_and_status_2(arguments, message, monkeypatch, capsys):
    code, said = run(monkeypatch, *arguments)
    assert code == 2 and message in said and said.startswith("error: ") and len(said.splitlines()) == 1
    assert capsys.readouterr().err.endswith(f"{said}\n")


def test_a_failure_is_status_1(tmp_path):
    given = ["encode", str(tmp_path / "none.wav"), "--checkpoint", "x", "--output", str(tmp_path)]
    done = subprocess.run([sys.executable, "-m", "quarkaudio_jax", *given], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.splitlines()[-1].endswith("none.wav: no such file or folder")
    with pytest.raises(SystemExit) as stopped, report_errors():
        raise UserError("it failed")
    assert stopped.value.code == "error: it failed"


def test_options_and_values_are_one_argument_or_two():
    parser = options.Parser("quarkaudio test")
    options.add_path(parser, "output", "", required=True)
    options.add_number(parser, "threshold", "", float)
    for given in (["--output=a", "--threshold=-0.5"], ["--output", "a", "--threshold", "-0.5"]):
        assert vars(parser.parse_args(given)) == {"output": "a", "threshold": -0.5}


def test_fields_of_a_configuration_are_one_argument_or_two():
    from quarkaudio_jax.cli.config_flags import read_config
    from quarkaudio_jax.config import TrainConfig

    for given in (
        ["--config=codec48k:tiny", "--config.optim.lr=0.5", "--config.loop.steps=1e4", "--config.data.strict=yes"],
        ["--config", "codec48k:tiny", "--config.optim.lr", "0.5", "--config.loop.steps", "1e4", "--config.data.strict"],
    ):
        config, _ = read_config(options.Parser("quarkaudio train"), given, TrainConfig)
        assert (config.optim.lr, config.loop.steps, config.data.strict) == (0.5, 10000, True)

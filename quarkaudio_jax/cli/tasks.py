"""The verbs that run a task of a language model: one for each task, from files to files.

quarkaudio restore noisy/ --checkpoint=runs/lm --codec=runs/codec --output=clean
"""

import argparse
import functools
import logging
import pathlib

import numpy as np

from quarkaudio_jax.cli import options, outputs
from quarkaudio_jax.cli.common import process_files, report_errors, set_up
from quarkaudio_jax.cli.main import TASK_VERBS
from quarkaudio_jax.cli.options import UsageError
from quarkaudio_jax.errors import UserError
from quarkaudio_jax.report.progress import progress
from quarkaudio_jax.tokens.tasks import SEPARATION_STEPS, TASKS, Task
from quarkaudio_jax.weights.builtin import TASK_MODELS

log = logging.getLogger(__name__)

EXAMPLES = {
    "restore": "noisy/",
    "extract": "mix.wav --enrollment=voice.wav",
    "separate": "mix.wav",
    "convert-voice": "speech.wav --reference=voice.wav",
    "lass": '"a dog barks" scene.wav',
    "edit-speech": '"delete the word hello" speech.wav',
    "edit-audio": '"remove the bell" scene.wav',
}
"""Arguments of an example of each verb."""

REVERSE = " --reverse"
"""Ends the verb of a task that is the complement of another, `Task.verb`."""


def task_of(verb: str, reverse: bool = False) -> Task:
    """The task that a verb runs."""
    return next(task for task in TASKS.values() if task.verb == verb + REVERSE * reverse)


def _reference_option(task: Task) -> str:
    return "enrollment" if task.verb.startswith("extract") else "reference"


def _parser(verb: str) -> options.Parser:
    task, about = task_of(verb), TASK_VERBS[verb]
    example = f"quarkaudio {verb} {EXAMPLES.get(verb, 'in.wav')} --checkpoint=runs/lm --codec=runs/codec --output=out"
    parser = options.Parser(f"quarkaudio {verb}", f"{about[0].upper()}{about[1:]}.\n\n{example}")
    group = parser.add_argument_group("input and output")
    if task.text:
        group.add_argument("text", metavar="TEXT", help=task.requires)
    options.add_inputs(group)
    if task.reference:
        options.add_path(group, _reference_option(task), task.requires)
    if any(other.verb == verb + REVERSE for other in TASKS.values()):
        group.add_argument("--reverse", action="store_true", help=task_of(verb, reverse=True).about)
    options.add_path(group, "output", "folder for the results, .wav at the codec's sample rate", required=True)
    options.add_overwrite(group, skip=True)
    group = parser.add_argument_group("model")
    options.add_path(
        group,
        "checkpoint",
        "the language model: a work directory of train, or a name on the hub"
        + (f" (default: the built-in {TASK_MODELS[verb]})" if verb in TASK_MODELS else ""),
        required=verb not in TASK_MODELS,
    )
    options.add_path(
        group, "codec", "the codec that its training data was prepared with, if it does not come with the model"
    )
    options.add_features(group)
    options.add_text_features(group)
    group.add_argument(
        "--cross-fade",
        action="store_true",
        help="UniSE: overlapping, cross-faded windows instead of the separate segments of the public code; other models "
        "always do this",
    )
    group = parser.add_argument_group("sampling")
    options.add_number(group, "temperature", "sampling temperature; 0 is greedy", float, default=0.0)
    options.add_number(group, "top-k", "sample from the K likeliest codes; 0: from all", default=0)
    options.add_number(group, "top-p", "sample from the likeliest codes of this total probability", float, default=1.0)
    options.add_number(group, "guidance", "classifier-free guidance scale; 1 turns it off", float, default=1.0)
    options.add_number(group, "seed", "seed of the random numbers", default=0)
    options.add_number(group, "batch", "windows of a long recording computed at a time", default=4)
    return parser


def main(argv: list[str] | None = None) -> None:
    """Entry point of the verbs in `TASK_VERBS`; the verb is the first argument."""
    verb, *rest = options.arguments(argv)
    args = _parser(verb).parse_args(rest)
    args.verb = verb
    set_up()
    with report_errors():
        run(args)


def run(args: argparse.Namespace) -> None:
    """Processes every input; SystemExit lists the files that failed."""
    from quarkaudio_jax.inference.loading import load_task_model
    from quarkaudio_jax.io import audio

    if not getattr(args, "text", "x").strip():
        raise UsageError(f"{args.verb} needs a text, which is empty")
    options.require_at_least(args, 0, "temperature", "top-k")
    options.require_at_least(args, 1, "batch")
    if not 0 < args.top_p <= 1:
        raise UsageError(f"--top-p is {args.top_p}, but should be in (0, 1]")
    task = task_of(args.verb, getattr(args, "reverse", False))
    reference = getattr(args, _reference_option(task), "")
    if task.reference and not reference:
        raise UsageError(f"{args.verb} needs {task.requires}: --{_reference_option(task)}=FILE")
    files = outputs.collect_inputs(args.input, audio.find, args.output, ".wav")
    if not files:
        raise UserError(f"no audio files in {', '.join(args.input)}")
    separating = task.name == "separation"
    files = outputs.remaining(files, args, _speaker_files if separating else lambda target: [target], [reference])
    if not files:
        return
    if not args.checkpoint:
        args.checkpoint = TASK_MODELS[args.verb]
        log.info("no --checkpoint: the built-in model %s (16 kHz, for speech)", args.checkpoint)
    parts = (args.checkpoint, args.codec, args.features, args.text_features)
    model = load_task_model(*parts, args.batch, args.cross_fade)
    runner = _Runner(model, args)
    if separating:
        model.check_separation()
        process_files(files, runner.separate)
    else:
        request = model.request(task.name, getattr(args, "text", ""), _read_reference(reference, model.sample_rate))
        process_files(files, functools.partial(runner.process, request))


def _read_reference(path: str, rate: int) -> np.ndarray | None:
    """The recording (S,) at `rate` Hz, or None without a path."""
    from quarkaudio_jax.io.audio import read_mono

    return read_mono(pathlib.Path(path), rate)[0] if path else None


def _speaker_files(target: pathlib.Path) -> list[pathlib.Path]:
    """The files of two separated speakers."""
    return [target.with_name(f"{target.stem}.{i}{target.suffix}") for i in (1, 2)]


class _Runner:
    """Runs a model with the sampling options of the command line."""

    def __init__(self, model, args: argparse.Namespace):
        from quarkaudio_jax.lm.sampling import Sampling

        self._model = model
        sampling = Sampling(args.temperature, args.top_k, args.top_p)
        self._sampling = dict(sampling=sampling, guidance=args.guidance, seed=args.seed)

    def process(self, request, source: pathlib.Path, target: pathlib.Path) -> str:
        """Processes a file; returns a line about the result."""
        seconds = self._write(request, source, target)
        return f"{target}: {seconds:.2f} s at {self._model.sample_rate} Hz"

    def separate(self, source: pathlib.Path, target: pathlib.Path) -> str:
        """Separates a file into two; see `tokens.tasks.SEPARATION_STEPS`."""
        from quarkaudio_jax.io.stream import ResampledReader

        model = self._model
        with ResampledReader(source, model.sample_rate) as reader:
            opening = reader(0, min(reader.num_samples, round(model.window_seconds * model.sample_rate)))
        enrollment = model.enroll(opening, **self._sampling)
        targets = _speaker_files(target)
        for task, path in zip(SEPARATION_STEPS[1:], targets, strict=True):
            self._write(model.request(task, reference_S=enrollment), source, path)
        return f"{targets[0]} and {targets[1]}"

    def _write(self, request, source: pathlib.Path, target: pathlib.Path) -> float:
        """Writes the result block by block; returns its length in seconds."""
        from quarkaudio_jax.io.stream import ResampledReader, Writer, rms_and_peak

        model, count = self._model, 0
        measured = rms_and_peak(source)
        with ResampledReader(source, model.sample_rate) as reader:
            blocks = model.stream(request, reader, reader.num_samples, measured, **self._sampling)
            with Writer(target, model.sample_rate) as writer:
                for block in progress(blocks, model.num_windows(reader.num_samples), "windows"):
                    writer.write(block)
                    count += len(block)
        return count / model.sample_rate

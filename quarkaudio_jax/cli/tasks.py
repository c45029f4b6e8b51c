"""Asks a language model: python -m quarkaudio_jax.generate restore in.wav --checkpoint=runs/lm --codec=runs/codec --output=out

Verbs: restore, extract, separate, convert-voice, query, edit; each also as `quarkaudio <verb>`.
"""

import argparse
import functools
import pathlib
import sys

import numpy as np

from quarkaudio_jax.cli import outputs
from quarkaudio_jax.cli.common import each, report_errors, set_up
from quarkaudio_jax.cli.main import TASK_VERBS
from quarkaudio_jax.errors import UserError
from quarkaudio_jax.report.progress import progress

_MODELS = {
    "checkpoint": "the language model: a work directory of train",
    "codec": "the codec that its data was prepared with",
    "output": "folder for the answers, .wav at the codec's rate",
}
_FEATURES = {
    "features": "weights of the SSL model, if they are not found by themselves",
    "text-features": "weights of the text encoder, likewise",
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="quarkaudio", description="Asks a language model about recordings.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb, about in TASK_VERBS.items():
        one = verbs.add_parser(verb, help=about, description=f"{about[0].upper()}{about[1:]}.")
        if verb in ("query", "edit"):
            one.add_argument("text", help="the sound to find" if verb == "query" else "what to change")
        one.add_argument("input", nargs="+", type=outputs.path, help="audio files or folders of them, at any rate")
        for option, about_it in _MODELS.items():
            one.add_argument(f"--{option}", required=True, type=outputs.path, help=about_it)
        for option, about_it in _FEATURES.items():
            one.add_argument(f"--{option}", default="", type=outputs.path, help=about_it)
        outputs.add_overwrite(one, skip=True)
        if verb == "extract":
            one.add_argument("--enrol", default="", type=outputs.path, help="a recording of the voice to extract")
            one.add_argument("--reverse", action="store_true", help="everything but that voice")
        if verb == "convert-voice":
            one.add_argument(
                "--reference", default="", type=outputs.path, help="a recording of the voice to speak with"
            )
        if verb == "edit":
            one.add_argument("--scene", action="store_true", help="the input is a scene of sounds, not speech")
        one.add_argument("--temperature", type=float, default=0.0, help="0 (the default) takes the likeliest code")
        one.add_argument("--top-k", type=int, default=0, help="draw from the likeliest so many (0: from all)")
        one.add_argument("--top-p", type=float, default=1.0, help="draw from the likeliest that reach this sum")
        one.add_argument("--guidance", type=float, default=1.0, help="over 1 exaggerates the condition")
        one.add_argument("--seed", type=int, default=0)
        one.add_argument("--batch", type=int, default=4, help="windows of a long recording at a time")
    return parser


def main(argv: list[str] | None = None) -> None:
    """Entry point of `python -m quarkaudio_jax.generate` and of the verbs of `quarkaudio` that ask a model."""
    args = _parser().parse_args((sys.argv if argv is None else argv)[1:])
    set_up()
    with report_errors():
        run(args)


def run(args: argparse.Namespace) -> None:
    """Answers for every input; a file that can't be is named, the others go on, the exit status tells."""
    from quarkaudio_jax.inference.task_model import load_task_model
    from quarkaudio_jax.io import audio

    if not getattr(args, "text", "x").strip():
        raise UserError(f"{args.verb} needs a text, which is empty")
    _check_numbers(args)
    files = outputs.collect_inputs(args.input, audio.find, args.output, ".wav")
    if not files:
        raise UserError(f"no audio files in {', '.join(args.input)}")
    read = [getattr(args, option, "") for option in ("enrol", "reference")]
    files = outputs.still_to_do(files, args, _both if args.verb == "separate" else lambda target: [target], read)
    if not files:
        return
    model = load_task_model(args.checkpoint, args.codec, args.features, args.text_features, batch=args.batch)
    asking = _Asking(model, args, alone=len(files) == 1)
    if args.verb == "separate":
        model.check_chain()
        each(files, asking.separate)
    else:
        request = model.request(_task(args), getattr(args, "text", ""), _voice(args, model.sample_rate))
        each(files, functools.partial(asking.answer, request))


def _check_numbers(args: argparse.Namespace) -> None:
    for name, good in (("temperature", args.temperature >= 0), ("top-k", args.top_k >= 0), ("batch", args.batch >= 1)):
        if not good:
            raise UserError(f"--{name} is {getattr(args, name.replace('-', '_'))}, which is too small")
    if not 0 < args.top_p <= 1:
        raise UserError(f"--top-p is {args.top_p}, but should lie in (0, 1]")


def _task(args: argparse.Namespace) -> str:
    """The task that a verb means; of two, its switch chooses the second."""
    from quarkaudio_jax.tokens.tasks import TASKS

    meant = [task.name for task in TASKS.values() if task.verb == args.verb]
    return meant[getattr(args, "reverse", False) or getattr(args, "scene", False)]


def _voice(args: argparse.Namespace, rate: int) -> np.ndarray | None:
    """The sample of a voice, if the verb takes one; UserError if it is missing."""
    from quarkaudio_jax.io import audio
    from quarkaudio_jax.io.transforms import resample, to_mono

    option = {"extract": "enrol", "convert-voice": "reference"}.get(args.verb)
    if option is None:
        return None
    path = getattr(args, option)
    if not path:
        raise UserError(f"{args.verb} needs a sample of the voice: --{option}=FILE")
    samples, source_rate = audio.read(path)
    return resample(to_mono(samples), source_rate, rate)


def _both(target: pathlib.Path) -> list[pathlib.Path]:
    """The files of the two talkers."""
    return [target.with_name(f"{target.stem}.{i}{target.suffix}") for i in (1, 2)]


class _Asking:
    """Files through a model. alone: there is only one file, so that progress is shown inside it."""

    def __init__(self, model, args: argparse.Namespace, alone: bool):
        from quarkaudio_jax.lm.sampling import Sampling

        self._model, self._alone = model, alone
        sampling = Sampling(args.temperature, args.top_k, args.top_p)
        self._how = dict(sampling=sampling, guidance=args.guidance, seed=args.seed)

    def answer(self, request, source: pathlib.Path, target: pathlib.Path) -> str:
        """Answers one file."""
        seconds = self._write(request, source, target)
        return f"{target}: {seconds:.2f} s at {self._model.sample_rate} Hz"

    def separate(self, source: pathlib.Path, target: pathlib.Path) -> str:
        """Two files: restoration finds one of the talkers, who is extracted and then excluded by that."""
        from quarkaudio_jax.io.stream import ResampledReader
        from quarkaudio_jax.tokens.tasks import SEPARATION_STEPS

        model = self._model
        with ResampledReader(source, model.sample_rate) as reader:
            opening = reader(0, min(reader.num_samples, round(model.window_seconds * model.sample_rate)))
        voice = model.voice_of(opening, **self._how)
        targets = _both(target)
        for task, path in zip(SEPARATION_STEPS[1:], targets, strict=True):
            self._write(model.request(task, voice_S=voice), source, path)
        return f"{targets[0]} and {targets[1]}"

    def _write(self, request, source: pathlib.Path, target: pathlib.Path) -> float:
        """Writes the answer block by block; its length in seconds."""
        from quarkaudio_jax.io.stream import ResampledReader, Writer, rms_and_peak

        model, count = self._model, 0
        measured = rms_and_peak(source)
        with ResampledReader(source, model.sample_rate) as reader:
            blocks = model.stream(request, reader, reader.num_samples, measured, **self._how)
            if self._alone:
                blocks = progress(blocks, model.num_windows(reader.num_samples), "window ")
            with Writer(target, model.sample_rate) as writer:
                for block in blocks:
                    writer.write(block)
                    count += len(block)
        return count / model.sample_rate

"""List audio files with speaker, transcript or caption, one JSON object a line.

quarkaudio manifest LibriSpeech/train-clean-100 --output=speech.jsonl

A source is a folder or a glob (speaker: first folder below it; transcript or caption: NAME.txt beside
NAME.wav), an .scp list (`id path`, `id speaker path` or `id rate start frames path`), a list of paths
(.txt, .lst), another manifest (.jsonl), tfds:NAME:SPLIT, or embedded:KIND.
"""

import argparse
import logging
import pathlib

from quarkaudio_jax.cli import options, outputs
from quarkaudio_jax.cli.common import report_errors, set_up_logging
from quarkaudio_jax.cli.options import UsageError
from quarkaudio_jax.report.progress import progress

log = logging.getLogger(__name__)


def main(argv: list[str] | None = None) -> None:
    """Entry point of `quarkaudio manifest`."""
    from quarkaudio_jax.data.utterance import DOMAINS

    parser = options.Parser("quarkaudio manifest", __doc__)
    group = parser.add_argument_group("input and output")
    group.add_argument(
        "source", metavar="SOURCE", nargs="+", type=options.path, help="folders, globs, lists, manifests, tfds: sets"
    )
    options.add_path(group, "output", "the manifest (.jsonl)", required=True)
    options.add_overwrite(group)
    group = parser.add_argument_group("sources")
    group.add_argument("--domain", default="speech", choices=DOMAINS, help="what is recorded (default: speech)")
    options.add_path(group, "tfds-dir", "folder where TensorFlow Datasets keeps its data")
    args = parser.parse_args(options.arguments(argv))
    set_up_logging()
    with report_errors():
        run(args)


def run(args: argparse.Namespace) -> None:
    """Writes the manifest and logs the files left out; SystemExit with status 1 if there are any."""
    from quarkaudio_jax.data import manifest
    from quarkaudio_jax.data.sources import list_utterances

    if not args.output.endswith(manifest.SUFFIX):
        raise UsageError(f"--output={args.output}: a manifest's name ends in {manifest.SUFFIX}")
    outputs.require_free(args.output, args.overwrite, read=args.source)
    skipped: list[str] = []
    seconds = 0.0
    speakers: set[str] = set()

    def utterances():
        nonlocal seconds
        folder = pathlib.Path(args.output).parent
        for source in args.source:
            for utterance in list_utterances(source, args.domain, skipped, args.tfds_dir, folder):
                seconds += utterance.duration
                speakers.add(utterance.speaker)
                yield utterance

    count = manifest.write(args.output, progress(utterances(), None))
    for line in skipped:
        log.warning("left out %s", line)
    known = len(speakers - {""})
    print(
        f"{args.output}: {count} utterances, {seconds / 3600:.2f} h, {known} speakers"
        + (f", {len(skipped)} files left out" if skipped else "")
    )
    if skipped:
        raise SystemExit(1)

"""Lists of audio: python -m quarkaudio_jax.manifest LibriSpeech/train-clean-100 --output=speech.jsonl"""

import argparse
import logging
import pathlib
import sys

from quarkaudio_jax.cli import outputs
from quarkaudio_jax.cli.common import report_errors, set_up_logging
from quarkaudio_jax.errors import UserError

log = logging.getLogger(__name__)


def main(argv: list[str] | None = None) -> None:
    """Entry point of `python -m quarkaudio_jax.manifest` and `quarkaudio manifest`."""
    from quarkaudio_jax.data.utterance import DOMAINS

    argv = sys.argv if argv is None else argv
    parser = argparse.ArgumentParser(
        prog=argv[0],
        description="Lists audio with speaker, transcript or caption, one JSON object a line. Sources: a folder "
        "(speaker = first folder below it; NAME.txt beside NAME.wav = transcript or caption), an .scp list "
        "(rir: `id path`; speech: `id speaker path`; noise: `id rate start frames path`), or tfds:NAME:SPLIT.",
    )
    parser.add_argument("source", nargs="+", type=outputs.path, help="folders, .scp lists, tfds: sets")
    parser.add_argument("--output", required=True, type=outputs.path, help="the manifest (.jsonl)")
    outputs.add_overwrite(parser)
    parser.add_argument("--domain", default="speech", choices=DOMAINS)
    parser.add_argument("--tfds-dir", default="", type=outputs.path, help="where TFDS keeps its sets")
    args = parser.parse_args(argv[1:])
    set_up_logging()
    with report_errors():
        run(args)


def run(args: argparse.Namespace) -> None:
    """Writes the manifest; what can't be used is named and left out, the exit status tells."""
    from quarkaudio_jax.data import manifest

    if not args.output.endswith(manifest.SUFFIX):
        raise UserError(f"--output={args.output}: a manifest's name ends in {manifest.SUFFIX}")
    outputs.require_free(args.output, args.overwrite, read=args.source)
    skipped: list[str] = []
    seconds = 0.0
    speakers: set[str] = set()

    def counted():
        nonlocal seconds
        folder = pathlib.Path(args.output).parent
        for source in args.source:
            for utterance in manifest.make(source, args.domain, skipped, args.tfds_dir, folder):
                seconds += utterance.duration
                speakers.add(utterance.speaker)
                yield utterance

    count = manifest.write(args.output, counted())
    for line in skipped:
        log.warning("left out %s", line)
    known = len(speakers - {""})
    print(
        f"{args.output}: {count} utterances, {seconds / 3600:.2f} h, {known} speakers"
        + (f", {len(skipped)} files left out" if skipped else "")
    )
    if skipped:
        raise SystemExit(1)

"""A page to listen to, of any recordings: python -m quarkaudio_jax.compare a.wav b.wav --output=page"""

import argparse
import pathlib
import sys

from quarkaudio_jax.cli import outputs
from quarkaudio_jax.cli.common import end_with, report_errors, set_up


def main(argv: list[str] | None = None) -> None:
    """Entry point of `python -m quarkaudio_jax.compare` and `quarkaudio compare`."""
    argv = sys.argv if argv is None else argv
    parser = argparse.ArgumentParser(
        prog=argv[0],
        description="Puts recordings side by side on one page, to switch between at the same instant, also blindly. "
        "Of folders, the files that have one name in all of them.",
    )
    parser.add_argument("input", nargs="+", type=outputs.path, help="audio files, or folders of them")
    parser.add_argument(
        "--output", default="comparison", type=outputs.path, help="folder for the page, or its name (.html)"
    )
    outputs.add_overwrite(parser)
    args = parser.parse_args(argv[1:])
    set_up()
    with report_errors():
        from quarkaudio_jax.report.page import compare, page_path

        page = page_path(pathlib.Path(args.output))
        outputs.require_folder(page.parent)
        outputs.require_free(page, args.overwrite, read=args.input)
        skipped: list[str] = []
        print(compare([pathlib.Path(name) for name in args.input], page, skipped))
        end_with(skipped)

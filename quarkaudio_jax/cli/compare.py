"""Make a page to listen to recordings side by side, switching at the same instant, also blindly.

quarkaudio compare original.wav one.wav other.wav --output=page

Of folders, the files that have the same name in all of them are compared.
"""

import pathlib

from quarkaudio_jax.cli import options, outputs
from quarkaudio_jax.cli.common import exit_if_failed, report_errors, set_up


def main(argv: list[str] | None = None) -> None:
    """Entry point of `quarkaudio compare`."""
    parser = options.Parser("quarkaudio compare", __doc__)
    group = parser.add_argument_group("input and output")
    options.add_inputs(group, "audio files, or folders of them")
    options.add_path(
        group,
        "output",
        "folder for the page, or the page (.html) itself (default: comparison)",
        default="comparison",
    )
    options.add_overwrite(group)
    args = parser.parse_args(options.arguments(argv))
    set_up()
    with report_errors():
        from quarkaudio_jax.report.page import compare, page_path

        page = page_path(pathlib.Path(args.output))
        outputs.require_folder(page.parent)
        outputs.require_free(page, args.overwrite, read=args.input)
        skipped: list[str] = []
        print(compare([pathlib.Path(name) for name in args.input], page, skipped))
        exit_if_failed(skipped)

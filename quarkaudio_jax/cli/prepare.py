"""Simulate training data and compute its features and codes once; an unfinished folder is resumed.

quarkaudio prepare --config=prepare:tiny --config.codec=runs/first --output=data/tiny

The same command, started several times, shares the work between processes.
"""

import pathlib

from quarkaudio_jax.cli import options
from quarkaudio_jax.cli.common import report_errors, set_up
from quarkaudio_jax.cli.config_flags import read_config
from quarkaudio_jax.cli.outputs import require_folder
from quarkaudio_jax.config import PrepareConfig


def main(argv: list[str] | None = None) -> None:
    """Entry point of `quarkaudio prepare`."""
    parser = options.Parser("quarkaudio prepare", __doc__)
    group = parser.add_argument_group("output")
    options.add_path(group, "output", "folder for the data", required=True)
    group.add_argument(
        "--share",
        default="1/1",
        metavar="I/N",
        help="every Nth shard only, from the Ith, for a common folder without file locks",
    )
    with report_errors():
        cfg, args = read_config(parser, options.arguments(argv), PrepareConfig)
        index, count = options.parse_share(args.share)
        require_folder(args.output)
        from quarkaudio_jax.preparation.run import Preparation

        set_up()
        Preparation(cfg, pathlib.Path(args.output), (index - 1, count)).run()

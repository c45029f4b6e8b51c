"""Training data worked out once: python -m quarkaudio_jax.prepare --config=configs/prepare.py:tiny --output=DIR"""

import pathlib
import sys

from quarkaudio_jax.cli.common import report_errors, set_up, share
from quarkaudio_jax.cli.config_flags import read_config
from quarkaudio_jax.cli.outputs import require_folder
from quarkaudio_jax.config import PrepareConfig


def _define(values) -> None:
    from absl import flags

    where = "Where the data goes; a folder that was begun is finished. Start the command again for more processes."
    flags.DEFINE_string("output", None, where, required=True, flag_values=values)
    part = "i/n, from 1/n to n/n: only every nth shard, for hosts whose common folder has no file locks."
    flags.DEFINE_string("share", "1/1", part, flag_values=values)


def main(argv: list[str] | None = None) -> None:
    """Entry point of `python -m quarkaudio_jax.prepare` and `quarkaudio prepare`."""
    with report_errors():
        cfg, flags = read_config(sys.argv if argv is None else argv, PrepareConfig, __doc__, _define)
        index, count = share(flags.share)
        require_folder(flags.output)
        from quarkaudio_jax.preparation.run import Preparation

        set_up()
        Preparation(cfg, pathlib.Path(flags.output), (index - 1, count)).run()

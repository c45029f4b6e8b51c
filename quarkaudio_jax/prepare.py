"""Training data worked out once: python -m quarkaudio_jax.prepare --config=configs/prepare.py:tiny --output=DIR"""

import pathlib
import sys

from quarkaudio_jax.cli import read_config, report_errors, set_up
from quarkaudio_jax.errors import UserError
from quarkaudio_jax.schema import PrepareConfig


def _define(values) -> None:
    from absl import flags

    where = "Where the data goes; a folder that was begun is finished. Start the command again for more processes."
    flags.DEFINE_string("output", None, where, required=True, flag_values=values)
    share = "INDEX/COUNT: only every COUNT-th shard, for hosts whose common folder has no file locks."
    flags.DEFINE_string("share", "0/1", share, flag_values=values)


def main(argv: list[str] | None = None) -> None:
    """Entry point of `python -m quarkaudio_jax.prepare` and `quarkaudio prepare`."""
    with report_errors():
        cfg, flags = read_config(sys.argv if argv is None else argv, PrepareConfig, __doc__, _define)
        from quarkaudio_jax.preparation.run import Preparation

        set_up()
        Preparation(cfg, pathlib.Path(flags.output), _share(flags.share)).run()


def _share(text: str) -> tuple[int, int]:
    index, _, count = text.partition("/")
    if not (index.isdigit() and count.isdigit() and int(index) < int(count)):
        raise UserError(f"--share={text} should be INDEX/COUNT with INDEX below COUNT, such as 0/4")
    return int(index), int(count)


if __name__ == "__main__":
    main()

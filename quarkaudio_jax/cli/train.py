"""Trains a model: python -m quarkaudio_jax.train --config=configs/codec48k.py:tiny --workdir=runs/first"""

import logging
import sys

from quarkaudio_jax.cli.common import report_errors, set_up
from quarkaudio_jax.cli.config_flags import read_config
from quarkaudio_jax.cli.outputs import require_folder
from quarkaudio_jax.config import TrainConfig


def _define(values) -> None:
    from absl import flags

    where = "Where checkpoints, metrics and samples go; a run there is resumed."
    flags.DEFINE_string("workdir", None, where, required=True, flag_values=values)


def main(argv: list[str] | None = None) -> None:
    """Entry point of `python -m quarkaudio_jax.train` and `quarkaudio train`: trains until done or told to stop.

    SystemExit 75 after SIGTERM, for launchers that start it again; 130 after SIGINT.
    """
    with report_errors():
        config, flags = read_config(sys.argv if argv is None else argv, TrainConfig, __doc__, _define)
        require_folder(flags.workdir, "--workdir")
        from quarkaudio_jax.training.loop import Trainer
        from quarkaudio_jax.training.preemption import EXIT_CODES, RESTART_EXIT_CODE

        set_up()
        outcome = Trainer(config, flags.workdir).run()
        logging.getLogger(__name__).info("%s; everything is in %s", outcome, flags.workdir)
        if code := EXIT_CODES.get(outcome, RESTART_EXIT_CODE):
            raise SystemExit(code)

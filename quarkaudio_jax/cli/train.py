"""Train a codec or a language model until done or stopped; a run in the work directory is resumed.

quarkaudio train --config=codec48k:tiny --workdir=runs/first --config.optim.lr=1e-4
"""

import logging

from quarkaudio_jax.cli import options
from quarkaudio_jax.cli.common import report_errors, set_up
from quarkaudio_jax.cli.config_flags import read_config
from quarkaudio_jax.cli.outputs import require_folder
from quarkaudio_jax.config import TrainConfig


def main(argv: list[str] | None = None) -> None:
    """Entry point of `quarkaudio train`.

    SystemExit 75 after SIGTERM, for launchers that start it again; 130 after SIGINT.
    """
    parser = options.Parser("quarkaudio train", __doc__)
    group = parser.add_argument_group("output")
    options.add_path(group, "workdir", "folder for checkpoints, metrics and samples", required=True)
    with report_errors():
        config, args = read_config(parser, options.arguments(argv), TrainConfig)
        require_folder(args.workdir, "--workdir")
        from quarkaudio_jax.training.loop import Trainer
        from quarkaudio_jax.training.preemption import EXIT_CODES, RESTART_EXIT_CODE

        set_up()
        outcome = Trainer(config, args.workdir).run()
        logging.getLogger(__name__).info("%s; everything is in %s", outcome, args.workdir)
        if code := EXIT_CODES.get(outcome, RESTART_EXIT_CODE):
            raise SystemExit(code)

"""Trains a model: python -m quarkaudio_jax.train --config=configs/codec48k.py:tiny --workdir=runs/first"""

import logging
import os
import sys

from absl import app, flags
from ml_collections import config_flags

from quarkaudio_jax.schema import TrainConfig, field_names, from_config_dict, nearest_name

CONFIG = config_flags.DEFINE_config_file("config", None, "Experiment, with a variant after a colon.", lock_config=True)
WORKDIR = flags.DEFINE_string("workdir", None, "Where checkpoints, metrics and samples go; a run there is resumed.")


def run(_) -> None:
    """Trains until done or told to stop."""
    from quarkaudio_jax.cli import set_up
    from quarkaudio_jax.training.loop import Trainer

    set_up()
    outcome = Trainer(from_config_dict(CONFIG.value), WORKDIR.value).run()
    logging.getLogger(__name__).info("%s; everything is in %s", outcome, WORKDIR.value)


def check_overrides(argv: list[str]) -> None:
    """SystemExit naming the nearest field when --config.x.y names none."""
    known = field_names(TrainConfig)
    groups = {name.rsplit(".", i)[0] for name in known for i in range(1, name.count(".") + 1)}
    for argument in argv:
        name = argument.lstrip("-").partition("=")[0]
        if argument.startswith("-") and name.startswith("config."):
            field = name.removeprefix("config.").removeprefix("no")
            plain = name.removeprefix("config.")
            if plain not in known and field not in known and plain not in groups:
                raise SystemExit(f"--config.{plain} does not exist; {nearest_name(plain, known)}")


def main(argv: list[str] | None = None) -> None:
    """Entry point of `python -m quarkaudio_jax.train` and `quarkaudio train`."""
    from quarkaudio_jax.cli import report_errors

    argv = sys.argv if argv is None else argv
    sys.path.append(os.getcwd())  # so that config files can import each other, also from a console script
    check_overrides(argv[1:])
    flags.mark_flags_as_required(["config", "workdir"])
    with report_errors():
        app.run(run, argv)


if __name__ == "__main__":
    main()

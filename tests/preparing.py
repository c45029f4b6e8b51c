"""Calling `prepare` in tests."""

from quarkaudio_jax.cli import prepare
from quarkaudio_jax.tokens.tasks import TASKS

COUNTS = {f"examples.{task}": 6 for task in TASKS} | {"examples.codec_speech": 4, "examples.codec_events": 5}


def arguments(checkpoint, output, **fields):
    from quarkaudio_jax.configs.prepare import TASKS as parts

    counts = {**{f"examples.{part}": 0 for part in parts}, "shard": 4, "batch_size": 4}
    config = [f"--config.{name}={value}" for name, value in {**counts, **fields}.items()]
    return ["--config=configs/prepare.py:tiny", f"--config.codec={checkpoint}", *config, f"--output={output}"]


def call(*args):
    prepare.main(["quarkaudio prepare", *args])

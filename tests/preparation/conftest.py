"""Prepared data that several test files read."""

import pytest

from quarkaudio_jax import prepare
from quarkaudio_jax.tasks import TASKS
from tests.conftest import made_once

COUNTS = {f"examples.{task}": 6 for task in TASKS} | {"examples.codec_speech": 4, "examples.codec_events": 5}


def arguments(checkpoint, output, **fields):
    from configs.prepare import TASKS as parts

    counts = {**{f"examples.{part}": 0 for part in parts}, "shard": 4, "batch_size": 4}
    config = [f"--config.{name}={value}" for name, value in {**counts, **fields}.items()]
    return ["--config=configs/prepare.py:tiny", f"--config.codec={checkpoint}", *config, f"--output={output}"]


def call(*args):
    prepare.main(["quarkaudio prepare", *args])


@pytest.fixture(scope="session")
def prepared(trained, tmp_path_factory):
    """A few examples of every task, and audio for codec training."""
    return made_once(
        tmp_path_factory, "prepared", lambda folder: call(*arguments(trained, folder, **COUNTS, clip_seconds=1.0))
    )

"""Killed with -9 at any moment, again and again: what comes out equals an uninterrupted run to the bit.

QUARKAUDIO_KILLS: how many times in all (10). A third of them hit the moment when a checkpoint or shard is written, a few
a process that still imports; the others any moment of its life.
"""

import collections
import hashlib
import os
import random

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

from tests.conftest import losses
from tests.e2e.lives import Lives
from tests.preparing import arguments

pytestmark = pytest.mark.slow

KILLS = int(os.environ.get("QUARKAUDIO_KILLS", 10))
STEPS = 12


def kill_until(count, rng, new_run, patterns, check):
    """Kills `count` processes. new_run(number): (lives, folder) of a run that begins; check(folder): of one that ended.

    Returns how many kills hit what.
    """
    hits, runs, seconds = collections.Counter(), 0, 10.0
    lives, folder = new_run(runs)
    while (number := sum(hits.values())) < count:
        kind = "imports" if number % 8 == 7 else ("a write", "any moment", "any moment")[number % 3]
        if kind == "a write":
            killed = lives.kill_at(folder, patterns, rng)
        else:
            killed = lives.kill_after(rng.uniform(0, seconds), cold=kind == "imports")
        hits[kind] += killed
        seconds *= 1.05 if killed else 0.7  # about as long as a process takes to the end
        if not killed:
            check(folder)
            runs += 1
            lives, folder = new_run(runs)
    lives.finish()
    check(folder)
    hits["runs"] = runs + 1
    return hits


def arrays(checkpoint):
    """Every array of a checkpoint as bytes, by part and place."""
    out = {}
    for part in ("model", "training"):
        tree = ocp.PyTreeCheckpointer().restore(checkpoint / part)
        for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
            out[part + jax.tree_util.keystr(path)] = (np.asarray(leaf).dtype, np.asarray(leaf).tobytes())
    data = {str(p.relative_to(checkpoint)): p.read_bytes() for p in (checkpoint / "data").rglob("*.json")}
    return out | data


CODEC = [
    "--config.data.crop_seconds=0.4",
    "--config.losses.adversarial=0",
    "--config.losses.feature_matching=0",
    "--config.ema_decay=0.9",
]
PROGRAMS = {
    "lm": ["--config=configs/lm.py:tiny", "--config.data.length=512", "--config.data.heldout=0.2"],
    "codec": ["--config=configs/codec48k.py:tiny", *CODEC],
    "stereo": ["--config=configs/codec16k_stereo.py:mono2stereo_tiny", *CODEC],
}


@pytest.mark.parametrize("program", PROGRAMS)
def test_training_killed_at_any_moment_ends_as_if_never_killed(prepared, tmp_path, program):
    flags = [*PROGRAMS[program], *([f"--config.data.folder={prepared}"] if program == "lm" else [])]
    flags += ["--config.data.batch_size=2", "--config.loop.log_every=1", "--config.loop.eval_every=0"]
    flags += ["--config.loop.checkpoint_every=1", f"--config.loop.steps={STEPS}"]

    def new_run(name):
        folder = tmp_path / str(name)
        return Lives("quarkaudio_jax.train", [*flags, f"--workdir={folder}"], tmp_path / f"{name}.log"), folder

    def check(folder):
        assert losses(folder) == expected_losses
        found = arrays(folder / "checkpoints" / str(STEPS))
        assert found.keys() == expected.keys()
        assert not [name for name, value in expected.items() if found[name] != value]

    lives, folder = new_run("uninterrupted")
    lives.finish()
    expected, expected_losses = arrays(folder / "checkpoints" / str(STEPS)), losses(folder)
    assert sorted(expected_losses) == list(range(1, STEPS + 1)) and len(expected) > 50
    patterns = ("*.orbax-checkpoint-tmp*",)
    print(program, kill_until(KILLS // 5, random.Random(program), new_run, patterns, check))


def test_preparation_killed_at_any_moment_writes_the_same_bytes(trained, tmp_path):
    counts = {"examples.restoration": 12, "examples.codec_speech": 12, "shard": 2}

    def new_run(name):
        folder = tmp_path / str(name)
        return Lives("quarkaudio_jax.prepare", arguments(trained, folder, **counts), tmp_path / f"{name}.log"), folder

    def digests(folder):
        files = [p for p in folder.rglob("*") if p.is_file() and ".work" not in p.parts]
        return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}

    def check(folder):
        assert digests(folder) == expected

    lives, folder = new_run("uninterrupted")
    lives.finish()
    expected = digests(folder)
    assert len([name for name in expected if "array_record-" in name]) == 12
    patterns = (".*.part",)
    print(
        "prepare", kill_until(KILLS - len(PROGRAMS) * (KILLS // 5), random.Random("prepare"), new_run, patterns, check)
    )

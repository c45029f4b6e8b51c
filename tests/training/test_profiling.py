"""Which steps are profiled, and that the profile can be read."""

import re
import subprocess
import sys

import jax
import pytest

from quarkaudio_jax.config import ConfigError
from quarkaudio_jax.training.profiling import parse_windows
from tests.conftest import ROOT


def test_windows():
    assert parse_windows("") == []
    assert parse_windows("2-3") == [(2, 3)]
    assert parse_windows("10-14, 500-500") == [(10, 14), (500, 500)]


@pytest.mark.parametrize("text", ["5", "3-2", "0-4", "a-b", "1-4,4-6", "8-9,1-2"])
def test_wrong_windows_are_named(text):
    with pytest.raises(ConfigError, match=f"config.profile.steps is {re.escape(repr(text))}: .* is not FIRST-LAST"):
        parse_windows(text)


@pytest.mark.slow
def test_a_window_is_recorded(prepared, tmp_path):
    """In a process of its own: once libtpu has been asked for a topology, JAX's profiler can't start."""
    flags = ["--config=configs/lm.py:tiny", f"--config.data.folder={prepared}", "--config.data.batch_size=2"]
    flags += ["--config.data.heldout=0.2", "--config.loop.steps=3", "--config.loop.eval_every=0"]
    command = [sys.executable, "-m", "quarkaudio_jax.train", *flags, f"--workdir={tmp_path}"]
    subprocess.run([*command, "--config.profile.steps=2-3"], check=True, cwd=ROOT)
    (path,) = (tmp_path / "tensorboard" / "plugins" / "profile").glob("*/*.xplane.pb")
    events = [
        (event.name, dict(event.stats))
        for plane in jax.profiler.ProfileData.from_file(str(path)).planes
        for line in plane.lines
        for event in line.events
    ]
    assert sorted(int(stats["step_num"]) for name, stats in events if name == "train") == [2, 3]

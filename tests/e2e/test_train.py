"""Real processes: trained, stopped, killed, resumed."""

import os
import random
import signal
import subprocess
import sys
import time

import pytest

from tests.conftest import ROOT, losses

pytestmark = pytest.mark.slow

STEPS = 40
SMALL = [
    "--config.data.batch_size=2",
    "--config.data.crop_seconds=0.4",
    "--config.loop.log_every=1",
    "--config.loop.eval_every=0",
    "--config.discriminators.crop_seconds=0.1",
    f"--config.loop.steps={STEPS}",
]


def command(workdir, *extra):
    config = f"--config={ROOT / 'configs' / 'codec48k.py'}:tiny"
    return [sys.executable, "-m", "quarkaudio_jax.train", config, f"--workdir={workdir}", *SMALL, *extra]


def run(workdir, *extra):
    return subprocess.run(command(workdir, *extra), capture_output=True, text=True, cwd=ROOT, timeout=600)


def wait_for_step(process, workdir, step):
    while process.poll() is None:
        path = workdir / "metrics.jsonl"
        if path.exists() and path.read_text().count("\n") >= step:
            return
        time.sleep(0.02)
    raise AssertionError(process.communicate()[1])


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nobody stopped."""
    workdir = tmp_path_factory.mktemp("whole")
    done = run(workdir)
    assert done.returncode == 0, done.stderr
    assert "left" in done.stderr and "waiting for data" in done.stderr and "finished" in done.stderr
    assert sorted(losses(workdir)) == list(range(1, STEPS + 1))
    return losses(workdir)


def test_sigterm_saves_and_the_rest_is_the_same_to_the_bit(whole, tmp_path):
    process = subprocess.Popen(command(tmp_path), stderr=subprocess.PIPE, text=True, cwd=ROOT)
    wait_for_step(process, tmp_path, 5)
    process.send_signal(signal.SIGTERM)
    _, log = process.communicate(timeout=120)
    assert process.returncode == 75 and "SIGTERM: saved at step" in log
    stopped = max(losses(tmp_path))
    assert 5 <= stopped < STEPS
    again = run(tmp_path)
    assert again.returncode == 0 and f"resuming from step {stopped}" in again.stderr
    assert losses(tmp_path) == whole


def test_killed_at_any_moment_it_resumes_from_a_complete_checkpoint(whole, tmp_path):
    """Checkpoints after every step, so that most kills hit a save; each life must get further or restart well."""
    rng = random.Random(0)
    for life in range(2):
        process = subprocess.Popen(
            command(tmp_path, "--config.loop.checkpoint_every=1"), stderr=subprocess.PIPE, text=True, cwd=ROOT
        )
        before = (tmp_path / "metrics.jsonl").read_text().count("\n") if life else 0
        wait_for_step(process, tmp_path, before + 1)
        time.sleep(rng.uniform(0, 1.0))
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    done = run(tmp_path, "--config.loop.checkpoint_every=1")
    assert done.returncode == 0, done.stderr
    assert losses(tmp_path) == whole


def test_wrong_fields_are_one_line(tmp_path):
    done = run(tmp_path, "--config.optim.larning_rate=1")
    assert done.returncode != 0 and "config.optim.larning_rate does not exist" in done.stderr
    assert "Traceback" not in done.stderr
    done = run(tmp_path, "--config.data.speech.paths=/no/such/place")
    assert done.returncode != 0 and "/no/such/place: no such file" in done.stderr and "Traceback" not in done.stderr


def test_it_trains_on_real_audio(real_audio, tmp_path):
    done = run(
        tmp_path,
        f"--config.data.speech.paths={real_audio}/speech",
        f"--config.data.events.paths={real_audio}/events",
        "--config.loop.steps=4",
    )
    assert done.returncode == 0, done.stderr
    assert max(losses(tmp_path)) == 4

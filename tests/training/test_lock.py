"""One run a work directory."""

import errno
import fcntl
import os
import signal
import subprocess
import sys

import pytest

from quarkaudio_jax.errors import UserError
from quarkaudio_jax.training.lock import NAME, WorkdirLock

HOLD = """
import pathlib, sys, time
from quarkaudio_jax.training.lock import WorkdirLock
lock = WorkdirLock(pathlib.Path(sys.argv[1]))
print("held", flush=True)
time.sleep(60)
"""


def test_a_second_run_is_refused_until_the_first_is_gone(tmp_path):
    first = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert first.stdout.readline() == "held\n"
        with pytest.raises(UserError, match=rf"another training run \(process {first.pid} on .*another --workdir"):
            WorkdirLock(tmp_path)
    finally:
        os.kill(first.pid, signal.SIGKILL)
        first.wait()
    lock = WorkdirLock(tmp_path)  # what a killed run left behind does not block
    assert f"process {os.getpid()} on " in (tmp_path / NAME).read_text()
    with pytest.raises(UserError, match="is at work there"):
        WorkdirLock(tmp_path)
    lock.release()
    lock.release()
    WorkdirLock(tmp_path).release()


def test_without_locks_it_says_so_and_goes_on(tmp_path, monkeypatch, caplog):
    def unsupported(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    WorkdirLock(tmp_path).release()
    assert "this file system has no locks" in caplog.text

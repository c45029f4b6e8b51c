"""Processes that run a verb until they end or are killed; those that start warm have imported everything already."""

import fnmatch
import importlib
import multiprocessing
import os
import pathlib
import random
import sys
import time
from collections.abc import Sequence

from tests.conftest import ROOT

PRELOADED = (
    "quarkaudio_jax.train",
    "quarkaudio_jax.prepare",
    "quarkaudio_jax.training.loop",
    "quarkaudio_jax.preparation.run",
    "orbax.checkpoint",
    "tensorboardX",
    "tests.e2e.lives",
)


def _live(module: str, argv: Sequence[str], log: str) -> None:
    """The body of a process."""
    with open(log, "a") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.chdir(ROOT)
    importlib.import_module(module).main([module, *argv])


def _command(module: str, argv: Sequence[str], log: str) -> None:
    """The body of a process that becomes a fresh interpreter, which still has to import everything."""
    with open(log, "a") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.chdir(ROOT)
    os.execv(sys.executable, [sys.executable, "-m", module, *argv])


def _found(folder: pathlib.Path, patterns: Sequence[str]) -> set[str]:
    """The files and folders of such names below a folder, which others write to at that moment."""
    inside = [os.path.join(base, name) for base, dirs, files in os.walk(folder) for name in dirs + files]
    return {path for path in inside if any(fnmatch.fnmatch(os.path.basename(path), p) for p in patterns)}


class Lives:
    """Starts processes of one verb, one after the other, and kills them."""

    def __init__(self, module: str, argv: Sequence[str], log: pathlib.Path):
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(list(PRELOADED))
        self._module, self._argv, self._log = module, list(argv), str(log)

    def start(self, cold: bool = False) -> multiprocessing.Process:
        """A process; cold: by the command line that a user gives."""
        process = self._context.Process(target=_command if cold else _live, args=(self._module, self._argv, self._log))
        process.start()
        return process

    def finish(self) -> float:
        """Runs to the end; returns the seconds that it took."""
        begun = time.monotonic()
        process = self.start()
        process.join(600)
        assert process.exitcode == 0, pathlib.Path(self._log).read_text()[-3000:]
        return time.monotonic() - begun

    def kill_after(self, seconds: float, cold: bool = False) -> bool:
        """Whether a process lived so long, and so was killed; if not it must have ended well."""
        return self._kill(self.start(cold), lambda process: process.join(seconds))

    def kill_at(self, folder: pathlib.Path, patterns: Sequence[str], rng: random.Random) -> bool:
        """The same for a process that is killed up to 20 ms after a new file of such a name appears."""
        seen = _found(folder, patterns)
        wanted, delay = rng.randint(1, 3), rng.uniform(0, 0.02)

        def wait(process):
            new = set()
            while process.is_alive() and len(new) < wanted:
                new |= _found(folder, patterns) - seen
                time.sleep(0.0005)
            time.sleep(delay)

        return self._kill(self.start(), wait)

    def _kill(self, process: multiprocessing.Process, wait) -> bool:
        wait(process)
        process.kill()
        process.join()
        assert process.exitcode in (0, -9), pathlib.Path(self._log).read_text()[-3000:]
        return process.exitcode == -9

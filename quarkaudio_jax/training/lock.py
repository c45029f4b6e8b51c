"""Lock that admits one training run per work directory."""

import contextlib
import errno
import fcntl
import logging
import os
import pathlib
import socket
import time
from typing import TextIO

import jax
import numpy as np

from quarkaudio_jax.errors import UserError

log = logging.getLogger(__name__)

NAME = "train.lock"
_TAKEN = (errno.EWOULDBLOCK, errno.EACCES)


class WorkdirLock:
    """Lock on a work directory from construction until `release` or the end of the process.

    UserError if another run holds it. Of several hosts the first one holds it for all. It is the kernel's lock on an
    open file, so that a file left by a run that ended never blocks.
    """

    def __init__(self, workdir: pathlib.Path):
        self._file: TextIO | None = None
        owner = self._take(workdir / NAME) if jax.process_index() == 0 else ""
        if _first_host_flag(bool(owner)):
            raise UserError(
                f"{workdir}: another training run{owner} is at work there; wait for its end, stop it, or choose "
                "another --workdir"
            )

    def _take(self, path: pathlib.Path) -> str:
        """Takes the lock; returns '', or a description of its holder if it is taken."""
        # Stays open as long as the lock is held.
        file = open(path, "a+", encoding="utf-8")  # noqa: SIM115
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _TAKEN:
                file.seek(0)
                holder = file.read().strip()
                file.close()
                return f" ({holder})" if holder else " "
            log.warning("%s: this file system has no locks (%s); start no other run in this directory", path, error)
        else:
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()}, since {time.strftime('%Y-%m-%d %H:%M:%S')}\n")
            file.flush()
        self._file = file
        return ""

    def release(self) -> None:
        """Releases the lock."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                fcntl.flock(self._file, fcntl.LOCK_UN)
            self._file.close()
            self._file = None


def _first_host_flag(flag: bool) -> bool:
    """The first host's flag, on all hosts."""
    if jax.process_count() == 1:
        return flag
    from jax.experimental import multihost_utils

    return bool(multihost_utils.broadcast_one_to_all(np.asarray(flag)))

"""One training run a work directory."""

import contextlib
import errno
import fcntl
import logging
import os
import pathlib
import socket
import time

import jax
import numpy as np

from quarkaudio_jax.errors import UserError

log = logging.getLogger(__name__)

NAME = "train.lock"
_TAKEN = (errno.EWOULDBLOCK, errno.EACCES)


class WorkdirLock:
    """Held from its creation until `release` or the end of the process, however it ends; UserError if another run has it.

    Of several hosts the first one holds it for all. What a run that ended left in the file never blocks: the lock is
    the kernel's, on the open file.
    """

    def __init__(self, workdir: pathlib.Path):
        self._file = None
        owner = self._take(workdir / NAME) if jax.process_index() == 0 else ""
        if _any_host(bool(owner)):
            raise UserError(
                f"{workdir}: another training run{owner} is at work there; wait for its end, stop it, or name "
                "another --workdir"
            )

    def _take(self, path: pathlib.Path) -> str:
        """'' with the lock taken, else what is known of its holder."""
        # Open as long as the lock is held.
        file = open(path, "a+", encoding="utf-8")  # noqa: SIM115
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _TAKEN:
                file.seek(0)
                told = file.read().strip()
                file.close()
                return f" ({told})" if told else " "
            log.warning("%s: this file system has no locks (%s); start no other run in this directory", path, error)
        else:
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()}, since {time.strftime('%Y-%m-%d %H:%M:%S')}\n")
            file.flush()
        self._file = file
        return ""

    def release(self) -> None:
        """Lets others in."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                fcntl.flock(self._file, fcntl.LOCK_UN)
            self._file.close()
            self._file = None


def _any_host(flag: bool) -> bool:
    """Whether it is true on the first host, asked by all."""
    if jax.process_count() == 1:
        return flag
    from jax.experimental import multihost_utils

    return bool(multihost_utils.broadcast_one_to_all(np.asarray(flag)))

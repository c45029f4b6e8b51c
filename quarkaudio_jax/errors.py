"""The errors that a user can cause. Verbs catch their base class and print one line; anything else is a fault of ours.

A message names the file, field or value, and says what to do. Rooms derive their own errors from these.
"""

import contextlib
import errno
import os
from collections.abc import Iterator
from typing import Any


class QuarkAudioError(Exception):
    """Base class of every error that a user can cause and act on."""


class UserError(QuarkAudioError, ValueError):
    """Something that was asked for and can't be done; the message says what to do instead."""


class SystemFileError(QuarkAudioError):
    """A file that the operating system refuses to read or write; the message names it and the system's reason."""


EXHAUSTED = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.ENOMEM}
"""What is never the fault of the file at hand: no space, no descriptors, no memory, a disk that can't be written."""


@contextlib.contextmanager
def system_errors(path: str | os.PathLike = "") -> Iterator[None]:
    """Raises SystemFileError for an OSError of the block. path: what to name where the system names no file."""
    try:
        yield
    except QuarkAudioError:
        raise
    except OSError as error:
        raise SystemFileError(_described(error, path)) from error


def _described(error: OSError, path: str | os.PathLike) -> str:
    named = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes | os.PathLike) else ""
    if path and named.endswith(".part"):  # a temporary name, which says nothing to the user
        named = ""
    reason = error.strerror or str(error).strip() or type(error).__name__
    where = named or os.fspath(path)
    return f"{where}: {reason}" if where else reason


def is_exhausted(error: BaseException | None) -> bool:
    """Whether an error, or one that it was raised from, says that space, descriptors or memory have run out."""
    while error is not None:
        if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno in EXHAUSTED):
            return True
        error = error.__cause__ or error.__context__
    return False


def named(source: Any, error: Exception) -> str:
    """What went wrong with a file, its name in front unless the error has it."""
    return str(error) if str(source) in str(error) else f"{source}: {error}"

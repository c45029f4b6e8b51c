"""Errors that a user can cause and act on; the command line prints them as one line, all others are bugs.

A message names the file, field or value, and says what to do.
"""

import contextlib
import errno
import os
from collections.abc import Iterator
from typing import Any


class QuarkAudioError(Exception):
    """Base class of every error that a user can cause and act on."""


class UserError(QuarkAudioError, ValueError):
    """A request that can't be done; the message says what to do instead."""


class SystemFileError(QuarkAudioError):
    """A file that the operating system can't read or write; the message has its name and the reason."""


EXHAUSTED = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.ENOMEM}
"""Errors that other files would have too: no space, descriptors or memory, a read-only disk."""


@contextlib.contextmanager
def system_errors(path: str | os.PathLike = "") -> Iterator[None]:
    """Raises SystemFileError for an OSError of the block. path: named in the message if the error names no file."""
    try:
        yield
    except QuarkAudioError:
        raise
    except OSError as error:
        raise SystemFileError(_described(error, path)) from error


def _described(error: OSError, path: str | os.PathLike) -> str:
    named = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes | os.PathLike) else ""
    if path and named.endswith(".part"):  # a temporary file, unknown to the user
        named = ""
    reason = error.strerror or str(error).strip() or type(error).__name__
    where = named or os.fspath(path)
    return f"{where}: {reason}" if where else reason


def is_exhausted(error: BaseException | None) -> bool:
    """Whether an error or one of its causes is that space, descriptors or memory have run out."""
    while error is not None:
        if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno in EXHAUSTED):
            return True
        error = error.__cause__ or error.__context__
    return False


def named(source: Any, error: Exception) -> str:
    """The message of an error about a file, with the name of the file if it lacks it."""
    return str(error) if str(source) in str(error) else f"{source}: {error}"

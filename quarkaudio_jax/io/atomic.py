"""Atomic writes: a file is complete or absent, also if several processes write it at once.

A file is written under a unique hidden name, `.<checksum of its name>-<random>.part`, and renamed when it is complete.
Only a killed process leaves such a file.
"""

import contextlib
import fcntl
import os
import pathlib
import uuid
import zlib
from collections.abc import Iterator


def temporary_path(path: str | os.PathLike) -> pathlib.Path:
    """A unique hidden name in the folder of `path`, which is created."""
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.with_name(f".{_mark(path)}-{uuid.uuid4().hex[:12]}.part")


def leftovers(path: str | os.PathLike) -> list[pathlib.Path]:
    """Temporary files of `path`, of killed or running writers."""
    path = pathlib.Path(path)
    return sorted(path.parent.glob(f".{_mark(path)}-*.part"))


def _mark(path: pathlib.Path) -> str:
    """Checksum of a file's name, which is short enough for any file system."""
    return f"{zlib.crc32(os.fsencode(path.name)):08x}"


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike) -> Iterator[pathlib.Path]:
    """Yields a name to write to; the file is renamed to `path` at the end of the block, or removed if it raises."""
    temporary = temporary_path(path)
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | os.PathLike, text: str) -> None:
    """Writes a text as UTF-8, replacing an existing file."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, "utf-8")


def create_exclusive(path: str | os.PathLike, text: str) -> str:
    """Writes a text as UTF-8 unless the file exists; of several processes, one succeeds.

    Returns the contents of the file.
    """
    path = pathlib.Path(path)
    if not path.exists():
        temporary = temporary_path(path)
        try:
            temporary.write_text(text, "utf-8")
            _link(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    return path.read_text("utf-8")


def _link(temporary: pathlib.Path, path: pathlib.Path) -> None:
    """Renames a file unless the new name exists.

    Without hard links (buckets mounted as folders), the last of several simultaneous processes succeeds.
    """
    try:
        os.link(temporary, path)
    except FileExistsError:
        pass
    except OSError:
        if not path.exists():
            os.replace(temporary, path)


@contextlib.contextmanager
def exclusive(path: str | os.PathLike) -> Iterator[None]:
    """Holds the kernel's lock on a file, which is created, for the block; waits while another process holds it."""
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def drop_unfinished_line(path: pathlib.Path) -> None:
    """Removes an unfinished last line of a killed run."""
    if path.exists():
        text = path.read_bytes()
        size = text.rfind(b"\n") + 1
        if size != len(text):
            os.truncate(path, size)

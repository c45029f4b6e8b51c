"""Files that are there whole or not at all, also when several processes write the same one at once.

A file is written under a hidden name of the writer's own, `.<checksum of its name>-<random>.part`, and renamed when it
is complete. Only a process that is killed leaves such a name behind.
"""

import contextlib
import os
import pathlib
import uuid
import zlib
from collections.abc import Iterator


def temporary_path(path: str | os.PathLike) -> pathlib.Path:
    """A hidden name in the folder of `path`, made if need be, that no other writer has."""
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.with_name(f".{_mark(path)}-{uuid.uuid4().hex[:12]}.part")


def leftovers(path: str | os.PathLike) -> list[pathlib.Path]:
    """What writers of `path` that were killed, or that are still at work, have written so far."""
    path = pathlib.Path(path)
    return sorted(path.parent.glob(f".{_mark(path)}-*.part"))


def _mark(path: pathlib.Path) -> str:
    """Short, so that a file's temporary name is allowed wherever its own is."""
    return f"{zlib.crc32(os.fsencode(path.name)):08x}"


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike) -> Iterator[pathlib.Path]:
    """The name to write to; the file becomes `path` at the end of the block, or goes away if the block raises."""
    temporary = temporary_path(path)
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | os.PathLike, text: str) -> None:
    """Writes a text as UTF-8, in place of what is there."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, "utf-8")


def create_exclusive(path: str | os.PathLike, text: str) -> str:
    """Writes a text as UTF-8 unless the file is there; of several processes the first one's counts for all.

    Returns what the file holds.
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
    """Gives a file its name unless the name is taken.

    Without hard links (buckets mounted as folders) the last of those who begin at the same moment counts.
    """
    try:
        os.link(temporary, path)
    except FileExistsError:
        pass
    except OSError:
        if not path.exists():
            os.replace(temporary, path)


def drop_unfinished_line(path: pathlib.Path) -> None:
    """Cuts a last line that a killed run did not finish."""
    if path.exists():
        text = path.read_bytes()
        whole = text[: text.rfind(b"\n") + 1]
        if whole != text:
            os.truncate(path, len(whole))

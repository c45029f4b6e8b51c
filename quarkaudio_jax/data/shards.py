"""Who prepares which shard: a plan, claims by lock, and a note for each shard that is done.

OUTPUT/plan.json                the configuration and the shards, the same for all processes
OUTPUT/.work/PART-00000.lock    held by the process that works on the shard; its death frees it
OUTPUT/.work/PART-00000.json    what the finished shard holds
"""

import contextlib
import dataclasses
import errno
import fcntl
import json
import os
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

from quarkaudio_jax.data.crops import SourceError
from quarkaudio_jax.data.records import shard_path
from quarkaudio_jax.io import atomic
from quarkaudio_jax.types import ceil_div

PLAN = "plan.json"


@dataclasses.dataclass(frozen=True)
class Shard:
    """Examples `start` to `stop` of a part, file `number` of `count`."""

    part: str
    number: int
    count: int
    start: int
    stop: int

    @property
    def name(self) -> str:
        """What to call it in a log."""
        return f"{self.part}-{self.number:05d}"


def split(counts: Mapping[str, int], size: int) -> list[Shard]:
    """The shards of parts with so many examples, at most `size` each; parts take turns."""
    out = []
    for part, total in counts.items():
        count = ceil_div(total, size)
        out += [Shard(part, i, count, i * size, min((i + 1) * size, total)) for i in range(count)]
    return sorted(out, key=lambda s: (s.number, s.part))


def _json(value: Any) -> str:
    """The same text for the same value."""
    return json.dumps(value, indent=1, sort_keys=True) + "\n"


class Board:
    """The shards of one output folder and their state, shared by all processes that work on it."""

    def __init__(self, root: pathlib.Path, plan: Mapping[str, Any], shards: list[Shard]):
        """Begins the folder, or joins it; SourceError if it was begun with another plan."""
        self.root, self.shards = root, shards
        self._work = root / ".work"
        try:
            self._work.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SourceError(f"{root}: can't be written to ({error.strerror})") from error
        ours = _json(plan)
        if name := _difference(json.loads(atomic.create_exclusive(root / PLAN, ours)), json.loads(ours)):
            raise SourceError(f"{root} was begun with another {name}; use that again, or another --output")

    def _path(self, shard: Shard) -> pathlib.Path:
        return shard_path(self.root, shard.part, shard.number, shard.count)

    def _note(self, shard: Shard) -> pathlib.Path:
        return self._work / f"{shard.name}.json"

    def is_done(self, shard: Shard) -> bool:
        """Whether the shard is there, whole."""
        return self._note(shard).exists() and self._path(shard).exists()

    def num_done(self) -> int:
        """How many shards have their note: one look at the folder, however many there are."""
        return sum(entry.name.endswith(".json") for entry in os.scandir(self._work))

    def finish(self, shard: Shard, note: Mapping[str, Any]) -> None:
        """Marks a shard, whose file has its name already, as done."""
        atomic.write_text(self._note(shard), _json(note))

    def notes(self) -> dict[Shard, dict[str, Any]]:
        """What each finished shard holds."""
        return {s: json.loads(self._note(s).read_text()) for s in self.shards if self.is_done(s)}

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Waits until no other process is in such a block."""
        with open(self._work / "alone.lock", "w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    @contextlib.contextmanager
    def claim(self, shard: Shard) -> Iterator[bool]:
        """Holds a shard while in the block; False if another process has it.

        What a process that was killed left of it is removed.
        """
        with open(self._work / f"{shard.name}.lock", "w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno not in (errno.EAGAIN, errno.EACCES):
                    raise
                yield False
                return
            for leftover in atomic.leftovers(self._path(shard)):
                leftover.unlink(missing_ok=True)
            yield True


def _difference(theirs: Any, ours: Any, name: str = "plan") -> str:
    """The first field in which two plans differ, '' if none does."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        for key in sorted(set(theirs) | set(ours)):
            inner = key if name == "plan" else f"{name}.{key}"
            if found := _difference(theirs.get(key), ours.get(key), inner):
                return found
        return ""
    return "" if theirs == ours else f"{name} ({theirs!r}, now {ours!r})"

"""A queue of shards that several processes work on, by files in the output folder.

OUTPUT/plan.json                the configuration, the same for all processes
OUTPUT/.work/PART-00000.lock    locked by the process that works on the shard; released when that process ends
OUTPUT/.work/PART-00000.json    manifest of a finished shard: what it contains
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

from quarkaudio_jax.config.build import RENAMED
from quarkaudio_jax.data.crops import SourceError
from quarkaudio_jax.data.records import shard_path
from quarkaudio_jax.io import atomic
from quarkaudio_jax.types import ceil_div

PLAN = "plan.json"

ADDED: dict[str, dict[str, Any]] = {
    "config": {"draws": 1},
    "config.simulation": {"final_peak": [0.0, 0.0]},
    "facts": {"num_codebooks": 0},
}
"""Group of a plan -> fields that came later, with the value that plans without them have."""


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
        """Name in logs and of its files in .work."""
        return f"{self.part}-{self.number:05d}"


def split(counts: Mapping[str, int], size: int) -> list[Shard]:
    """Splits parts with `counts` examples into shards of at most `size`, in an order in which parts alternate."""
    out = []
    for part, total in counts.items():
        count = ceil_div(total, size)
        out += [Shard(part, i, count, i * size, min((i + 1) * size, total)) for i in range(count)]
    return sorted(out, key=lambda s: (s.number, s.part))


def _json(value: Any) -> str:
    """Encodes a value, equal values as equal texts."""
    return json.dumps(value, indent=1, sort_keys=True) + "\n"


class ShardQueue:
    """The shards of one output folder and their state, shared by all processes that work on it."""

    def __init__(self, root: pathlib.Path, plan: Mapping[str, Any], shards: list[Shard]):
        """Creates or joins a queue; SourceError if the folder was begun with another plan."""
        self.root, self.shards = root, shards
        self._work = root / ".work"
        try:
            self._work.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SourceError(f"{root}: can't be written to ({error.strerror})") from error
        text = _json(plan)
        theirs, ours = json.loads(atomic.create_exclusive(root / PLAN, text)), json.loads(text)
        if name := _difference(theirs, ours):
            raise SourceError(f"{root} was begun with another {name}; use that again, or another --output")

    def _path(self, shard: Shard) -> pathlib.Path:
        return shard_path(self.root, shard.part, shard.number, shard.count)

    def _manifest(self, shard: Shard) -> pathlib.Path:
        return self._work / f"{shard.name}.json"

    def is_done(self, shard: Shard) -> bool:
        """Whether a shard is finished."""
        return self._manifest(shard).exists() and self._path(shard).exists()

    def num_done(self) -> int:
        """Number of shards with a manifest, by one listing of the folder."""
        return sum(entry.name.endswith(".json") for entry in os.scandir(self._work))

    def finish(self, shard: Shard, manifest: Mapping[str, Any]) -> None:
        """Writes the manifest of a shard, whose file must exist already, which marks it as finished."""
        atomic.write_text(self._manifest(shard), _json(manifest))

    def manifests(self) -> dict[Shard, dict[str, Any]]:
        """The manifests of all finished shards."""
        return {s: json.loads(self._manifest(s).read_text()) for s in self.shards if self.is_done(s)}

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        """Holds a lock of the folder, waiting for it if need be."""
        with atomic.exclusive(self._work / "alone.lock"):
            yield

    @contextlib.contextmanager
    def lease(self, shard: Shard) -> Iterator[bool]:
        """Locks a shard for the block: True, or False if another process holds it.

        Removes temporary files of a killed process.
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
    """The first field in which two plans differ, '' if none does. Names of version 0.1 in the saved plan are mapped."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        theirs = {key if key in ours else RENAMED.get(key, key): value for key, value in theirs.items()}
        if name == "config.examples":  # which has a field for every task, also for those that came later
            theirs, ours = {**dict.fromkeys(ours, 0), **theirs}, {**dict.fromkeys(theirs, 0), **ours}
        theirs = {**{key: value for key, value in ADDED.get(name, {}).items() if key in ours}, **theirs}
        for key in sorted(set(theirs) | set(ours)):
            inner = key if name == "plan" else f"{name}.{key}"
            if found := _difference(theirs.get(key), ours.get(key), inner):
                return found
        return ""
    return "" if theirs == ours else f"{name} ({theirs!r}, now {ours!r})"

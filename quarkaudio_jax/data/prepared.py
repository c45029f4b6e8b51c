"""From prepared records to batches of packed sequences for the language model, with Grain.

Deterministic for a seed, sharded by host, resumable to the exact next batch.
"""

import dataclasses
import functools
import json
import logging
import pathlib
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import grain
import numpy as np
from absl import flags

from quarkaudio_jax.config import DatasetInfo, LMDataConfig, from_config_dict, to_dict
from quarkaudio_jax.data.pipeline import DataError, SkipMonitor
from quarkaudio_jax.data.position import Share, merge, own_state
from quarkaudio_jax.data.records import Records, parts_of
from quarkaudio_jax.data.shards import PLAN
from quarkaudio_jax.io.audio import AudioError
from quarkaudio_jax.tokens.sequence import (
    FEATURE_KEYS,
    NO_CODE,
    PACKED_KEYS,
    FeatureBlocks,
    build_sequence,
    collate,
    collate_packed,
)
from quarkaudio_jax.tokens.tasks import TASKS
from quarkaudio_jax.types import round_up

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a sequence is in its task's order, and the index of its record."""

    task: str
    position: int
    index: int

    def __str__(self) -> str:
        return f"{self.task}/{self.index}"


@dataclasses.dataclass(frozen=True)
class Origin:
    """What went into a batch, and what was dropped on the way to it: (place, why)."""

    used: tuple[Place, ...]
    dropped: tuple[tuple[Place, str], ...]


@dataclasses.dataclass(frozen=True)
class Lay:
    """Place -> the laid-out sequence of a record; one that can't be used carries the reason."""

    records: Records
    length: int
    delay_padding: int

    def __call__(self, place: Place) -> dict[str, Any]:
        try:
            return {**self.sequence(place.index), "problem": "", "place": place}
        except AudioError as error:
            return {"problem": str(error), "place": place}

    def sequence(self, index: int) -> dict[str, Any]:
        """The sequence of record `index`; AudioError if it is corrupt or longer than `length`."""
        record = self.records[index]
        codes = np.concatenate([record["acoustic"], record["semantic"]], axis=1)
        text = len(record["text_features"]) if self.records.width("text_features") > 1 else record["text"].encode()
        audio = (record["reference"], record["source"])
        found = build_sequence(
            TASKS[record["task"]].number, text, *(len(a) for a in audio), codes, self.delay_padding, record["durations"]
        )
        found["features"], found["text_features"] = FeatureBlocks(audio), FeatureBlocks((record["text_features"],))
        if len(found["kind"]) > self.length:
            raise AudioError(
                f"{record['id']}: {len(found['kind'])} positions, more than config.data.length ({self.length})"
            )
        return found


def _weights(cfg: LMDataConfig) -> dict[str, float]:
    """{task: weight} of the finished tasks that have one; DataError names what is missing."""
    if not cfg.folder:
        raise DataError("config.data.folder is empty: name the output folder of prepare")
    there = parts_of(cfg.folder)
    wanted = {task: weight for task, weight in to_dict(cfg.weights).items() if weight > 0 and task in there}
    if not wanted:
        raise DataError(f"{cfg.folder} holds no finished task with a weight (finished: {', '.join(there) or 'none'})")
    return wanted


def open_tasks(cfg: LMDataConfig) -> dict[str, tuple[Records, float]]:
    """{task: (records, weight)} of the tasks that have a weight; DataError names what is missing."""
    return {task: (Records(f"{cfg.folder}/{task}"), weight) for task, weight in _weights(cfg).items()}


def read_dataset_info(cfg: LMDataConfig) -> DatasetInfo:
    """What the data says of itself, with the tasks that will be trained; DataError if `prepare` did not write it."""
    tasks = tuple(_weights(cfg))
    path = pathlib.Path(cfg.folder) / PLAN
    try:
        dataset = from_config_dict(json.loads(path.read_text())["facts"], DatasetInfo)
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{path}: can't be read ({error}); prepare the data with this version") from error
    return dataclasses.replace(dataset, tasks=tasks)


def heldout_rows(cfg: LMDataConfig, delay_padding: int, count: int) -> list[dict[str, Any]]:
    """Up to `count` held-out examples of each task, one a row, all as long as the longest: `name`, `group` (the task).

    The arrays are those of `packed_batches`, without the batch axis.
    """
    found: list[tuple[str, dict[str, Any]]] = []
    for task, (records, _) in open_tasks(cfg).items():
        lay = Lay(records, cfg.length, delay_padding)
        for index in range(min(count, heldout_count(len(records), cfg.heldout))):
            try:
                found.append((f"{task}/{index}", lay.sequence(index)))
            except AudioError as error:
                if cfg.strict:
                    raise DataError(f"{error} (config.data.strict is on)") from error
                log.warning("held-out example skipped: %s", error)
    if not found:
        return []
    length = round_up(max(len(sequence["kind"]) for _, sequence in found), 64)
    with_text = all(sequence["text_features"].arrays[0].shape[1] > 1 for _, sequence in found)
    out = []
    for name, sequence in found:
        row = {**sequence, **{key: sequence[key].arrays for key in FEATURE_KEYS}}
        example = {key: array[0] for key, array in collate([row], length, with_text).items()}
        out.append({**example, "name": name, "group": name.split("/")[0]})
    return out


def heldout_count(total: int, share: float) -> int:
    """How many of a task's records, the first ones, are kept out of training."""
    return min(max(round(total * share), 1), total - 1) if share > 0 else 0


class Sieve:
    """Drops sequences that carry a problem, and keeps the problems for the next batch to carry on.

    Packing, and so this, runs where batches are made, which may be a worker process; what is
    counted there would stay there.
    """

    def __init__(self, monitor: SkipMonitor):
        self._monitor, self._found = monitor, []

    def __call__(self, example: Mapping[str, Any]) -> bool:
        if not self._monitor(example):
            self._found.append((example["place"], example["problem"]))
            return False
        return True

    def drain(self) -> tuple[tuple[Place, str], ...]:
        """What was dropped since the last time."""
        found, self._found = tuple(self._found), []
        return found


Starts = dict[str, tuple[int, frozenset[int]]]
"""Of each task, the first position in its order to read, and those after it that were read already."""


class PackedBatches(grain.DatasetIterator):
    """Batches, with a state that knows the mixture it belongs to and which examples were in them.

    count, problems: of what was skipped so far. names: of the examples in the last batch.
    """

    sources: Mapping[str, Any] = {}  # `dataset` say what the data are

    def __init__(
        self,
        open_batches: Callable[[Starts], grain.DatasetIterator],
        weights: Mapping[str, float],
        change: bool,
        host: int,
        hosts: int,
    ):
        super().__init__()
        self._open, self._weights, self._change, self._host, self._hosts = (
            open_batches,
            dict(weights),
            change,
            host,
            hosts,
        )
        self.count = 0
        self.problems: set[str] = set()
        self.names: tuple[str, ...] = ()
        self._inner: grain.DatasetIterator | None = None
        self._begin(dict.fromkeys(weights, (0, frozenset())))

    def _begin(self, starts: Starts) -> None:
        self.close()
        self._starts, self._inner = starts, self._open(starts)
        self._shares = {task: Share(start + self._host, self._hosts, taken) for task, (start, taken) in starts.items()}

    def __next__(self) -> dict[str, np.ndarray]:
        batch, origin = next(self._inner)
        self.count += len(origin.dropped)
        self.problems |= {problem for _, problem in origin.dropped}
        for place in (*origin.used, *(place for place, _ in origin.dropped)):
            self._shares[place.task].mark(place.position)
        self.names = tuple(map(str, origin.used))
        return batch

    def get_state(self) -> dict[str, Any]:
        """What set_states takes, plain JSON values."""
        return {
            "host": self._host,
            "hosts": self._hosts,
            "weights": self._weights,
            "starts": {task: [start, sorted(taken)] for task, (start, taken) in self._starts.items()},
            "shares": {task: share.state() for task, share in self._shares.items()},
            "batches": self._inner.get_state(),
        }

    def set_states(self, states: Sequence[Mapping[str, Any]]) -> None:
        """Goes on from what all hosts saved: with as many hosts exactly, else with what none of them has read.

        DataError if the mixture is another one and was not meant to change.
        """
        before = states[0]["weights"]
        if before != self._weights:
            if not self._change:
                raise DataError(
                    f"this run began with the mixture {before}, now it is {self._weights}; "
                    "set config.data.change_mixture=True to go on with the new one"
                )
            log.warning("the mixture changes from %s to %s", before, self._weights)
        mine = own_state(states, self._host, self._hosts)
        if mine and before.keys() == self._weights.keys():
            self._begin({task: (start, frozenset(taken)) for task, (start, taken) in mine["starts"].items()})
            for task, share in mine["shares"].items():
                self._shares[task] = Share(share["next"], share["step"], frozenset(share["ahead"]))
            self._inner.set_state(mine["batches"])
            return
        nothing = (0, frozenset())
        self._begin({t: merge(s["shares"][t] for s in states) if t in before else nothing for t in self._weights})

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Goes on from what this host saved."""
        self.set_states([state])

    def close(self) -> None:
        """Ends what makes batches ahead."""
        if self._inner is not None:
            self._inner.close()
            self._inner = None


def packed_batches(
    cfg: LMDataConfig, delay_padding: int, seed: int, process_index: int = 0, process_count: int = 1
) -> PackedBatches:
    """This host's endless batches.

    kind, value, segment, position (B, L), features (B, L, D), codes (B, L, K): see
    `tokens.sequence`; segment counts the examples of a row from 1 (0: padding), position counts
    within each. text_features (B, L, D) where they were prepared. delay_padding: positions behind the codes.
    """
    if cfg.batch_size % process_count:
        raise DataError(f"config.data.batch_size is {cfg.batch_size}, not a multiple of the {process_count} hosts")
    tasks = open_tasks(cfg)
    weights = {task: weight for task, (_, weight) in tasks.items()}
    total = sum(len(records) for records, _ in tasks.values())
    with_text = all(records.width("text_features") > 1 for records, _ in tasks.values())
    rows = cfg.batch_size // process_count

    def share_of(task: str, start: int, taken: frozenset[int]) -> grain.IterDataset:
        records = tasks[task][0]
        order = grain.MapDataset.range(heldout_count(len(records), cfg.heldout), len(records))
        order = order.seed(zlib.crc32(task.encode()) + seed).shuffle().repeat()
        mine = order.map_with_index(functools.partial(_place, task))[start + process_index :: process_count]
        if taken:
            mine = mine.filter(functools.partial(_not_in, taken))
        options = grain.ReadOptions(
            num_threads=0, prefetch_buffer_size=0
        )  # threads would wait for the interpreter lock
        return mine.map(Lay(records, cfg.length, delay_padding)).to_iter_dataset(options)

    def open_batches(starts: Starts) -> grain.DatasetIterator:
        sieve = Sieve(SkipMonitor(cfg.strict, total))
        mixed = grain.IterDataset.mix({task: share_of(task, *starts[task]) for task in weights}, weights).filter(sieve)
        packed = grain.experimental.FirstFitPackIterDataset(
            mixed,
            length_struct=dict.fromkeys(PACKED_KEYS, cfg.length),
            num_packing_bins=cfg.bins,
            padding_struct={name: NO_CODE if name == "codes" else 0 for name in PACKED_KEYS},
            meta_features=(*FEATURE_KEYS, "place"),
            seed=seed,
        )
        batches = packed.batch(rows, drop_remainder=True, batch_fn=functools.partial(_collate, with_text, sieve))
        if cfg.workers:
            if not flags.FLAGS.is_parsed():
                flags.FLAGS.mark_as_parsed()
            ahead = grain.MultiprocessingOptions(num_workers=cfg.workers, per_worker_buffer_size=max(cfg.prefetch, 1))
            batches = batches.mp_prefetch(ahead)
        elif cfg.prefetch:
            batches = grain.experimental.ThreadPrefetchIterDataset(batches, prefetch_buffer_size=cfg.prefetch)
        return iter(batches)

    return PackedBatches(open_batches, weights, cfg.change_mixture, process_index, process_count)


def _place(task: str, position: int, index: int) -> Place:
    return Place(task, int(position), int(index))


def _not_in(taken: frozenset[int], place: Place) -> bool:
    return place.position not in taken


def _collate(with_text: bool, sieve: Sieve, rows: Sequence[dict[str, Any]]) -> tuple[dict[str, np.ndarray], Origin]:
    """A batch of packed rows, and where it came from."""
    used = tuple(place for row in rows for place in row["place"])
    return collate_packed(with_text, rows), Origin(used, sieve.drain())


def padding_share(batch: Mapping[str, np.ndarray]) -> float:
    """The share of positions that hold nothing."""
    return float(np.mean(batch["segment"] == 0))

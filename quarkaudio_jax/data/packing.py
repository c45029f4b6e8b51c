"""Batches of packed sequences of prepared examples, by Grain.

Deterministic for a seed, sharded by host, resumable at any batch.
"""

import dataclasses
import functools
import logging
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import grain
import numpy as np

from quarkaudio_jax.config import LMDataConfig
from quarkaudio_jax.data.heldout import heldout_end
from quarkaudio_jax.data.position import HostShare, merge_states, state_of_host
from quarkaudio_jax.data.prepared import ExampleId, SequenceBuilder, SequenceLayout, open_tasks
from quarkaudio_jax.data.skipping import DataError, SkipMonitor
from quarkaudio_jax.data.workers import use_workers
from quarkaudio_jax.tokens.sequence import FEATURE_KEYS, NO_CODE, PACKED_KEYS, collate_packed

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class BatchInfo:
    """The examples in a batch, and those skipped since the batch before: (example, reason)."""

    used: tuple[ExampleId, ...]
    skipped: tuple[tuple[ExampleId, str], ...]


class SkipFilter:
    """Filters out sequences that carry a problem, and keeps the problems for the next batch.

    It runs where batches are packed, which may be a worker process, so batches have to carry the problems out of it.
    """

    def __init__(self, monitor: SkipMonitor):
        self._monitor = monitor
        self._found: list[tuple[ExampleId, str]] = []

    def __call__(self, sequence: Mapping[str, Any]) -> bool:
        """Whether a sequence can be used."""
        if not self._monitor(sequence):
            self._found.append((sequence["example"], sequence["problem"]))
            return False
        return True

    def drain(self) -> tuple[tuple[ExampleId, str], ...]:
        """Returns what was skipped since the last call."""
        found, self._found = tuple(self._found), []
        return found


Starts = dict[str, tuple[int, frozenset[int]]]
"""{task: (first position of its order to read, later positions that were read already)}."""


class PackedBatches(grain.DatasetIterator):
    """Batches with a state that holds the mixture and the examples read so far.

    count, problems: of examples skipped so far. names: of the examples in the last batch.
    """

    sources: Mapping[str, Any] = {}  # `config.dataset` describes the data

    def __init__(
        self,
        open_batches: Callable[[Starts], grain.DatasetIterator],
        weights: Mapping[str, float],
        change: bool,
        host: int,
        hosts: int,
    ):
        super().__init__()
        self._open, self._weights, self._change = open_batches, dict(weights), change
        self._host, self._hosts = host, hosts
        self.count = 0
        self.problems: set[str] = set()
        self.names: tuple[str, ...] = ()
        self._inner: grain.DatasetIterator | None = None
        self._begin(dict.fromkeys(weights, (0, frozenset())))

    def _begin(self, starts: Starts) -> None:
        self.close()
        self._starts, self._inner = starts, self._open(starts)
        self._shares = {
            task: HostShare(start + self._host, self._hosts, taken) for task, (start, taken) in starts.items()
        }

    def __next__(self) -> dict[str, np.ndarray]:
        assert self._inner is not None, "closed"
        batch, info = next(self._inner)
        self.count += len(info.skipped)
        self.problems |= {problem for _, problem in info.skipped}
        for example in (*info.used, *(example for example, _ in info.skipped)):
            self._shares[example.task].mark(example.position)
        self.names = tuple(map(str, info.used))
        return batch

    def get_state(self) -> dict[str, Any]:
        """The state for `set_states`, plain JSON."""
        assert self._inner is not None, "closed"
        return {
            "host": self._host,
            "hosts": self._hosts,
            "weights": self._weights,
            "starts": {task: [start, sorted(taken)] for task, (start, taken) in self._starts.items()},
            "shares": {task: share.state() for task, share in self._shares.items()},
            "batches": self._inner.get_state(),
        }

    def set_states(self, states: Sequence[Mapping[str, Any]]) -> None:
        """Resumes from the states of all hosts: exactly if there are as many, else with examples that none has read.

        DataError: the mixture is another one, and config.data.change_mixture is off.
        """
        before = states[0]["weights"]
        if before != self._weights:
            if not self._change:
                raise DataError(
                    f"this run began with the mixture {before}, now it is {self._weights}; "
                    "set config.data.change_mixture=True to go on with the new one"
                )
            log.warning("the mixture changes from %s to %s", before, self._weights)
        mine = state_of_host(states, self._host, self._hosts)
        if mine and before.keys() == self._weights.keys():
            self._begin({task: (start, frozenset(taken)) for task, (start, taken) in mine["starts"].items()})
            for task, share in mine["shares"].items():
                self._shares[task] = HostShare(share["next"], share["step"], frozenset(share["ahead"]))
            assert self._inner is not None, "opened by _begin"
            self._inner.set_state(mine["batches"])
            return
        unread: tuple[int, frozenset[int]] = (0, frozenset())
        merged = {t: merge_states(s["shares"][t] for s in states) for t in self._weights if t in before}
        self._begin({t: merged.get(t, unread) for t in self._weights})

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Resumes from the state of this host."""
        self.set_states([state])

    def close(self) -> None:
        """Stops making batches ahead."""
        if self._inner is not None:
            self._inner.close()
            self._inner = None


def packed_batches(
    cfg: LMDataConfig, layout: SequenceLayout, seed: int, process_index: int = 0, process_count: int = 1
) -> PackedBatches:
    """Opens this host's endless batches.

    kind, value, segment, position (B, L), features (B, L, D), codes (B, L, K), and text_features (B, L, D) if they were
    prepared: see `tokens.sequence.collate_packed`.
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
        order = grain.MapDataset.range(heldout_end(records, cfg.heldout), len(records))
        order = order.seed(zlib.crc32(task.encode()) + seed).shuffle().repeat()
        mine = order.map_with_index(functools.partial(_example_id, task))[start + process_index :: process_count]
        if taken:
            mine = mine.filter(functools.partial(_not_in, taken))
        options = grain.ReadOptions(num_threads=0, prefetch_buffer_size=0)  # threads would wait for the GIL
        builder = SequenceBuilder(records, cfg.length, layout)
        return mine.map(builder).to_iter_dataset(options)

    def open_batches(starts: Starts) -> grain.DatasetIterator:
        skip = SkipFilter(SkipMonitor(cfg.strict, total))
        mixed = grain.IterDataset.mix({task: share_of(task, *starts[task]) for task in weights}, weights).filter(skip)
        packed = grain.experimental.FirstFitPackIterDataset(
            mixed,
            length_struct=dict.fromkeys(PACKED_KEYS, cfg.length),
            num_packing_bins=cfg.bins,
            padding_struct={name: NO_CODE if name == "codes" else 0 for name in PACKED_KEYS},
            meta_features=(*FEATURE_KEYS, "example"),
            seed=seed,
        )
        batches = packed.batch(rows, drop_remainder=True, batch_fn=functools.partial(_collate, with_text, skip))
        batches = use_workers(batches, cfg.workers, max(cfg.prefetch, 1))
        if cfg.prefetch and not cfg.workers:
            batches = grain.experimental.ThreadPrefetchIterDataset(batches, prefetch_buffer_size=cfg.prefetch)
        return iter(batches)

    return PackedBatches(open_batches, weights, cfg.change_mixture, process_index, process_count)


def _example_id(task: str, position: int, index: int) -> ExampleId:
    return ExampleId(task, int(position), int(index))


def _not_in(taken: frozenset[int], example: ExampleId) -> bool:
    return example.position not in taken


def _collate(
    with_text: bool, skip: SkipFilter, rows: Sequence[dict[str, Any]]
) -> tuple[dict[str, np.ndarray], BatchInfo]:
    used = tuple(example for row in rows for example in row["example"])
    return collate_packed(with_text, rows), BatchInfo(used, skip.drain())


def padding_share(batch: Mapping[str, np.ndarray]) -> float:
    """Share of positions that are padding."""
    return float(np.mean(batch["segment"] == 0))

"""From prepared records to batches of packed sequences for the language model, with Grain.

Deterministic for a seed, sharded by host, resumable to the exact next batch.
"""

import dataclasses
import logging
import zlib
from collections.abc import Mapping
from typing import Any

import grain
import numpy as np
from absl import flags

from quarkaudio_jax.data.audio import AudioError
from quarkaudio_jax.data.pipeline import DataError, SkipMonitor
from quarkaudio_jax.data.records import Records, parts_of
from quarkaudio_jax.schema import PreparedConfig, to_dict
from quarkaudio_jax.tasks import TASKS
from quarkaudio_jax.tasks.layout import NO_CODE, lay_out

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Lay:
    """index -> the laid-out sequence of a record; one that can't be used carries the reason."""

    records: Records
    length: int
    tail: int

    def __call__(self, index: int) -> dict[str, Any]:
        try:
            return {**self.sequence(int(index)), "problem": ""}
        except AudioError as error:
            return {"problem": str(error)}

    def sequence(self, index: int) -> dict[str, np.ndarray]:
        """The sequence of record `index`; AudioError if it is corrupt or longer than `length`."""
        record = self.records[index]
        codes = np.concatenate([record["acoustic"], record["semantic"]], axis=1)
        found = lay_out(
            TASKS[record["task"]].number,
            record["text"].encode(),
            record["reference"],
            record["source"],
            codes,
            self.tail,
            record["durations"],
        )
        if len(found["kind"]) > self.length:
            raise AudioError(
                f"{record['id']}: {len(found['kind'])} positions, more than config.data.length ({self.length})"
            )
        return found


def open_tasks(cfg: PreparedConfig) -> dict[str, tuple[Records, float]]:
    """{task: (records, weight)} of the tasks that have a weight; DataError names what is missing."""
    if not cfg.folder:
        raise DataError("config.data.folder is empty: name the output folder of prepare")
    there = parts_of(cfg.folder)
    wanted = {task: weight for task, weight in to_dict(cfg.weights).items() if weight > 0 and task in there}
    if not wanted:
        raise DataError(f"{cfg.folder} holds no finished task with a weight (finished: {', '.join(there) or 'none'})")
    return {task: (Records(f"{cfg.folder}/{task}"), weight) for task, weight in wanted.items()}


def heldout_count(total: int, share: float) -> int:
    """How many of a task's records, the first ones, are kept out of training."""
    return min(max(round(total * share), 1), total - 1) if share > 0 else 0


class PackedBatches(grain.DatasetIterator):
    """Batches, with a state that knows the mixture it belongs to."""

    def __init__(self, inner: grain.DatasetIterator, weights: Mapping[str, float], change: bool):
        super().__init__(inner)
        self._weights, self._change = dict(weights), change

    def __next__(self) -> dict[str, np.ndarray]:
        return next(self._parent)

    def get_state(self) -> dict[str, Any]:
        """What set_state takes, plain JSON values."""
        return {"weights": self._weights, "batches": self._parent.get_state()}

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes on from there; DataError if the mixture is another one and was not meant to change."""
        if state["weights"] != self._weights:
            if not self._change:
                raise DataError(
                    f"this run began with the mixture {state['weights']}, now it is {self._weights}; "
                    "set config.data.change_mixture=True to go on with the new one"
                )
            log.warning("the mixture changes from %s to %s", state["weights"], self._weights)
        self._parent.set_state(state["batches"])


def packed_batches(
    cfg: PreparedConfig, tail: int, seed: int, process_index: int = 0, process_count: int = 1
) -> tuple[PackedBatches, SkipMonitor]:
    """This host's endless batches, and what was skipped.

    kind, value, segment, position (B, L), features (B, L, D), codes (B, L, K): see
    `tasks.layout`; segment counts the examples of a row from 1 (0: padding), position counts
    within each. tail: positions behind the codes.
    """
    if cfg.batch_size % process_count:
        raise DataError(f"config.data.batch_size is {cfg.batch_size}, not a multiple of the {process_count} hosts")
    tasks = open_tasks(cfg)
    options = grain.ReadOptions(num_threads=cfg.threads, prefetch_buffer_size=cfg.prefetch)
    parts, total = {}, 0
    for task, (records, _) in tasks.items():
        first = heldout_count(len(records), cfg.heldout)
        order = grain.MapDataset.range(first, len(records)).seed(zlib.crc32(task.encode()) + seed)
        mine = order.shuffle().repeat()[process_index::process_count]
        parts[task] = mine.map(Lay(records, cfg.length, tail)).to_iter_dataset(options)
        total += len(records)
    weights = {task: weight for task, (_, weight) in tasks.items()}
    monitor = SkipMonitor(cfg.strict, patience=max(100, 3 * total))
    mixed = grain.IterDataset.mix(parts, weights).filter(monitor)
    lengths = {name: cfg.length for name in ("kind", "value", "features", "codes")}
    packed = grain.experimental.FirstFitPackIterDataset(
        mixed,
        length_struct=lengths,
        num_packing_bins=cfg.bins,
        padding_struct={"kind": 0, "value": 0, "features": 0, "codes": NO_CODE},
        seed=seed,
    ).map(_tidied)
    if cfg.workers:
        if not flags.FLAGS.is_parsed():
            flags.FLAGS.mark_as_parsed()
        packed = packed.mp_prefetch(grain.MultiprocessingOptions(num_workers=cfg.workers, per_worker_buffer_size=2))
    batches = packed.batch(cfg.batch_size // process_count, drop_remainder=True)
    return PackedBatches(iter(batches), weights, cfg.change_mixture), monitor


def _tidied(row: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """One segment and position for all arrays of a row."""
    return {
        **{name: row[name] for name in ("kind", "value", "features", "codes")},
        "segment": row["kind_segment_ids"],
        "position": row["kind_positions"],
    }


def padding_share(batch: Mapping[str, np.ndarray]) -> float:
    """The share of positions that hold nothing."""
    return float(np.mean(batch["segment"] == 0))

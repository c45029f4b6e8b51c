"""Prepared examples streamed for the language model, against reading the raw bytes.

python -m benchmarks.streaming --prepared=data/out --times=16

Each file is linked `times` times, so that the index is shuffled over a realistic number of records.
"""

import argparse
import itertools
import json
import os
import pathlib
import shutil
import tempfile
import time

import grain
import numpy as np
from absl import flags

from benchmarks.common import machine
from quarkaudio_jax.config import LMDataConfig
from quarkaudio_jax.data.packing import packed_batches, padding_share
from quarkaudio_jax.data.prepared import SequenceLayout, open_tasks
from quarkaudio_jax.data.records import VERSION, parts_of, shard_path

DELAY_PADDING = 9


def multiplied(folder: pathlib.Path, times: int, target: pathlib.Path) -> None:
    """The parts of a prepared folder with every file `times` times."""
    for part in parts_of(folder):
        source = folder / part / VERSION
        (target / part / VERSION).mkdir(parents=True)
        shutil.copy(source / "features.json", target / part / VERSION)
        info = json.loads((source / "dataset_info.json").read_text())
        lengths = info["splits"][0]["shardLengths"]
        count = len(lengths)
        for number in range(times * count):
            os.link(
                shard_path(folder, part, number % count, count).resolve(),
                shard_path(target, part, number, times * count),
            )
        info["splits"][0]["shardLengths"] = lengths * times
        (target / part / VERSION / "dataset_info.json").write_text(json.dumps(info))


class Raw:
    """Every record of every task as bytes, in one list; picklable."""

    def __init__(self, cfg: LMDataConfig):
        self._records = [records for records, _ in open_tasks(cfg).values()]
        self._size = len(self._records[0])

    def __len__(self) -> int:
        return sum(len(r) for r in self._records)

    def __getitem__(self, index: int) -> bytes:
        which, inner = divmod(int(index), self._size)
        return self._records[which].raw(inner)


def raw_rate(raw: Raw, workers: int | None, seconds: float) -> float:
    """Records a second in random order: a plain loop (None), or Grain with so many workers."""
    if workers is None:
        order = np.random.default_rng(0).permutation(len(raw))
        stream = (raw[i] for i in itertools.cycle(order))
    else:
        shuffled = grain.MapDataset.source(raw).seed(0).shuffle().repeat()
        dataset = shuffled.to_iter_dataset(grain.ReadOptions(num_threads=0, prefetch_buffer_size=0))
        if workers:
            dataset = dataset.mp_prefetch(grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=64))
        stream = iter(dataset)
    for _ in range(256):
        next(stream)
    begun, count = time.perf_counter(), 0
    while time.perf_counter() - begun < seconds:
        next(stream)
        count += 1
    stream.close()
    return count / (time.perf_counter() - begun)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prepared", required=True, help="an output folder of prepare")
    parser.add_argument("--seconds", type=float, default=10.0, help="how long each reading is measured")
    parser.add_argument("--length", type=int, default=LMDataConfig().length)
    parser.add_argument("--times", type=int, default=16)
    args = parser.parse_args()
    folder = pathlib.Path(args.prepared).resolve()
    target = pathlib.Path(tempfile.mkdtemp(dir=folder.parent))
    multiplied(folder, args.times, target)
    cfg = LMDataConfig(folder=str(target), batch_size=8, length=args.length)
    print(machine())
    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()
    source = Raw(cfg)
    plain = raw_rate(source, None, args.seconds)
    size = np.mean([len(source[i]) for i in range(0, len(source), len(source) // 256)])
    print(f"raw ArrayRecord bytes, plain loop: {plain:.0f} records/s, {plain * size / 1e6:.0f} MB/s")
    for workers in (0, 1, 2):
        batches = packed_batches(
            LMDataConfig(**{**cfg.__dict__, "workers": workers}), SequenceLayout(DELAY_PADDING), seed=0
        )
        for _ in range(4 + 8 * workers):
            next(batches)
        begun, examples, frames, padding = time.perf_counter(), 0, 0, []
        while time.perf_counter() - begun < args.seconds:
            batch = next(batches)
            examples += int(batch["segment"].max(axis=1).sum())
            frames += int((batch["kind"] == 6).sum())
            padding.append(padding_share(batch))
        seconds = time.perf_counter() - begun
        batches.close()
        raw = raw_rate(source, workers, args.seconds)
        rate = examples / seconds
        print(
            f"{workers} workers: {rate:.0f} examples/s, {rate / raw:.0%} of raw bytes through Grain with as many workers "
            f"({raw:.0f}/s), {rate / plain:.0%} of the plain loop; "
            f"{frames / 50 / seconds / 3600:.2f} h of source audio a second, {np.mean(padding):.1%} padding"
        )
    shutil.rmtree(target)


if __name__ == "__main__":
    main()

"""Preparation of training data: one process leases shards, computes features and codes, and writes them."""

import contextlib
import dataclasses
import json
import logging
import pathlib
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from quarkaudio_jax.config import DatasetInfo, PrepareConfig, to_dict
from quarkaudio_jax.data import records, shards
from quarkaudio_jax.data.example_producer import ExampleProducer, produce_examples
from quarkaudio_jax.data.skipping import MAX_CONSECUTIVE_FAILURES
from quarkaudio_jax.errors import UserError
from quarkaudio_jax.inference.targets import BiCodecTargets, CodecTargets
from quarkaudio_jax.io import atomic
from quarkaudio_jax.preparation.encoders import Encoders
from quarkaudio_jax.report.progress import duration, progress_bar
from quarkaudio_jax.tokens.sequence import FEATURE_DTYPES
from quarkaudio_jax.tokens.tasks import TASKS
from quarkaudio_jax.tokens.unise import UNISE_TASKS

log = logging.getLogger(__name__)

BLOCK = 4
"""Shards that a process leases at once, so that examples are produced ahead across their borders."""

STAGES = ("read", "simulate", "features", "text", "codec", "write")


class Preparation:
    """The work of one process on an output folder, which other processes may share. share: (index, count) of shards."""

    def __init__(self, cfg: PrepareConfig, output: pathlib.Path, share: tuple[int, int] = (0, 1)):
        counts = {name: count for name, count in to_dict(cfg.examples).items() if count > 0}
        tasks = [part for part in counts if part in TASKS]
        if not counts:
            raise UserError("nothing to prepare: set config.examples.restoration (or another) to a number")
        if cfg.dtype not in FEATURE_DTYPES:
            raise UserError(f"config.dtype is {cfg.dtype!r}; choose {' or '.join(FEATURE_DTYPES)}")
        if tasks and not cfg.codec:
            raise UserError(f"config.codec is empty, but {tasks[0]} needs a codec: give its checkpoint")
        self._cfg, self._dtype = cfg, FEATURE_DTYPES[cfg.dtype]
        self._encoders = Encoders(cfg, bool(tasks))
        targets = self._encoders.targets
        if isinstance(targets, BiCodecTargets) and (unknown := [task for task in tasks if task not in UNISE_TASKS]):
            raise UserError(f"{cfg.codec} is BiCodec, whose tokens are for UniSE, which has no task {unknown[0]}")
        self._producer = ExampleProducer(cfg, targets.sample_rate if targets else cfg.sample_rate)
        for part, count in counts.items():
            size = self._producer.size(part)
            if size is not None and count > size:
                raise UserError(f"config.examples.{part} is {count}, but its source has {size} clips")
        width = self._encoders.features.width
        self._features = {
            part: records.task_features(width, cfg.dtype, self._codebooks(), self._encoders.text.width)
            if part in TASKS
            else records.audio_features(width, cfg.dtype)
            for part in counts
        }
        self._shards = shards.split(counts, cfg.shard)
        self._open = dict.fromkeys(self._shards[share[0] :: share[1]])  # in order; finished and tried ones are removed
        self._queue = shards.ShardQueue(output, self._plan(), self._shards)
        self._output = output
        self._seconds: dict[str, float] = dict.fromkeys(STAGES, 0.0)
        self._audio, self._unreadable = 0.0, 0
        self._failed: list[str] = []

    def _plan(self) -> dict[str, Any]:
        """What determines the contents of the files: the configuration without how the work is distributed, and facts."""
        config = to_dict(self._cfg)
        for name in ("workers", "threads", "codec", "codec_features", "num_codebooks"):
            del config[name]
        return {"config": config, "facts": to_dict(self._dataset_info())}

    def _dataset_info(self) -> DatasetInfo:
        cfg, encoders, targets = self._cfg, self._encoders, self._encoders.targets
        stored = DatasetInfo(
            features=cfg.features,
            feature_width=encoders.features.width,
            text=cfg.text,
            text_width=encoders.text.width,
            dtype=cfg.dtype,
            seconds=cfg.simulation.seconds,
        )
        if targets is None:
            return stored
        return dataclasses.replace(
            stored,
            codec=targets.name,
            codec_weights=targets.fingerprint,
            num_codebooks=cfg.num_codebooks,
            codebooks=tuple(size for stream in targets.codebooks for size in stream),
            max_duration=targets.max_duration,
        )

    @property
    def _targets(self) -> CodecTargets | BiCodecTargets:
        """What makes the codes of the tasks' targets."""
        assert self._encoders.targets is not None, "__init__ requires a codec for tasks"
        return self._encoders.targets

    def _codebooks(self) -> tuple[int, int]:
        """Codebooks of the acoustic and of the semantic stream, or 1 and 1 of BiCodec."""
        acoustic, semantic = map(len, self._targets.codebooks)
        return acoustic, semantic

    def run(self) -> None:
        """Prepares every shard that no other process holds; SystemExit names those that failed."""
        self._begun, self._finished = time.perf_counter(), 0
        if done := self._queue.num_done():
            log.info("%d of %d shards are finished already", done, len(self._shards))
        with progress_bar(len(self._shards), "shards", done) as self._bar:
            while True:
                with contextlib.ExitStack() as leases:
                    leased = self._lease(leases)
                    if not leased:
                        break
                    self._prepare(leased)
        self._close(time.perf_counter() - self._begun)

    def _lease(self, leases: contextlib.ExitStack) -> list[Any]:
        """Leases the next free shards until `leases` closes; each is tried once."""
        out: list[Any] = []
        for shard in list(self._open):
            if len(out) == BLOCK:
                break
            with contextlib.ExitStack() as attempt:
                if self._queue.is_done(shard):
                    self._open.pop(shard)
                elif attempt.enter_context(self._queue.lease(shard)) and not self._queue.is_done(shard):
                    leases.enter_context(attempt.pop_all())
                    out.append(shard)
                    self._open.pop(shard)
        return out

    def _prepare(self, shards: list[Any]) -> None:
        examples = produce_examples(self._producer, shards, self._cfg.workers, self._cfg.threads)
        try:
            self._work(shards, examples)
        finally:
            examples.close()

    def _work(self, shards: list[Any], examples: Iterator[dict[str, Any]]) -> None:
        for shard in shards:
            made = []
            for _ in range(shard.start, shard.stop):
                example = next(examples)
                if "fatal" in example:
                    raise UserError(f"{example['part']}: {example['fatal']}")
                self._seconds["read"] += example["reading"]
                self._seconds["simulate"] += example["simulating"]
                made.append(example)
            if unreadable := [example["unreadable"] for example in made if "unreadable" in example]:
                self._unreadable += len(unreadable)
                if len(unreadable) == len(made) or self._unreadable >= MAX_CONSECUTIVE_FAILURES:
                    raise UserError(
                        f"{self._unreadable} recordings can't be opened, the last: {unreadable[-1]}; is a disk gone?"
                    )
                self._stop(shard, unreadable[0])
                continue
            self._unreadable = 0
            good = [example for example in made if "skipped" not in example]
            rows = self._records(good)
            try:
                self._store(shard, made, good, rows)
            except (OSError, RuntimeError, ValueError) as error:  # ArrayRecord has errors of its own kinds
                self._stop(shard, (str(error).strip().splitlines() or [type(error).__name__])[0])

    def _stop(self, shard: Any, reason: str) -> None:
        """Gives up a shard in this run."""
        self._failed.append(f"{shard.name}: {reason}")
        log.error("shard %s stopped: %s; nothing else is lost, run the command again", shard.name, reason)

    def _store(
        self, shard: Any, made: list[dict[str, Any]], good: list[dict[str, Any]], rows: list[dict[str, Any]]
    ) -> None:
        """Writes a shard and its manifest. made: all examples, good: usable ones, rows: their records."""
        skipped = sorted({p for e in made for p in e["problems"]} | {e["skipped"] for e in made if "skipped" in e})
        path = records.shard_path(self._output, shard.part, shard.number, shard.count)
        with self._stage("write"):
            writer = records.ShardWriter(path, self._features[shard.part])
            try:
                for row in rows:
                    writer.write(row)
                writer.finish()
            except BaseException:
                writer.discard()
                raise
        audio = sum(self._audio_seconds(e) for e in good)
        self._queue.finish(
            shard,
            {
                "examples": writer.count,
                "left_out": len(made) - len(good),
                "skipped": skipped,
                "seconds": round(audio, 3),
                "bytes": writer.bytes,
            },
        )
        self._audio += audio
        self._progress(shard, writer.count)

    def _audio_seconds(self, example: dict[str, Any]) -> float:
        """Duration of an example: of the target for a task, of the clip for codec training."""
        if "wave" in example:
            return len(example["wave"]) / self._cfg.sample_rate
        return len(example["target"]) / self._targets.sample_rate

    @contextlib.contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self._seconds[name] += time.perf_counter() - started

    def _records(self, examples: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Computes the records of examples, with features and codes."""
        if examples and "wave" in examples[0]:
            with self._stage("features"):
                features = self._encoders.features([e["wave"] for e in examples], self._cfg.sample_rate)
            return [
                {
                    "id": f"{e['part']}/{e['index']}",
                    "wave": np.round(np.clip(e["wave"], -1, 1) * 32767).astype(np.int16),
                    "rate": self._cfg.sample_rate,
                    "features": f.astype(self._dtype),
                    "meta": e["meta"],
                }
                for e, f in zip(examples, features, strict=True)
            ]
        examples = [self._targets.fit(example) for example in examples]
        with self._stage("features"):
            waves = [e[side] for e in examples for side in ("source", "reference")]
            features = self._encoders.features(waves, self._targets.sample_rate)
        with self._stage("text"):
            texts = self._encoders.text([e["text"] for e in examples])
        with self._stage("codec"):
            codes = self._encoders.codes([e["target"] for e in examples])
        return [
            {
                "id": f"{e['part']}/{e['index']}",
                "task": e["part"],
                "text": e["text"],
                "text_features": texts[i].astype(self._dtype),
                "source": features[2 * i].astype(self._dtype),
                "reference": features[2 * i + 1].astype(self._dtype),
                **codes[i],
                "meta": e["meta"],
            }
            for i, e in enumerate(examples)
        ]

    def _progress(self, shard: Any, count: int) -> None:
        self._finished += 1
        elapsed = time.perf_counter() - self._begun
        done = self._queue.num_done()
        left = len(self._shards) - done
        self._bar.update(done - self._bar.n)
        log.info(
            "%s: %d examples; %d of %d shards left, %s at this pace, %.1f audio s/s",
            shard.name,
            count,
            left,
            len(self._shards),
            duration(left * elapsed / self._finished),
            self._audio / elapsed,
        )

    def _close(self, elapsed: float) -> None:
        """Writes metadata and report if all shards are finished; SystemExit if some audio could not be used."""
        if self._audio:
            shares = ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in self._seconds.items())
            log.info(
                "%.0f s of audio in %.1f s, %.1f audio s/s (%s)", self._audio, elapsed, self._audio / elapsed, shares
            )
        if self._failed:
            raise SystemExit("error: " + "\nerror: ".join(self._failed))
        manifests = self._queue.manifests()
        open_shards = len(self._shards) - len(manifests)
        if open_shards:
            log.info("%d shards are still held by other processes; the last of them finishes the folder", open_shards)
            return
        with self._queue.exclusive():
            print(finish(self._output, manifests, self._features, self._cfg))
        if any(m["skipped"] for m in manifests.values()):
            raise SystemExit(1)


def finish(
    output: pathlib.Path, manifests: dict[shards.Shard, dict[str, Any]], features: dict[str, Any], cfg: PrepareConfig
) -> str:
    """Writes the metadata of every part and then report.json, unless they exist; returns the report as text."""
    order = sorted(manifests, key=lambda shard: shard.number)
    by_part = {part: [manifests[shard] for shard in order if shard.part == part] for part in features}
    lines, report = [], {}
    for part in features:
        total = {name: sum(m[name] for m in by_part[part]) for name in ("examples", "left_out", "seconds", "bytes")}
        skipped = sorted({reason for m in by_part[part] for reason in m["skipped"]})
        report[part] = {**total, "skipped": skipped}
        lines.append(
            f"{part:20} {total['examples']:8d} examples {total['seconds'] / 3600:9.3f} h "
            f"{total['bytes'] / max(total['seconds'], 1e-9):10.0f} bytes a second of audio"
            + (f", {total['left_out']} left out" if total["left_out"] else "")
        )
        lines += [f"  could not use {reason}" for reason in skipped[:10]]
        lines += [f"  ... and {len(skipped) - 10} more, in report.json"] if len(skipped) > 10 else []
    text, path = json.dumps(report, indent=1, ensure_ascii=False) + "\n", output / "report.json"
    if not path.exists() or path.read_text("utf-8") != text or not set(features) <= set(records.parts_of(output)):
        for part, row in report.items():
            about = f"{part}: {row['examples']} examples by quarkaudio_jax prepare, features {cfg.features.recipe}"
            lengths = [m["examples"] for m in by_part[part]]
            records.write_metadata(output, part, features[part], lengths, row["bytes"], about)
        atomic.write_text(path, text)
    hours = sum(r["seconds"] for r in report.values()) / 3600
    return "\n".join([*lines, f"{output}: {hours:.3f} h, features {cfg.features.recipe} as {cfg.dtype}"])

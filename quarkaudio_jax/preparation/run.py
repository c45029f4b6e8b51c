"""One process's share of a preparation: claims shards, works them out, writes them."""

import contextlib
import json
import logging
import pathlib
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from quarkaudio_jax.config import DatasetInfo, PrepareConfig, to_dict
from quarkaudio_jax.data import produce, records, shards
from quarkaudio_jax.data.pipeline import PATIENCE
from quarkaudio_jax.errors import UserError
from quarkaudio_jax.inference.features import Encoders
from quarkaudio_jax.io import atomic
from quarkaudio_jax.report.progress import duration
from quarkaudio_jax.tokens.sequence import FEATURE_DTYPES
from quarkaudio_jax.tokens.tasks import TASKS

log = logging.getLogger(__name__)

BLOCK = 4
"""Shards that a process claims at once, so that examples are made ahead across their borders."""

STAGES = ("read", "simulate", "features", "text", "codec", "write")


class Preparation:
    """The work of one process on an output folder; others may work on it too."""

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
        codec = self._encoders.codec
        self._produce = produce.Produce(cfg, codec.sample_rate if codec else cfg.sample_rate)
        for part, count in counts.items():
            size = self._produce.size(part)
            if size is not None and count > size:
                raise UserError(f"config.examples.{part} is {count}, but its source has {size} clips")
        width = self._encoders.features.width
        self._features = {
            part: records.task_features(width, cfg.dtype, codec.num_codebooks, self._encoders.text.width)
            if part in TASKS
            else records.audio_features(width, cfg.dtype)
            for part in counts
        }
        self._shards = shards.split(counts, cfg.shard)
        self._open = dict.fromkeys(self._shards[share[0] :: share[1]])  # in order; what was tried or is done leaves it
        self._board = shards.Board(output, self._plan(), self._shards)
        self._output = output
        self._seconds: dict[str, float] = dict.fromkeys(STAGES, 0.0)
        self._audio, self._failed, self._unreadable = 0.0, [], 0

    def _plan(self) -> dict[str, Any]:
        """What decides what is in the files. How the work is spread does not."""
        config = to_dict(self._cfg)
        for name in ("workers", "threads", "codec", "codec_features"):
            del config[name]
        return {"config": config, "facts": to_dict(self._facts())}

    def _facts(self) -> DatasetInfo:
        cfg, encoders = self._cfg, self._encoders
        stored = dict(features=cfg.features, feature_width=encoders.features.width, text=cfg.text, dtype=cfg.dtype)
        stored |= dict(text_width=encoders.text.width, seconds=cfg.simulation.seconds)
        if encoders.codec is None:
            return DatasetInfo(**stored)
        codec = encoders.codec
        sizes = (
            size for size, count in zip(codec.codebook_size, codec.num_codebooks, strict=True) for _ in range(count)
        )
        return DatasetInfo(
            codec=codec.name,
            codec_weights=codec.fingerprint(),
            codebooks=tuple(sizes),
            max_duration=codec.cfg.aggregation.max_group if codec.is_adaptive else 0,
            **stored,
        )

    def run(self) -> None:
        """Prepares every shard that nobody else has; SystemExit names those that failed."""
        self._begun, self._finished = time.perf_counter(), 0
        if done := self._board.num_done():
            log.info("%d of %d shards are there already", done, len(self._shards))
        while True:
            with contextlib.ExitStack() as held:
                claimed = self._claimed(held)
                if not claimed:
                    break
                self._block(claimed)
        self._close(time.perf_counter() - self._begun)

    def _claimed(self, held: contextlib.ExitStack) -> list[Any]:
        """The next shards that are not done and free, kept until `held` closes; none is claimed twice."""
        out: list[Any] = []
        for shard in list(self._open):
            if len(out) == BLOCK:
                break
            with contextlib.ExitStack() as attempt:
                if self._board.is_done(shard):
                    self._open.pop(shard)
                elif attempt.enter_context(self._board.claim(shard)) and not self._board.is_done(shard):
                    held.enter_context(attempt.pop_all())
                    out.append(shard)
                    self._open.pop(shard)
        return out

    def _block(self, shards: list[Any]) -> None:
        examples = produce.produced(self._produce, shards, self._cfg.workers, self._cfg.threads)
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
                if len(unreadable) == len(made) or self._unreadable >= PATIENCE:
                    raise UserError(
                        f"{self._unreadable} recordings can't be opened, the last: {unreadable[-1]}; is a disk gone?"
                    )
                self._stop(shard, unreadable[0])
                continue
            self._unreadable = 0
            good = [example for example in made if "skipped" not in example]
            rows = self._worked_out(good)
            try:
                self._store(shard, made, good, rows)
            except (OSError, RuntimeError, ValueError) as error:  # ArrayRecord has errors of its own kinds
                self._stop(shard, (str(error).strip().splitlines() or [type(error).__name__])[0])

    def _stop(self, shard: Any, reason: str) -> None:
        """Gives a shard up for now."""
        self._failed.append(f"{shard.name}: {reason}")
        log.error("shard %s stopped: %s; nothing else is lost, run the command again", shard.name, reason)

    def _store(
        self, shard: Any, made: list[dict[str, Any]], good: list[dict[str, Any]], rows: list[dict[str, Any]]
    ) -> None:
        """Writes a shard and its note. made: all examples, good: those that can be used, rows: their records."""
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
        self._board.finish(
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
        """Seconds of audio that went into a record: target for a task, the clip for codec training."""
        if "wave" in example:
            return len(example["wave"]) / self._cfg.sample_rate
        return len(example["target"]) / self._encoders.codec.sample_rate

    @contextlib.contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self._seconds[name] += time.perf_counter() - started

    def _worked_out(self, examples: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The records of examples, with features and codes."""
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
        with self._stage("features"):
            waves = [e[side] for e in examples for side in ("source", "reference")]
            features = self._encoders.features(waves, self._encoders.codec.sample_rate)
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
        left = len(self._shards) - self._board.num_done()
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
        """Writes what TFDS needs once all is done, and tells what there is; SystemExit if something could not be used."""
        if self._audio:
            shares = ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in self._seconds.items())
            log.info(
                "%.0f s of audio in %.1f s, %.1f audio s/s (%s)", self._audio, elapsed, self._audio / elapsed, shares
            )
        if self._failed:
            raise SystemExit("error: " + "\nerror: ".join(self._failed))
        notes = self._board.notes()
        open_shards = len(self._shards) - len(notes)
        if open_shards:
            log.info("%d shards are still with other processes; the last of them finishes the folder", open_shards)
            return
        with self._board.alone():
            print(finish(self._output, notes, self._features, self._cfg))
        if any(note["skipped"] for note in notes.values()):
            raise SystemExit(1)


def finish(output: pathlib.Path, notes: dict[Any, dict[str, Any]], features: dict[str, Any], cfg: PrepareConfig) -> str:
    """Writes the metadata of every part and then report.json, unless they are there; returns the report as text."""
    order = sorted(notes, key=lambda shard: shard.number)
    mine = {part: [notes[shard] for shard in order if shard.part == part] for part in features}
    lines, report = [], {}
    for part in features:
        total = {name: sum(n[name] for n in mine[part]) for name in ("examples", "left_out", "seconds", "bytes")}
        skipped = sorted({reason for n in mine[part] for reason in n["skipped"]})
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
            lengths = [note["examples"] for note in mine[part]]
            records.write_metadata(output, part, features[part], lengths, row["bytes"], about)
        atomic.write_text(path, text)
    hours = sum(r["seconds"] for r in report.values()) / 3600
    return "\n".join([*lines, f"{output}: {hours:.3f} h, features {cfg.features.recipe} as {cfg.dtype}"])

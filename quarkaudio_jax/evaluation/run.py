"""Evaluation: runs items through a system, computes metrics of the outputs, writes results and tables.

OUTPUT/settings.json       what is measured and how; other settings are refused
OUTPUT/results.1of1.jsonl  a line for each file, written when it is measured; a stopped run resumes after the last
OUTPUT/audio/              outputs, targets and the codec's reconstructions of the targets, if kept
OUTPUT/results.md .csv .json  written when every file is measured
"""

import collections
import contextlib
import dataclasses
import json
import logging
import math
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from quarkaudio_jax.errors import QuarkAudioError, UserError, is_exhausted, system_errors
from quarkaudio_jax.evaluation.datasets import Item
from quarkaudio_jax.evaluation.measures import compute_metrics, make_executor, select_metrics, versions
from quarkaudio_jax.evaluation.systems import in_order
from quarkaudio_jax.io import atomic, audio
from quarkaudio_jax.io.atomic import drop_unfinished_line
from quarkaudio_jax.io.audio import read_channels
from quarkaudio_jax.io.transforms import resample
from quarkaudio_jax.metrics.embeddings import frechet_distance
from quarkaudio_jax.metrics.registry import Metric
from quarkaudio_jax.report import tables
from quarkaudio_jax.report.progress import progress

log = logging.getLogger(__name__)

SAVED_KEYS = {"asr_model": "recognizer"}
"""`Metric.model` -> its key in settings.json, where that is another."""


@dataclasses.dataclass(frozen=True)
class Options:
    """How items are measured.

    metrics: names. weights: `Metric.model` -> its weights. required: whether a metric whose package is missing is an
    error. workers: processes that compute metrics (0: this one). share: (i, n), this process takes every nth item.
    batch: items at a time. keep_audio: write outputs and targets, to listen to.
    """

    metrics: tuple[str, ...]
    weights: dict[str, str]
    required: bool = False
    workers: int = 0
    share: tuple[int, int] = (1, 1)
    batch: int = 8
    keep_audio: bool = False


@dataclasses.dataclass(frozen=True)
class Output:
    """Output waves of a system for an item, and its targets, in the same order and at the same sample rate."""

    item: Item
    waves: list[np.ndarray]
    targets: list[np.ndarray]
    rate: int


class Run:
    """The share of an evaluation that one process computes."""

    def __init__(
        self, items: Sequence[Item], system: Any, about: dict[str, Any], folder: pathlib.Path, options: Options
    ):
        self.items, self.system, self.folder, self.options = list(items), system, folder, options
        self.metrics, self.models, self.left_out = select_metrics(options.metrics, options.required, options.weights)
        self._fad = self.models.get("fad")
        if self._fad is not None and not any(item.targets for item in self.items):
            self._fad = None
            self.left_out.append("fad: no item has a target to compare with")
        weights = {SAVED_KEYS.get(kind, kind): value for kind, value in options.weights.items()}
        settings = {**about, "metrics": options.metrics, "weights": weights, "items": len(items)}
        settings["versions"] = versions()
        self.settings = self._check_settings(settings)
        i, n = options.share
        self._path = folder / f"results.{i}of{n}.jsonl"

    def _check_settings(self, settings: dict[str, Any]) -> dict[str, Any]:
        """The settings of the folder; UserError if the given ones differ, except for versions of packages."""
        text = tables.to_json(settings)
        old, new = json.loads(atomic.create_exclusive(self.folder / "settings.json", text)), json.loads(text)
        for name in new:
            if name != "versions" and old.get(name) != new[name]:
                raise UserError(
                    f"{self.folder} holds results with {name} {old.get(name)!r}, not {settings[name]!r}: "
                    "use the same command, or another --output"
                )
        return old

    def run(self) -> bool:
        """Measures the remaining items of this share; returns whether all shares are complete and tables written."""
        i, n = self.options.share
        done, share = {row["file"] for row in self.rows() if "error" not in row}, self.items[i - 1 :: n]
        remaining = [item for item in share if item.name not in done]
        if len(remaining) < len(share):
            log.info("%d of %d files are measured already", len(share) - len(remaining), len(share))
        drop_unfinished_line(self._path)
        with self._path.open("a", encoding="utf-8") as file:
            for row in progress(self._measure(remaining), len(remaining)):
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
                file.flush()
        return self.finish()

    def rows(self) -> list[dict[str, Any]]:
        """Results of all processes so far, the newest of each file, in the order of the items."""
        found = {}
        for path in sorted(self.folder.glob("results.*of*.jsonl")):
            for line in path.read_text("utf-8").splitlines():
                with contextlib.suppress(ValueError):  # an incomplete line of another process
                    row = json.loads(line)
                    found[row["file"]] = row
        return [found[item.name] for item in self.items if item.name in found]

    def finish(self) -> bool:
        """Writes the tables if every item is measured; returns whether it is."""
        rows = self.rows()
        if len(rows) < len(self.items):
            print(f"{len(rows)} of {len(self.items)} files are measured; the others are left to other processes")
            return False
        good, failed = [r for r in rows if "error" not in r], [r for r in rows if "error" in r]
        set_values, set_counts = self._set_metrics(good)
        result = {
            "settings": self.settings,
            "left_out": self.left_out,
            "means": {**tables.means(good), **set_values},
            "counts": {**tables.counts(good), **set_counts},
            "files": good,
            "failed": failed,
        }
        atomic.write_text(self.folder / "results.json", tables.to_json(result))
        atomic.write_text(self.folder / "results.csv", tables.to_csv(good))
        atomic.write_text(self.folder / "results.md", tables.markdown(good, set_values, set_counts) + "\n")
        return True

    def _measure(self, items: Sequence[Item]) -> Iterator[dict[str, Any]]:
        """A row for every item; workers compute metrics while the next items run through the system."""
        names = [metric.name for metric in self.metrics if metric.compute]
        pending: collections.deque = collections.deque()
        with make_executor(self.options.workers) as workers:
            for begin in range(0, len(items), self.options.batch):
                outputs = [self._try_output(item) for item in items[begin : begin + self.options.batch]]
                good = [o for o in outputs if isinstance(o, Output)]
                model_values = self._model_metrics(good)
                for output in outputs:
                    if not isinstance(output, Output):
                        pending.append((output, None))
                        continue
                    head = {"file": output.item.name, "seconds": len(output.waves[0]) / output.rate}
                    targets: list[Any] = [*output.targets] or [None] * len(output.waves)
                    pairs = list(zip(output.waves, targets, strict=True))
                    future = workers.submit(compute_metrics, names, pairs, output.rate)
                    pending.append(({**head, **model_values[output.item.name]}, future))
                while pending and len(pending) > 4 * self.options.workers:
                    yield self._row(*pending.popleft())
            while pending:
                yield self._row(*pending.popleft())

    def _row(self, head: dict[str, Any], future: Any) -> dict[str, Any]:
        if future is None or "error" in head:
            return {"file": head["file"], "error": head["error"]}
        try:
            values = {**head, **future.result()}
        except Exception as error:  # of the metric's package; the file is listed and the others are measured
            if is_exhausted(error):
                raise
            return {"file": head["file"], "error": f"{type(error).__name__}: {error}"}
        order = ["file", "seconds", *(c for m in self.metrics for c in m.columns)]
        return {k: values[k] for k in [*(c for c in order if c in values), *(c for c in values if c not in order)]}

    def _try_output(self, item: Item) -> Output | dict[str, str]:
        """The output for an item, or a row with the error."""
        try:
            with system_errors(item.source):
                return self._output(item)
        except QuarkAudioError as error:
            if is_exhausted(error):
                raise
            return {"file": item.name, "error": str(error)}

    def _output(self, item: Item) -> Output:
        """The output for an item, at the lower of the sample rates of output and targets.

        Left and right of a stereo codec are measured as two outputs.
        """
        waves = self.system(item)
        rate, recordings = self.system.rate, [read_channels(path, self.system.channels) for path in item.targets]
        lower = min([rate, *(own for _, own in recordings)])
        waves = [resample(wave, rate, lower) for wave in waves]
        targets = [resample(wave, own, lower) for wave, own in recordings]
        if len(targets) > 1:
            waves = in_order(waves, targets, lower)
        if self.options.keep_audio:
            self._keep_audio(item, waves, targets, lower)
        if self.system.channels > 1:
            waves, targets = ([channel for wave in side for channel in wave.T] for side in (waves, targets))
        return Output(item, waves, targets, lower)

    def _keep_audio(self, item: Item, waves: list[np.ndarray], targets: list[np.ndarray], rate: int) -> None:
        """Writes input, outputs, targets and their reconstructions, for `page.write_report`."""
        several = len(waves) > 1
        kinds: dict[str, tuple[np.ndarray, int]] = {"input": read_channels(item.source, self.system.channels)}
        for i, wave in enumerate(waves, 1):
            kinds[f"output {i}" if several else "output"] = (wave, rate)
        for i, wave in enumerate(targets, 1):
            if item.targets[i - 1] != item.source:
                kinds[f"target {i}" if several else "target"] = (wave, rate)
                if self.system.reconstruct is not None:
                    ceiling = self.system.reconstruct(item.targets[i - 1])
                    kinds[f"ceiling {i}" if several else "ceiling"] = (ceiling, self.system.rate)
        for kind, (wave, at) in kinds.items():
            audio.write(self.folder / "audio" / item.name / f"{kind}.flac", np.clip(wave, -1, 1), at)

    def _model_metrics(self, outputs: Sequence[Output]) -> dict[str, dict[str, Any]]:
        """Name of an item -> values of model-based metrics, means over its outputs."""
        values: dict[str, list[dict[str, Any]]] = {o.item.name: [{} for _ in o.waves] for o in outputs}
        for metric in (m for m in self.metrics if m.model and not m.of_set):
            applicable = [(o, i) for o in outputs if self._applies(metric, o.item) for i in range(len(o.waves))]
            for rate in {o.rate for o, _ in applicable}:
                batch = [(o, i) for o, i in applicable if o.rate == rate]
                for (output, i), found in zip(batch, self._run_model(metric, batch, rate), strict=True):
                    values[output.item.name][i] |= found
        if self._fad is not None:
            for output in outputs:
                if output.targets:
                    values[output.item.name][0] |= self._embed(output)
        return {name: _mean(rows) for name, rows in values.items()}

    def _run_model(self, metric: Metric, batch: Sequence[tuple[Output, int]], rate: int) -> list[dict[str, Any]]:
        """Values of a metric for a batch of waves; if the batch fails, of one wave at a time, with `error` where it fails."""
        model = self.models[metric.model]
        try:
            return model([o.item for o, _ in batch], [o.waves[i] for o, i in batch], rate)
        except Exception as error:  # of the model's package
            if is_exhausted(error):
                raise
            if len(batch) == 1:
                return [{"error": f"{metric.name}: {type(error).__name__}: {error}"}]
            return [values for one in batch for values in self._run_model(metric, [one], rate)]

    @staticmethod
    def _applies(metric: Metric, item: Item) -> bool:
        """Whether an item has what the metric compares with."""
        has = {"text": item.text, "voice": item.voice or item.targets, "caption": item.prompt}
        return bool(has[metric.needs])

    def _embed(self, output: Output) -> dict[str, str]:
        """Saves the embeddings of an item's outputs and targets for FAD; returns an `error` if that fails."""
        assert self._fad is not None
        try:
            sides = {"outputs": self._fad(output.waves, output.rate), "targets": self._fad(output.targets, output.rate)}
        except Exception as error:  # of the model's package
            if is_exhausted(error):
                raise
            return {"error": f"fad: {type(error).__name__}: {error}"}
        path = self.folder / "embeddings" / f"{output.item.name}.npz"
        path.parent.mkdir(parents=True, exist_ok=True)
        arrays: dict[str, Any] = {side: np.concatenate(found) for side, found in sides.items() if found}
        np.savez(path, **arrays)
        return {}

    def _set_metrics(self, rows: Sequence[dict[str, Any]]) -> tuple[dict[str, float], dict[str, int]]:
        """(values of metrics of the set, number of files of each)."""
        if self._fad is None:
            return {}, {}
        sides: dict[str, list[np.ndarray]] = {"outputs": [], "targets": []}
        for row in rows:
            path = self.folder / "embeddings" / f"{row['file']}.npz"
            found = np.load(path) if path.exists() else {}
            if all(side in found for side in sides):
                for side, kept in sides.items():
                    kept.append(found[side])
        count = {"fad": len(sides["targets"])}
        if not all(sides.values()):
            return {"fad": math.nan}, count
        return {"fad": frechet_distance(np.concatenate(sides["targets"]), np.concatenate(sides["outputs"]))}, count


def _mean(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Means of numbers; of texts the first."""
    out = {}
    for key in dict.fromkeys(key for row in rows for key in row):
        values = [row[key] for row in rows if key in row]
        out[key] = values[0] if isinstance(values[0], str) else float(np.mean(values))
    return out

"""An evaluation: items through a system, outputs through the metrics, a line a file, tables at the end.

OUTPUT/settings.json       what is measured, and how; a run with other settings is refused
OUTPUT/results.1of1.jsonl  a line a file, as soon as it is measured; a run that was stopped goes on behind the last
OUTPUT/audio/              outputs, targets and what the codec alone makes of the targets, if kept
OUTPUT/results.md .csv .json  written once nothing is missing
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
from quarkaudio_jax.evaluation.measures import choose, compute, pool, versions
from quarkaudio_jax.evaluation.systems import in_order
from quarkaudio_jax.io import atomic, audio
from quarkaudio_jax.io.atomic import drop_unfinished_line
from quarkaudio_jax.io.audio import read_mono
from quarkaudio_jax.io.transforms import resample
from quarkaudio_jax.metrics.embeddings import frechet_distance
from quarkaudio_jax.metrics.registry import Metric
from quarkaudio_jax.report import tables
from quarkaudio_jax.report.progress import progress

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Options:
    """metrics: names; asked: whether the user chose them. weights: kind of judge -> its weights.

    workers: processes that compute metrics (0: this one). share: (i, n), this process takes every nth item. batch: items
    that judges hear at once. keep_audio: for listening.
    """

    metrics: tuple[str, ...]
    weights: dict[str, str]
    asked: bool = False
    workers: int = 0
    share: tuple[int, int] = (1, 1)
    batch: int = 8
    keep_audio: bool = False


@dataclasses.dataclass(frozen=True)
class Output:
    """What a system made of an item: waves at `rate`, the targets in the same order and at the same rate."""

    item: Item
    waves: list[np.ndarray]
    targets: list[np.ndarray]
    rate: int


class Run:
    """One process's share of an evaluation; see the module."""

    def __init__(
        self, items: Sequence[Item], system: Any, about: dict[str, Any], folder: pathlib.Path, options: Options
    ):
        self.items, self.system, self.folder, self.options = list(items), system, folder, options
        self.metrics, self.judges, self.left_out = choose(options.metrics, options.asked, options.weights)
        self._fad = self.judges.get("fad")
        if self._fad is not None and not any(item.targets for item in self.items):
            self._fad = None
            self.left_out.append("fad: it compares with targets, and no item has one")
        settings = {**about, "metrics": options.metrics, "weights": options.weights, "items": len(items)}
        settings["versions"] = versions()
        self.settings = self._same_settings(settings)
        i, n = options.share
        self._path = folder / f"results.{i}of{n}.jsonl"

    def _same_settings(self, settings: dict[str, Any]) -> dict[str, Any]:
        """Those that the folder was begun with, which are the ones given but for versions of packages."""
        text = tables.to_json(settings)
        old, new = json.loads(atomic.create_exclusive(self.folder / "settings.json", text)), json.loads(text)
        for name in new:
            if name != "versions" and old.get(name) != new[name]:
                raise UserError(
                    f"{self.folder} holds results with {name} {old.get(name)!r}, not {settings[name]!r}: "
                    "use the same command, or another --output"
                )
        return old

    def go(self) -> bool:
        """Measures what is missing of this share; whether everything is there now, tables included."""
        i, n = self.options.share
        done, share = {row["file"] for row in self.rows() if "error" not in row}, self.items[i - 1 :: n]
        mine = [item for item in share if item.name not in done]
        if len(mine) < len(share):
            log.info("%d of %d files are there already", len(share) - len(mine), len(share))
        drop_unfinished_line(self._path)
        with self._path.open("a", encoding="utf-8") as file:
            for row in progress(self._measured(mine), len(mine)):
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
                file.flush()
        return self.finish()

    def rows(self) -> list[dict[str, Any]]:
        """What all processes have measured so far, the newest of each file, in the order of the items."""
        found = {}
        for path in sorted(self.folder.glob("results.*of*.jsonl")):
            for line in path.read_text("utf-8").splitlines():
                with contextlib.suppress(ValueError):  # a line that another process is writing
                    row = json.loads(line)
                    found[row["file"]] = row
        return [found[item.name] for item in self.items if item.name in found]

    def finish(self) -> bool:
        """Writes the tables if nothing is missing."""
        rows = self.rows()
        if len(rows) < len(self.items):
            print(f"{len(rows)} of {len(self.items)} files are measured; other processes have the rest")
            return False
        good, failed = [r for r in rows if "error" not in r], [r for r in rows if "error" in r]
        whole, compared = self._whole(good)
        result = {
            "settings": self.settings,
            "left_out": self.left_out,
            "means": {**tables.means(good), **whole},
            "counts": {**tables.counts(good), **compared},
            "files": good,
            "failed": failed,
        }
        atomic.write_text(self.folder / "results.json", tables.to_json(result))
        atomic.write_text(self.folder / "results.csv", tables.to_csv(good))
        atomic.write_text(self.folder / "results.md", tables.markdown(good, whole, compared) + "\n")
        return True

    def _measured(self, items: Sequence[Item]) -> Iterator[dict[str, Any]]:
        """A row an item; metrics are computed by the workers while the next items go through the system."""
        names = [metric.name for metric in self.metrics if metric.compute]
        waiting: collections.deque = collections.deque()
        with pool(self.options.workers) as workers:
            for begin in range(0, len(items), self.options.batch):
                outputs = [self._output(item) for item in items[begin : begin + self.options.batch]]
                good = [o for o in outputs if isinstance(o, Output)]
                heard = self._heard(good)
                for output in outputs:
                    if not isinstance(output, Output):
                        waiting.append((output, None))
                        continue
                    head = {"file": output.item.name, "seconds": len(output.waves[0]) / output.rate}
                    pairs = list(zip(output.waves, output.targets or [None] * len(output.waves), strict=True))
                    waiting.append(
                        ({**head, **heard[output.item.name]}, workers.submit(compute, names, pairs, output.rate))
                    )
                while waiting and len(waiting) > 4 * self.options.workers:
                    yield self._row(*waiting.popleft())
            while waiting:
                yield self._row(*waiting.popleft())

    def _row(self, head: dict[str, Any], future: Any) -> dict[str, Any]:
        if future is None or "error" in head:
            return {"file": head["file"], "error": head["error"]}
        try:
            values = {**head, **future.result()}
        except Exception as error:  # whatever a metric's package raises: the file is listed, the others go on
            if is_exhausted(error):
                raise
            return {"file": head["file"], "error": f"{type(error).__name__}: {error}"}
        order = ["file", "seconds", *(c for m in self.metrics for c in m.columns)]
        return {k: values[k] for k in [*(c for c in order if c in values), *(c for c in values if c not in order)]}

    def _output(self, item: Item) -> Output | dict[str, str]:
        """What the system makes of an item, or a row that says why it can't."""
        try:
            with system_errors(item.source):
                return self._made(item)
        except QuarkAudioError as error:
            if is_exhausted(error):
                raise
            return {"file": item.name, "error": str(error)}

    def _made(self, item: Item) -> Output:
        """What the system makes of an item."""
        waves = self.system(item)
        rate, targets = self.system.rate, [read_mono(path) for path in item.targets]
        lower = min([rate, *(own for _, own in targets)])
        waves = [resample(wave, rate, lower) for wave in waves]
        targets = [resample(wave, own, lower) for wave, own in targets]
        if len(targets) > 1:
            waves = in_order(waves, targets, lower)
        if self.options.keep_audio:
            self._keep(item, waves, targets, lower)
        return Output(item, waves, targets, lower)

    def _keep(self, item: Item, waves: list[np.ndarray], targets: list[np.ndarray], rate: int) -> None:
        """Everything there is to hear of an item; see `page.write_report`."""
        several = len(waves) > 1
        kinds: dict[str, tuple[np.ndarray, int]] = {"input": read_mono(item.source)}
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

    def _heard(self, outputs: Sequence[Output]) -> dict[str, dict[str, Any]]:
        """What the judges say of outputs, by the item's name; of several outputs of an item the mean."""
        said: dict[str, list[dict[str, Any]]] = {o.item.name: [{} for _ in o.waves] for o in outputs}
        for metric in (m for m in self.metrics if m.model and not m.whole):
            able = [(o, i) for o in outputs if self._can_hear(metric, o.item) for i in range(len(o.waves))]
            for rate in {o.rate for o, _ in able}:
                these = [(o, i) for o, i in able if o.rate == rate]
                for (output, i), values in zip(these, self._ask(metric, these, rate), strict=True):
                    said[output.item.name][i] |= values
        if self._fad is not None:
            for output in outputs:
                if output.targets:
                    said[output.item.name][0] |= self._embed(output)
        return {name: _mean(rows) for name, rows in said.items()}

    def _ask(self, metric: Metric, these: Sequence[tuple[Output, int]], rate: int) -> list[dict[str, Any]]:
        """What a judge says of waves, heard together or, if that fails, one by one: then an `error` says whose it is."""
        ask = self.judges[metric.model]
        try:
            return ask([o.item for o, _ in these], [o.waves[i] for o, i in these], rate)
        except Exception as error:  # whatever a model's code raises
            if is_exhausted(error):
                raise
            if len(these) == 1:
                return [{"error": f"{metric.name}: {type(error).__name__}: {error}"}]
            return [values for one in these for values in self._ask(metric, [one], rate)]

    @staticmethod
    def _can_hear(metric: Metric, item: Item) -> bool:
        has = {"text": item.text, "voice": item.voice or item.targets, "caption": item.prompt}
        return bool(has[metric.needs])

    def _embed(self, output: Output) -> dict[str, str]:
        """Keeps the embeddings of an item's outputs and targets for FAD; an `error` if there can't be any."""
        try:
            sides = {"outputs": self._fad(output.waves, output.rate), "targets": self._fad(output.targets, output.rate)}
        except Exception as error:  # whatever a model's code raises
            if is_exhausted(error):
                raise
            return {"error": f"fad: {type(error).__name__}: {error}"}
        path = self.folder / "embeddings" / f"{output.item.name}.npz"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, **{side: np.concatenate(found) for side, found in sides.items() if found})
        return {}

    def _whole(self, rows: Sequence[dict[str, Any]]) -> tuple[dict[str, float], dict[str, int]]:
        """(values of the whole set, over how many files each)."""
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
    """Means of numbers, the first of texts."""
    out = {}
    for key in dict.fromkeys(key for row in rows for key in row):
        values = [row[key] for row in rows if key in row]
        out[key] = values[0] if isinstance(values[0], str) else float(np.mean(values))
    return out

"""Throughput and time breakdown of a run, and a writer of metrics, audio and images."""

import contextlib
import dataclasses
import json
import math
import pathlib
import time
from collections.abc import Iterator, Mapping
from typing import Any, TextIO

import numpy as np

from quarkaudio_jax.io.atomic import drop_unfinished_line
from quarkaudio_jax.report.progress import duration


class MetricWriter:
    """Writes to DIR/metrics.jsonl (one object a line, `step` first) and DIR/tensorboard; only on the first host."""

    def __init__(self, workdir: str | pathlib.Path, enabled: bool = True):
        self._file: TextIO | None = None
        self._board: Any = None
        if enabled:
            from tensorboardX import SummaryWriter

            workdir = pathlib.Path(workdir)
            drop_unfinished_line(workdir / "metrics.jsonl")
            self._file = (workdir / "metrics.jsonl").open("a")
            self._board = SummaryWriter(str(workdir / "tensorboard"))

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """Writes scalars; in JSON, NaN and infinities are strings."""
        if self._file is None:
            return
        plain = {k: v if math.isfinite(v) else str(v) for k, v in values.items()}
        self._file.write(json.dumps({"step": step, **plain}) + "\n")
        self._file.flush()
        for name, value in values.items():
            self._board.add_scalar(name, value, step)

    def clip(self, step: int, name: str, samples: np.ndarray, rate: int, picture_HxWx3: Any = None) -> None:
        """Writes a wave (S,) or (S, C) and, if given, its picture (uint8)."""
        if self._board is None:
            return
        self._board.add_audio(name, np.clip(samples.reshape(len(samples), -1), -1, 1), step, sample_rate=rate)
        if picture_HxWx3 is not None:
            self._board.add_image(name, picture_HxWx3, step, dataformats="HWC")

    def close(self) -> None:
        """Flushes and closes the files."""
        if self._file is not None:
            self._file.close()
            self._board.close()


@dataclasses.dataclass
class Throughput:
    """Throughput of a logging window, without checkpoints and evaluations."""

    start: float = dataclasses.field(default_factory=time.perf_counter)
    waited: float = 0.0
    steps: int = 0
    last: float = 0.0

    def finish_step(self) -> None:
        """Counts a finished step."""
        self.steps += 1
        self.last = time.perf_counter()

    def without_pause(self) -> "Throughput":
        """The window without the time since the last finished step."""
        return dataclasses.replace(self, start=self.start + time.perf_counter() - (self.last or self.start))

    def scalars(self, per_step: Mapping[str, float]) -> dict[str, float]:
        """Steps per second, `per_step` amounts per second, and the share of time spent waiting for data."""
        elapsed = max(self.last - self.start, 1e-9)
        rate = self.steps / elapsed
        return {
            "speed/steps_per_second": rate,
            **{f"speed/{name}_per_second": rate * amount for name, amount in per_step.items()},
            "speed/data_wait_share": self.waited / elapsed,
        }


class TimeBreakdown:
    """Wall time of a process by kind of work; time of no other kind is training, the productive part."""

    def __init__(self) -> None:
        self._start = time.perf_counter()
        self._spent: dict[str, float] = {}

    @contextlib.contextmanager
    def measure(self, kind: str) -> Iterator[None]:
        """Context that adds its duration to `kind`."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.add(kind, time.perf_counter() - start)

    def add(self, kind: str, seconds: float) -> None:
        """Adds seconds to `kind`."""
        self._spent[kind] = self._spent.get(kind, 0.0) + seconds

    @property
    def elapsed(self) -> float:
        """Elapsed seconds."""
        return time.perf_counter() - self._start

    def shares(self) -> dict[str, float]:
        """Share of the elapsed time by kind, `productive` first; they sum to 1."""
        elapsed = self.elapsed
        shares = {kind: seconds / elapsed for kind, seconds in self._spent.items()}
        return {"productive": 1.0 - sum(shares.values()), **shares}

    def scalars(self) -> dict[str, float]:
        """`shares` as metrics."""
        return {f"time/{kind}_share": share for kind, share in self.shares().items()}

    def __str__(self) -> str:
        shares = ", ".join(f"{kind} {100 * share:.1f} %" for kind, share in self.shares().items())
        return f"{duration(self.elapsed)}: {shares}"

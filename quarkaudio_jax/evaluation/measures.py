"""What an evaluation computes with: the metrics that can be had, their values, the processes, the versions."""

import collections
import concurrent.futures
import importlib.metadata
import math
import multiprocessing
import platform
from collections.abc import Sequence
from typing import Any

import numpy as np

from quarkaudio_jax.errors import UserError
from quarkaudio_jax.evaluation.model_metrics import JudgeError, judge
from quarkaudio_jax.metrics.registry import METRICS, Metric

PACKAGES = (
    "quarkaudio_jax",
    "jax",
    "numpy",
    "scipy",
    "pystoi",
    "pesq",
    "visqol-python",
    "speechmos",
    "jiwer",
    "transformers",
)
"""Whose versions stand in the results."""


def choose(
    names: Sequence[str], asked: bool, weights: dict[str, str]
) -> tuple[list[Metric], dict[str, Any], list[str]]:
    """(metrics that can be computed, judges by kind, a line for each that can't).

    UserError for a name that does not exist and, if they were asked for, for one whose package is missing.
    """
    for name in names:
        if name not in METRICS:
            raise UserError(f"metric {name!r} does not exist; choose from {', '.join(METRICS)}")
    chosen, judges, left_out = [], {}, []
    for metric in (METRICS[name] for name in names):
        if metric.missing:
            line = f"{metric.name} needs the package {metric.missing} (pip install '{metric.missing}')"
            if asked:
                raise UserError(line)
            left_out.append(line)
            continue
        if metric.model:
            try:
                judges[metric.model] = judge(metric.model, weights.get(metric.model, ""))
            except JudgeError as error:
                left_out.append(f"{metric.name}: {error}")
                continue
        chosen.append(metric)
    return chosen, judges, left_out


def compute(names: Sequence[str], pairs: Sequence[tuple[np.ndarray, np.ndarray | None]], rate: int) -> dict[str, float]:
    """The values of metrics that ask no judge, means over (output, target) pairs; those without a target have none."""
    found: dict[str, list[float]] = collections.defaultdict(list)
    for wave, target in pairs:
        for metric in (METRICS[name] for name in names):
            if metric.needs != "target":
                values = metric.compute(wave, rate)
            elif target is None:
                values = dict.fromkeys(metric.columns, math.nan)
            else:
                count = min(len(wave), len(target))
                values = dict(zip(metric.columns, [metric.compute(target[:count], wave[:count], rate)], strict=True))
            for column, value in values.items():
                found[column].append(value)
    return {column: float(np.mean(values)) for column, values in found.items()}


class _Here:
    """A pool of this process alone."""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    @staticmethod
    def submit(fn, *args):
        future: concurrent.futures.Future = concurrent.futures.Future()
        try:
            future.set_result(fn(*args))
        except Exception as error:  # as a pool's future does it
            future.set_exception(error)
        return future


def pool(workers: int) -> Any:
    """So many processes to compute in; 0: this one, at once."""
    if not workers:
        return _Here()
    return concurrent.futures.ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"))


def versions() -> dict[str, str]:
    """Of Python and of the packages that results depend on, as far as they are installed."""
    out = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            out[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return out

"""Selection and computation of metrics, worker processes, and versions of packages."""

import collections
import concurrent.futures
import importlib.metadata
import math
import multiprocessing
import platform
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from quarkaudio_jax.errors import UserError
from quarkaudio_jax.evaluation.model_metrics import MetricModelError, load_metric_model
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
"""Packages whose versions are recorded in the results."""


def select_metrics(
    names: Sequence[str], required: bool, weights: dict[str, str]
) -> tuple[list[Metric], dict[str, Any], list[str]]:
    """(metrics that can be computed, their models by kind, a line for each metric left out).

    UserError for a name that does not exist and, if they are required, for one whose package is missing.
    """
    for name in names:
        if name not in METRICS:
            raise UserError(f"metric {name!r} does not exist; choose from {', '.join(METRICS)}")
    selected: list[Metric] = []
    models: dict[str, Any] = {}
    left_out: list[str] = []
    for metric in (METRICS[name] for name in names):
        if metric.missing:
            line = f"{metric.name} needs the package {metric.missing} (pip install '{metric.missing}')"
            if required:
                raise UserError(line)
            left_out.append(line)
            continue
        if metric.model:
            try:
                models[metric.model] = load_metric_model(metric.model, weights.get(metric.model, ""))
            except MetricModelError as error:
                left_out.append(f"{metric.name}: {error}")
                continue
        selected.append(metric)
    return selected, models, left_out


def compute_metrics(
    names: Sequence[str], pairs: Sequence[tuple[np.ndarray, np.ndarray | None]], rate: int
) -> dict[str, float]:
    """Values of metrics without a model: means over (output, target) pairs, NaN where a target is needed and missing."""
    found: dict[str, list[float]] = collections.defaultdict(list)
    for wave, target in pairs:
        for metric in (METRICS[name] for name in names):
            assert metric.compute is not None, f"{metric.name} needs a model"
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


class _SerialExecutor:
    """An executor that computes at once, in this process."""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    @staticmethod
    def submit(fn: Callable[..., Any], *args: Any) -> concurrent.futures.Future:
        future: concurrent.futures.Future = concurrent.futures.Future()
        try:
            future.set_result(fn(*args))
        except Exception as error:  # as an executor does
            future.set_exception(error)
        return future


def make_executor(workers: int) -> Any:
    """An executor of `workers` processes; 0: this process, at once."""
    if not workers:
        return _SerialExecutor()
    return concurrent.futures.ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"))


def versions() -> dict[str, str]:
    """Versions of Python and of those of `PACKAGES` that are installed."""
    out = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            out[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return out

"""Search for the largest training batch that fits."""

import contextlib
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from quarkaudio_jax.compile_report.programs import lower_training
from quarkaudio_jax.compile_report.report import CompileReport, OutOfMemory, compile_program
from quarkaudio_jax.config import ExperimentConfig
from quarkaudio_jax.training.lowering import configured_mesh


def largest_batch(
    cfg: ExperimentConfig, devices: Sequence[Any], on_attempt: Callable[[int, CompileReport | None], None]
) -> tuple[int, CompileReport]:
    """(largest batch per device whose training step fits, its report), by doubling and then bisection.

    on_attempt: called with each batch per device and its report, None if it does not fit. OutOfMemory if one example per
    device does not fit.
    """
    axes = configured_mesh(cfg, devices).shape
    ways = axes["data"] * axes["fsdp"]
    reports: dict[int, CompileReport] = {}

    def fits(per_device: int) -> bool:
        with contextlib.suppress(OutOfMemory):
            reports[per_device] = report_training(_with_batch(cfg, per_device * ways), devices)
        on_attempt(per_device, reports.get(per_device))
        return per_device in reports

    if not fits(1):
        raise OutOfMemory("not even one example a device fits; more devices on config.mesh.fsdp, or a smaller model")
    low, high = 1, 2
    while fits(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low, reports[low]


def report_training(cfg: ExperimentConfig, devices: Sequence[Any]) -> CompileReport:
    """The report on a training step."""
    return compile_program(lower_training(cfg, devices))


def _with_batch(cfg: Any, size: int) -> Any:
    return dataclasses.replace(cfg, data=dataclasses.replace(cfg.data, batch_size=size))

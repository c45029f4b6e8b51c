"""Shared by the benchmarks: timing, the machine, real audio."""

import os
import pathlib
import platform
import statistics
import time
from collections.abc import Callable
from typing import NamedTuple


def audio_folder() -> pathlib.Path:
    """The folder of real audio: QUARKAUDIO_AUDIO, by default ../shared/audio beside the project."""
    folder = pathlib.Path(os.environ.get("QUARKAUDIO_AUDIO", pathlib.Path(__file__).parents[2] / "shared" / "audio"))
    if not folder.is_dir():
        raise SystemExit(f"{folder}: no such folder; set QUARKAUDIO_AUDIO to a folder with speech/ and events/")
    return folder


def median_seconds(call: Callable[[], object], repeats: int = 7) -> float:
    """Median time of a call after one to warm up."""
    call()
    return statistics.median(_seconds(call) for _ in range(repeats))


def machine() -> str:
    """Description of processor, cores and devices."""
    import jax

    model = platform.processor() or platform.machine()
    cpuinfo = pathlib.Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    devices = ", ".join(sorted({d.device_kind for d in jax.devices()}))
    return f"{model}, {os.cpu_count()} cores; JAX {jax.__version__} on {jax.device_count()} x {devices}"


class Timing(NamedTuple):
    """Median times. units: of the ratio to the reference product, timed before each call."""

    seconds: float
    units: float


def timed(call: Callable[[], object], repeats: int = 9) -> Timing:
    """Times a call after a warm-up, next to a reference product, because the speed of a machine drifts.

    The unit u is one float32 (500 x 1536) (1536 x 4608) product in PyTorch, two threads.
    """
    import torch

    torch.set_num_threads(2)
    a, b = torch.randn(500, 1536), torch.randn(1536, 4608)
    call()
    seconds, units = [], []
    for _ in range(repeats):
        unit = median_seconds(lambda: a @ b, 5)
        seconds.append(_seconds(call))
        units.append(seconds[-1] / unit)
    return Timing(statistics.median(seconds), statistics.median(units))


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start

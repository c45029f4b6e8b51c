"""The report on a program: it is compiled for the devices, which need not exist, and never run."""

import dataclasses
import pathlib
import re
import tempfile
from collections.abc import Sequence
from typing import Any

import jax

from quarkaudio_jax.compile_report.chips import chip_of
from quarkaudio_jax.compile_report.hlo import Array, summarize
from quarkaudio_jax.compile_report.programs import LoweredProgram
from quarkaudio_jax.errors import QuarkAudioError


@dataclasses.dataclass(frozen=True)
class CompileReport:
    """Memory, FLOPs and time of one step, per device unless said otherwise.

    memory: kind -> bytes. model_flops: on all devices together, without recomputation by remat. Times are estimates,
    None for an unknown chip. compute_seconds: by the compiler's cycle counts, in which asynchronous copies do not count.
    weight_read_seconds: for reading all parameters once, a lower bound. transfer_seconds: of the collectives, without
    overlap with computation. utilization: model FLOPs utilization (MFU). collectives: kind -> (count, bytes). work: amount
    that a step processes, by unit. costliest: (seconds, instructions, op) of the ops with most cycles.

    xla_cost: FLOPs, bytes and seconds of one device by XLA's own cost analysis, 0 where it has none. It counts the body
    of a loop once, and its seconds may be negative.
    """

    program: str
    devices: int
    chip: str
    memory: dict[str, int]
    model_flops: int
    compute_seconds: float | None
    weight_read_seconds: float | None
    transfer_seconds: float | None
    utilization: float | None
    collectives: dict[str, tuple[int, int]]
    largest: list[Array]
    work: dict[str, float]
    xla_cost: dict[str, float] = dataclasses.field(default_factory=dict)
    costliest: list[tuple[float, int, str]] = dataclasses.field(default_factory=list)

    @property
    def throughput(self) -> dict[str, float]:
        """`work` per second and device, limited by computing or by reading the weights; {} for an unknown chip."""
        if self.compute_seconds is None or self.weight_read_seconds is None:
            return {}
        seconds = max(self.compute_seconds, self.weight_read_seconds)
        return {unit: amount / seconds / self.devices for unit, amount in self.work.items()}


class OutOfMemory(QuarkAudioError, ValueError):
    """A program that needs more memory than a device has."""


def compile_program(program: LoweredProgram) -> CompileReport:
    """Compiles a program and reports on it; OutOfMemory if it does not fit."""
    devices = program.devices
    try:
        compiled, text = _compile(program.lowered, devices)
    except jax.errors.JaxRuntimeError as error:
        raise _out_of_memory(error) or error from error
    memory, summary = _memory(compiled.memory_analysis(), program.memory), summarize(text)
    chip = chip_of(devices)
    compute = weight_read = transfer = utilization = None
    if chip is not None:
        compute, weight_read = summary.cycles / chip.clock, memory["parameters"] / chip.bandwidth
        transfer = sum(_link_passes(kind) * size for kind, (_, size) in summary.collectives.items()) / chip.links
        utilization = program.model_flops / (len(devices) * chip.flops * compute)
    return CompileReport(
        program.name,
        len(devices),
        chip.name if chip else devices[0].device_kind,
        memory,
        program.model_flops,
        compute,
        weight_read,
        transfer,
        utilization,
        summary.collectives,
        summary.largest,
        program.work,
        _xla_cost(compiled),
        [(c.cycles / chip.clock, c.count, c.source) for c in summary.costliest] if chip else [],
    )


def _compile(lowered: jax.stages.Lowered, devices: Sequence[Any]) -> tuple[jax.stages.Compiled, str]:
    """(compiled program, text of its optimized module); on TPUs from libtpu's dump, as JAX 0.10 can't read all modules."""
    if devices[0].platform != "tpu":
        compiled = lowered.compile()
        return compiled, compiled.as_text() or ""
    with tempfile.TemporaryDirectory() as folder:
        compiled = lowered.compile(compiler_options={"xla_dump_to": folder, "xla_dump_hlo_as_text": True})
        dumps = sorted(pathlib.Path(folder).glob("*.after_codegen.txt"), key=lambda path: path.stat().st_size)
        return compiled, (dumps[-1].read_text() if dumps else compiled.as_text() or "")


def _memory(stats: Any, arguments: dict[str, int]) -> dict[str, int]:
    """Bytes per device by kind, from the compiler's statistics and the known arguments."""
    memory = {kind: size for kind, size in arguments.items() if size}
    memory["inputs"] = max(stats.argument_size_in_bytes - sum(memory.values()), 0)
    memory["outputs not in place of inputs"] = max(stats.output_size_in_bytes - stats.alias_size_in_bytes, 0)
    memory["temporaries (activations, gradients)"] = stats.temp_size_in_bytes
    memory["program"] = stats.generated_code_size_in_bytes
    return memory


def _xla_cost(compiled: Any) -> dict[str, float]:
    names, totals = ("flops", "bytes accessed", "optimal_seconds"), compiled.cost_analysis() or {}
    return {name.split()[0]: float(totals.get(name, 0.0)) for name in names}


def _link_passes(kind: str) -> int:
    """Approximate number of times that the bytes of a collective's result pass a chip's links."""
    return 2 if kind == "all-reduce" else 1


def _out_of_memory(error: Exception) -> OutOfMemory | None:
    """The OutOfMemory error for the compiler's error; None if it is another kind of error."""
    text = str(error)
    if "RESOURCE_EXHAUSTED" not in text:
        return None
    found = re.search(r"\(([\d.]+)([GM])\) exceeds available HBM \(([\d.]+)G\)", text)
    if not found:
        found = re.search(r"Used ([\d.]+)([GM]) of ([\d.]+)G hbm", text)
    if not found:
        return OutOfMemory(text.splitlines()[0])
    needed = float(found[1]) / (1024 if found[2] == "M" else 1)
    return OutOfMemory(
        f"it needs {needed:.2f} GiB of a device's {found[3]} GiB, {needed - float(found[3]):.2f} GiB too much. Less: a "
        "smaller config.data.batch_size, or remat=full (config.codec or config.lm), for activations; more devices on "
        "config.mesh.fsdp for parameters and optimizer"
    )

"""Compile a configuration for a TPU slice, without one, and report memory, FLOPs and time.

quarkaudio compile --config=codec48k:large --topology=v5e:4x4
"""

import dataclasses
import json
from typing import Any

from quarkaudio_jax.cli import options
from quarkaudio_jax.cli.common import report_errors, set_up
from quarkaudio_jax.cli.config_flags import read_config
from quarkaudio_jax.cli.options import UsageError
from quarkaudio_jax.cli.outputs import require_free
from quarkaudio_jax.config import TrainConfig
from quarkaudio_jax.errors import UserError
from quarkaudio_jax.io import atomic

PROGRAMS = ("train", "encode", "decode", "prefill", "decode-step")


def _parser() -> options.Parser:
    parser = options.Parser("quarkaudio compile", __doc__)
    group = parser.add_argument_group("devices")
    group.add_argument(
        "--topology",
        default="",
        help="a TPU topology such as v5e:4x4, v5p:2x2x2 or v6e:4x4, for which libtpu compiles (default: the local "
        "devices)",
    )
    options.add_number(group, "slices", "slices of that topology, joined by the data center network", default=1)
    group = parser.add_argument_group("program")
    group.add_argument("--program", default="train", choices=PROGRAMS, help="what to compile (default: train)")
    options.add_number(group, "batch", "batch size of all programs but train", default=1)
    group.add_argument("--search", action="store_true", help="find the largest training batch that fits")
    group.add_argument(
        "--codec",
        default="hcodec_48k",
        help="codec of a language model whose prepared data is not available (default: hcodec_48k)",
    )
    group = parser.add_argument_group("output")
    options.add_path(group, "output", "a .json file for the report")
    options.add_overwrite(group)
    return parser


def main(argv: list[str] | None = None) -> None:
    """Entry point of `quarkaudio compile`."""
    with report_errors():
        config, args = read_config(_parser(), options.arguments(argv), TrainConfig)
        options.require_at_least(args, 1, "slices", "batch")
        if args.output:
            require_free(args.output, args.overwrite)
        if args.topology:
            import jax

            jax.config.update("jax_platforms", "cpu")  # only the compiler of the slice is used, no device
        set_up()
        devices = _devices(args.topology, args.slices)
        from quarkaudio_jax.compile_report import programs, search
        from quarkaudio_jax.compile_report.report import OutOfMemory, compile_program

        programs.check_name(config, args.program)
        config = programs.with_dataset_info(config, args.codec)
        try:
            if args.search:
                if args.program != "train":
                    raise UsageError(f"--search is about training, not --program={args.program}: leave one of them out")
                per_device, report = search.largest_batch(config, devices, _print_attempt)
                print(f"the largest batch that fits: {per_device} a device\n")
            else:
                report = compile_program(programs.lower_program(config, devices, args.program, args.batch))
        except OutOfMemory as error:
            raise UserError(f"{args.topology or 'the local devices'}: {error}") from error
        print(format_report(report))
        if args.output:
            atomic.write_text(args.output, json.dumps(dataclasses.asdict(report), indent=1) + "\n")


def _devices(topology: str, slices: int) -> list[Any]:
    import jax

    from quarkaudio_jax.compile_report.chips import topology_devices

    if not topology:
        return jax.devices()
    return topology_devices(topology, slices)


def _print_attempt(per_device: int, report: Any) -> None:
    result = "does not fit" if report is None else f"fits, {sum(report.memory.values()) / 2**30:.2f} GiB"
    print(f"{per_device} a device: {result}", flush=True)


def format_report(report: Any) -> str:
    """The report as text."""
    lines = [f"{report.program} on {report.devices} x {report.chip}", "", "memory a device, GiB"]
    lines += [f"  {size / 2**30:8.3f}  {kind}" for kind, size in report.memory.items()]
    lines += [f"  {sum(report.memory.values()) / 2**30:8.3f}  in all", ""]
    lines.append(f"{report.model_flops / 1e12:.3f} TFLOP a step, on all devices")
    if report.xla_cost:
        lines.append(
            f"{report.xla_cost['flops'] / 1e12:.3f} TFLOP, {report.xla_cost['bytes'] / 2**30:.2f} GiB accessed and "
            f"{1000 * report.xla_cost['optimal_seconds']:.2f} ms per device by XLA's cost analysis (loop bodies count once)"
        )
    if report.compute_seconds is not None:
        rates = ", ".join(f"{value:.1f} {unit.replace('_', ' ')}" for unit, value in report.throughput.items())
        lines.append(f"{1000 * report.compute_seconds:.2f} ms of computation by the compiler's cycle counts")
        lines.append(f"{1000 * report.weight_read_seconds:.2f} ms to read all parameters once")
        lines.append(f"at most {rates} per second and chip")
        lines.append(f"{1000 * report.transfer_seconds:.2f} ms of transfers, if they do not overlap with computation")
        lines.append(f"{100 * report.utilization:.1f} % model FLOPs utilization")
    lines += ["", "collectives (count, GiB a device)"]
    lines += [f"  {n:6d}  {size / 2**30:8.3f}  {kind}" for kind, (n, size) in report.collectives.items()] or ["  none"]
    lines += ["", "largest arrays (GiB, shape, op)"]
    lines += [f"  {a.size / 2**30:8.3f}  {a.shape[:60]}  {a.source[-80:]}" for a in report.largest]
    if report.costliest:
        lines += ["", "costliest ops (ms, instructions, op)"]
        lines += [f"  {1000 * seconds:8.2f}  {count:6d}  {part[-100:]}" for seconds, count, part in report.costliest]
    return "\n".join(lines)

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
        from quarkaudio_jax.compile_report import report

        report.check_kind(config, args.program)
        config = report.with_dataset_info(config, args.codec)
        try:
            if args.search:
                if args.program != "train":
                    raise UsageError(f"--search is about training, not --program={args.program}: leave one of them out")
                each, needs = report.largest_batch(config, devices, _tell_attempt)
                print(f"the largest batch that fits: {each} a device\n")
            else:
                needs = report.needs(config, devices, args.program, args.batch)
        except report.OutOfMemory as error:
            raise UserError(f"{args.topology or 'the devices at hand'}: {error}") from error
        print(describe(needs))
        if args.output:
            atomic.write_text(args.output, json.dumps(dataclasses.asdict(needs), indent=1) + "\n")


def _devices(topology: str, slices: int) -> list[Any]:
    import jax

    from quarkaudio_jax.compile_report.chips import topology_devices

    if not topology:
        return jax.devices()
    return topology_devices(topology, slices)


def _tell_attempt(each: int, needs: Any) -> None:
    told = "does not fit" if needs is None else f"fits, {sum(needs.memory.values()) / 2**30:.2f} GiB"
    print(f"{each} a device: {told}", flush=True)


def describe(needs: Any) -> str:
    """The report as text."""
    lines = [f"{needs.program} on {needs.devices} x {needs.chip}", "", "memory a device, GiB"]
    lines += [f"  {size / 2**30:8.3f}  {kind}" for kind, size in needs.memory.items()]
    lines += [f"  {sum(needs.memory.values()) / 2**30:8.3f}  in all", ""]
    lines.append(f"{needs.model_flops / 1e12:.3f} TFLOP a step, on all devices")
    if needs.told:
        lines.append(
            f"{needs.told['flops'] / 1e12:.3f} TFLOP, {needs.told['bytes'] / 2**30:.2f} GiB read and written and "
            f"{1000 * needs.told['optimal_seconds']:.2f} ms at best a device, as the compiler adds up (loops once)"
        )
    if needs.seconds is not None:
        pace = ", ".join(f"{value:.1f} {name.replace('_', ' ')}" for name, value in needs.pace.items())
        lines.append(f"{1000 * needs.seconds:.2f} ms of computation by the compiler's cycle counts")
        lines.append(f"{1000 * needs.reading:.2f} ms to read all parameters once; so at most {pace} a second a chip")
        lines.append(f"{1000 * needs.transfers:.2f} ms of transfers, should nothing hide them")
        lines.append(f"{100 * needs.utilization:.1f} % model FLOPs utilization")
    lines += ["", "collectives (how many, GiB a device)"]
    lines += [f"  {n:6d}  {size / 2**30:8.3f}  {kind}" for kind, (n, size) in needs.collectives.items()] or ["  none"]
    lines += ["", "largest arrays (GiB, shape, made by)"]
    lines += [f"  {a.size / 2**30:8.3f}  {a.shape[:60]}  {a.source[-80:]}" for a in needs.largest]
    if needs.costliest:
        lines += ["", "where the time goes (ms, instructions, part of the program)"]
        lines += [f"  {1000 * seconds:8.2f}  {count:6d}  {part[-100:]}" for seconds, count, part in needs.costliest]
    return "\n".join(lines)

"""What a configuration needs of a TPU slice, asked of its compiler: python -m quarkaudio_jax.compile
--config=configs/codec48k.py:large --topology=v5e:4x4
"""

import dataclasses
import json
import sys
from typing import Any

from quarkaudio_jax.cli.common import report_errors, set_up
from quarkaudio_jax.cli.config_flags import read_config
from quarkaudio_jax.cli.outputs import require_free
from quarkaudio_jax.config import TrainConfig
from quarkaudio_jax.errors import UserError
from quarkaudio_jax.io import atomic


def _define(values) -> None:
    from absl import flags

    flags.DEFINE_integer("slices", 1, "So many of the topology, joined by the network.", 1, flag_values=values)
    programs = ["train", "encode", "decode", "prefill", "decode-step"]
    where = "A TPU topology such as v5e:4x4, v5p:2x2x2 or v6e:4x4 (needs libtpu); default: the devices at hand."
    flags.DEFINE_string("topology", "", where, flag_values=values)
    flags.DEFINE_enum("program", "train", programs, "What to compile.", flag_values=values)
    flags.DEFINE_integer("batch", 1, "Items at once, for all but train.", flag_values=values)
    flags.DEFINE_bool("search", False, "Find the largest training batch that fits.", flag_values=values)
    flags.DEFINE_string("output", "", "A .json file for the result.", flag_values=values)
    flags.DEFINE_bool("overwrite", False, "Write over the file of --output.", flag_values=values)
    codec = "Of a language model without prepared data at hand: the codec whose codes it learns."
    flags.DEFINE_string("codec", "hcodec_48k", codec, flag_values=values)


def main(argv: list[str] | None = None) -> None:
    """Entry point of `python -m quarkaudio_jax.compile` and `quarkaudio compile`."""
    with report_errors():
        config, flags = read_config(sys.argv if argv is None else argv, TrainConfig, __doc__, _define)
        if flags.output:
            require_free(flags.output, flags.overwrite)
        if flags.topology:
            import jax

            jax.config.update("jax_platforms", "cpu")  # the slice's compiler is used, no device
        set_up()
        devices = _devices(flags.topology, flags.slices)
        from quarkaudio_jax.compile_report import report

        report.check_kind(config, flags.program)
        config = report.with_dataset_info(config, flags.codec)
        try:
            if flags.search:
                if flags.program != "train":
                    raise UserError(f"--search is about training, not --program={flags.program}: leave one of them out")
                each, needs = report.largest_batch(config, devices, _tell_attempt)
                print(f"the largest batch that fits: {each} a device\n")
            else:
                needs = report.needs(config, devices, flags.program, flags.batch)
        except report.OutOfMemory as error:
            raise UserError(f"{flags.topology or 'the devices at hand'}: {error}") from error
        print(report(needs))
        if flags.output:
            atomic.write_text(flags.output, json.dumps(dataclasses.asdict(needs), indent=1) + "\n")


def _devices(topology: str, slices: int) -> list[Any]:
    import jax

    from quarkaudio_jax.compile_report.chips import topology_devices

    if not topology:
        return jax.devices()
    return topology_devices(topology, slices)


def _tell_attempt(each: int, needs: Any) -> None:
    told = "does not fit" if needs is None else f"fits, {sum(needs.memory.values()) / 2**30:.2f} GiB"
    print(f"{each} a device: {told}", flush=True)


def report(needs: Any) -> str:
    """The result in words and tables."""
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

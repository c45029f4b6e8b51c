"""What a program's steps need of a device, asked of the compiler; no device need be at hand."""

import contextlib
import dataclasses
import math
import pathlib
import re
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from quarkaudio_jax.codec.hcodec import HCodec
from quarkaudio_jax.codec.variants import get_variant
from quarkaudio_jax.compile_report.chips import chip_of
from quarkaudio_jax.compile_report.flops import count_flops
from quarkaudio_jax.compile_report.hlo import Array, summarize
from quarkaudio_jax.config import ConfigError, DatasetInfo, TrainConfig
from quarkaudio_jax.data.prepared import read_dataset_info
from quarkaudio_jax.errors import QuarkAudioError
from quarkaudio_jax.lm import model as lm
from quarkaudio_jax.lm.backbone import empty_cache
from quarkaudio_jax.nn.dtypes import DTYPES
from quarkaudio_jax.nn.stack import unstack_params
from quarkaudio_jax.tokens.tasks import TASKS
from quarkaudio_jax.training.codec_program import CodecProgram
from quarkaudio_jax.training.lm_program import LMProgram
from quarkaudio_jax.training.lowering import configured_mesh, lower_train_step
from quarkaudio_jax.training.program import Program

SECONDS = 10.0
"""Of audio that `encode` and `decode` are asked for, an item."""

PREFIX, CACHE = 512, 1024
"""Positions of a request, and of a cache, that `prefill` and `decode-step` are asked for."""


@dataclasses.dataclass(frozen=True)
class CompileReport:
    """Of one step, per device unless said otherwise.

    memory: kind -> bytes. model_flops: of all devices together, without what remat of layers computes again.
    seconds: of its computations by the compiler's cycle counts, in which copies that run beside them have no
    part; reading: what reading all parameters once takes, which no step can beat; transfers: what its collectives
    take if nothing hides them (None for all where the chip is not known).
    work: what a step gets through. told: the compiler's own totals, FLOPs, bytes and seconds of one device, each 0
    where it tells none; they count the body of a loop once, however often it runs, and seconds may be negative.
    costliest: (seconds, instructions, name) of the parts of the program that take longest by the cycle counts.
    """

    program: str
    devices: int
    chip: str
    memory: dict[str, int]
    model_flops: int
    seconds: float | None
    reading: float | None
    transfers: float | None
    utilization: float | None
    collectives: dict[str, tuple[int, int]]
    largest: list[Array]
    work: dict[str, float]
    told: dict[str, float] = dataclasses.field(default_factory=dict)
    costliest: list[tuple[float, int, str]] = dataclasses.field(default_factory=list)

    @property
    def pace(self) -> dict[str, float]:
        """`work` a second and device, at the slower of computing and reading."""
        return {k: v / max(self.seconds, self.reading) / self.devices for k, v in self.work.items()}


class OutOfMemory(QuarkAudioError, ValueError):
    """A step that needs more memory than a device has."""


def program_of(cfg: TrainConfig) -> Program:
    """The program of a configuration, with random weights for all that would have to be read."""
    if cfg.program == "codec":
        return CodecProgram(cfg)
    return LMProgram(cfg)


def with_dataset_info(cfg: TrainConfig, codec: str) -> TrainConfig:
    """A language model's configuration with the dataset of its data, or of data of `codec` if it names none."""
    if cfg.program != "lm":
        return cfg
    if cfg.data.folder:
        return dataclasses.replace(cfg, dataset=read_dataset_info(cfg.data))
    found = get_variant(codec)
    quantizers = (found.acoustic_quantizer, found.semantic_quantizer)
    dataset = DatasetInfo(
        codec=codec,
        codebooks=tuple(q.codebook_size for q in quantizers for _ in range(q.num_codebooks)),
        max_duration=found.aggregation.max_group if found.aggregation else 0,
        feature_width=found.semantic.feature_dim,
        tasks=tuple(TASKS),
    )
    return dataclasses.replace(cfg, dataset=dataset)


def train_needs(cfg: TrainConfig, devices: Sequence[Any]) -> CompileReport:
    """Of the real training step on a mesh of `devices`."""
    program = program_of(cfg)
    step = lower_train_step(program, configured_mesh(cfg, devices))
    plain = _plain(cfg)
    batch = plain.batch_spec(cfg.data.batch_size)
    flops = count_flops(plain.train_step, nn.meta.unbox(jax.eval_shape(plain.init)), batch)
    state = step.abstract_state
    parts = {"parameters": state.model, "optimizer and discriminators": state.training, "frozen": state.frozen}
    memory = {name: sum(map(_held, jax.tree.leaves(part))) for name, part in parts.items()}
    return _needs("train", step.lowered, devices, memory, flops, dict(program.rates))


def _plain(cfg: TrainConfig) -> Program:
    """The program whose trace holds the model's FLOPs alone: nothing computed again, no blocks filled up with zeros."""
    part = "codec" if cfg.program == "codec" else "lm"
    program = program_of(dataclasses.replace(cfg, **{part: dataclasses.replace(getattr(cfg, part), remat="none")}))
    if isinstance(program, CodecProgram):
        program.adversary = program.adversary.clone(blocked=False)
    return program


def _held(leaf: Any) -> int:
    """Bytes of an abstract array on one device."""
    return math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize


def codec_needs(cfg: TrainConfig, devices: Sequence[Any], what: str, batch: int) -> CompileReport:
    """Of encoding (features given) or decoding `SECONDS` of audio on one device, weights in the compute type."""
    dtype, codec_cfg = DTYPES[cfg.codec.dtype], program_of(cfg).codec_cfg
    codec, stacked = (HCodec(codec_cfg, dtype, scan=scan) for scan in (False, True))
    frames = math.ceil(SECONDS * codec_cfg.frame_rate)
    wave = jax.ShapeDtypeStruct((batch, frames * codec_cfg.frame_hop), jnp.float32)
    width = codec_cfg.semantic.feature_dim
    features = jax.ShapeDtypeStruct((batch, frames * codec_cfg.semantic.stride, width), jnp.float32)
    one = jax.sharding.SingleDeviceSharding(devices[0])

    def encode(variables, wave, features):
        return codec.apply(variables, codec.apply(variables, wave, features, method="embed"), method="quantize")

    def decode(variables, codes):
        return codec.apply(variables, codes, method="decode")

    variables = nn.meta.unbox(jax.eval_shape(stacked.init, jax.random.key(0), wave, features))
    variables = {**variables, "params": _for_use(variables["params"], dtype)}
    fn, inputs = encode, (wave, features)
    if what == "decode":
        fn, inputs = decode, (jax.eval_shape(encode, variables, *inputs),)
    return _on_one(what, fn, variables, inputs, one, devices, {"audio_seconds": batch * frames / codec_cfg.frame_rate})


def lm_needs(cfg: TrainConfig, devices: Sequence[Any], what: str, batch: int) -> CompileReport:
    """Of prefilling `PREFIX` positions, or of one step with a cache of `CACHE`, on one device."""
    program = program_of(cfg)
    model = lm.LanguageModel(program.lm_cfg, DTYPES[cfg.lm.dtype], scan=False)
    params = _for_use(nn.meta.unbox(jax.eval_shape(program.init)).model.params, model.dtype)
    cache = jax.eval_shape(lambda: empty_cache(program.lm_cfg.backbone, batch, CACHE, model.dtype, model.scan))
    length = PREFIX if what == "prefill" else 1
    x = jax.ShapeDtypeStruct((batch, length, program.lm_cfg.backbone.dim), model.dtype)
    positions = jax.ShapeDtypeStruct((batch, length), jnp.int32)
    method = "fill" if what == "prefill" else "step"

    def step(variables, cache, x, positions):
        return model.apply(variables, x, positions, cache, method=method)

    one = jax.sharding.SingleDeviceSharding(devices[0])
    inputs = (cache, x, positions)
    work = {"positions": float(batch * length)}
    return _on_one(what, step, {"params": params}, inputs, one, devices, work, donated=(1,))


def _for_use(params: Any, dtype: Any) -> Any:
    """Shapes of trained parameters as they are used: in the compute type, layer by layer."""
    cast = jax.tree.map(lambda s: jax.ShapeDtypeStruct(s.shape, dtype), params)
    return jax.eval_shape(unstack_params, cast)


def _on_one(what, fn: Callable, variables, inputs, sharding, devices, work, donated=()) -> CompileReport:
    placed = jax.tree.map(lambda s: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=sharding), (variables, *inputs))
    lowered = jax.jit(fn, donate_argnums=donated, keep_unused=True).lower(*placed)
    memory = {"parameters": sum(map(_held, jax.tree.leaves(placed[0])))}
    return _needs(what, lowered, devices[:1], memory, count_flops(fn, *placed), work)


def _needs(what: str, lowered: Any, devices: Sequence[Any], memory: dict[str, int], flops: int, work) -> CompileReport:
    try:
        compiled, text = _compiled(lowered, devices)
    except jax.errors.JaxRuntimeError as error:
        raise _explained(error) or error from error
    stats = compiled.memory_analysis()
    memory = {kind: size for kind, size in memory.items() if size}
    memory["inputs"] = max(stats.argument_size_in_bytes - sum(memory.values()), 0)
    memory["outputs not in place of inputs"] = max(stats.output_size_in_bytes - stats.alias_size_in_bytes, 0)
    memory["temporaries (activations, gradients)"] = stats.temp_size_in_bytes
    memory["program"] = stats.generated_code_size_in_bytes
    chip, found = chip_of(devices), summarize(text)
    seconds = reading = transfers = utilization = None
    if chip is not None:
        seconds, reading = found.cycles / chip.clock, memory["parameters"] / chip.bandwidth
        transfers = sum(_factor(kind) * size for kind, (_, size) in found.collectives.items()) / chip.links
        utilization = flops / (len(devices) * chip.flops * seconds)
    name = chip.name if chip else devices[0].device_kind
    return CompileReport(
        what,
        len(devices),
        name,
        memory,
        flops,
        seconds,
        reading,
        transfers,
        utilization,
        found.collectives,
        found.largest,
        work,
        _told(compiled),
        [(c.cycles / chip.clock, c.count, c.source) for c in found.costliest] if chip else [],
    )


def _compiled(lowered: Any, devices: Sequence[Any]) -> tuple[Any, str]:
    """(the program, its optimized module). JAX 0.10 can't read all that libtpu gives back; what libtpu writes, it can."""
    if devices[0].platform != "tpu":
        compiled = lowered.compile()
        return compiled, compiled.as_text()
    with tempfile.TemporaryDirectory() as folder:
        compiled = lowered.compile(compiler_options={"xla_dump_to": folder, "xla_dump_hlo_as_text": True})
        written = sorted(pathlib.Path(folder).glob("*.after_codegen.txt"), key=lambda path: path.stat().st_size)
        return compiled, written[-1].read_text() if written else compiled.as_text()


def _told(compiled: Any) -> dict[str, float]:
    names, totals = ("flops", "bytes accessed", "optimal_seconds"), compiled.cost_analysis() or {}
    return {name.split()[0]: float(totals.get(name, 0.0)) for name in names}


def _factor(kind: str) -> int:
    """How often the bytes of a collective's result cross a chip's links, about."""
    return 2 if kind == "all-reduce" else 1


def _explained(error: Exception) -> OutOfMemory | None:
    """The compiler's refusal in our words; None if it is about something else."""
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


def largest_batch(
    cfg: TrainConfig, devices: Sequence[Any], tried: Callable[[int, CompileReport | None], None]
) -> tuple[int, CompileReport]:
    """(the largest batch a device with which the training step fits, what it needs).

    Doubled until it does not fit, then bisected. tried: told of each attempt. OutOfMemory if not even one
    example a device fits.
    """
    sizes = configured_mesh(cfg, devices).shape
    ways = sizes["data"] * sizes["fsdp"]

    fitting: dict[int, CompileReport] = {}

    def fits(each: int) -> bool:
        data = dataclasses.replace(cfg.data, batch_size=each * ways)
        with contextlib.suppress(OutOfMemory):
            fitting[each] = train_needs(dataclasses.replace(cfg, data=data), devices)
        tried(each, fitting.get(each))
        return each in fitting

    if not fits(1):
        raise OutOfMemory("not even one example a device fits; more devices on config.mesh.fsdp, or a smaller model")
    low, high = 1, 2
    while fits(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low, fitting[low]


def check_kind(cfg: TrainConfig, what: str) -> None:
    """ConfigError if the configuration's program has no such step."""
    kinds = {"codec": ("train", "encode", "decode"), "lm": ("train", "prefill", "decode-step")}[cfg.program]
    if what not in kinds:
        raise ConfigError(f"--program={what}: this configuration has {', '.join(kinds)}")


def needs(cfg: TrainConfig, devices: Sequence[Any], what: str, batch: int) -> CompileReport:
    """Of `what`: train, encode, decode, prefill or decode-step (`batch` items, but for train)."""
    check_kind(cfg, what)
    if what == "train":
        return train_needs(cfg, devices)
    return (codec_needs if cfg.program == "codec" else lm_needs)(cfg, devices, what, batch)

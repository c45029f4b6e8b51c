"""The programs that `compile` reports on, lowered from shapes alone: training steps and steps of inference."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from quarkaudio_jax.codec.hcodec import HCodec, wave_shape
from quarkaudio_jax.codec.variants import get_variant
from quarkaudio_jax.compile_report.flops import count_flops
from quarkaudio_jax.config import (
    CodecTrainConfig,
    ConfigError,
    DatasetInfo,
    ExperimentConfig,
    LMTrainConfig,
    UniseTrainConfig,
)
from quarkaudio_jax.data.prepared import read_dataset_info
from quarkaudio_jax.lm import model as lm
from quarkaudio_jax.lm.backbone import empty_cache
from quarkaudio_jax.lm.unise import LM_UNISE
from quarkaudio_jax.nn.dtypes import DTYPES
from quarkaudio_jax.nn.stack import unstack_params
from quarkaudio_jax.tokens.tasks import TASKS
from quarkaudio_jax.tokens.unise import CODEC as BICODEC
from quarkaudio_jax.tokens.unise import UNISE_TASKS
from quarkaudio_jax.training.codec_program import CodecProgram
from quarkaudio_jax.training.lm_program import LMProgram
from quarkaudio_jax.training.lowering import configured_mesh, lower_train_step
from quarkaudio_jax.training.programs import build_program

NAMES = {
    "codec": ("train", "encode", "decode"),
    "lm": ("train", "prefill", "decode-step"),
    "unise": ("train",),
}
"""Names of the programs of each experiment."""

SECONDS = 10.0
"""Audio per item of `encode` and `decode`."""

PREFIX, CACHE = 512, 1024
"""Positions of the prompt in `prefill`, and of the cache."""


@dataclasses.dataclass(frozen=True)
class LoweredProgram:
    """A program ready to compile.

    memory: kind of its arguments -> bytes per device. model_flops: on all devices together, without recomputation by
    remat. work: amount that one step processes, by unit.
    """

    name: str
    lowered: jax.stages.Lowered
    devices: Sequence[Any]
    memory: dict[str, int]
    model_flops: int
    work: dict[str, float]


def check_name(cfg: ExperimentConfig, name: str) -> None:
    """ConfigError if the experiment has no program of that name."""
    if name not in NAMES[cfg.program]:
        raise ConfigError(f"--program={name}: this configuration has {', '.join(NAMES[cfg.program])}")


def with_dataset_info(cfg: ExperimentConfig, codec: str) -> ExperimentConfig:
    """Fills in a language model's dataset: that of its data, or one of codes of `codec` if it names no data."""
    if not isinstance(cfg, LMTrainConfig):
        return cfg
    if cfg.data.folder:
        return dataclasses.replace(cfg, dataset=read_dataset_info(cfg.data))
    if isinstance(cfg, UniseTrainConfig):
        sizes = (LM_UNISE.global_size, LM_UNISE.semantic_size)
        dataset = DatasetInfo(BICODEC, codebooks=sizes, feature_width=LM_UNISE.feature_dim, tasks=tuple(UNISE_TASKS))
        return dataclasses.replace(cfg, dataset=dataset)
    variant = get_variant(codec)
    if variant.channels > 1:
        raise ConfigError(f"{codec} is a stereo codec; language models are over the codes of mono codecs")
    quantizers = (variant.acoustic_quantizer, variant.semantic_quantizer)
    dataset = DatasetInfo(
        codec=codec,
        codebooks=tuple(q.codebook_size for q in quantizers for _ in range(q.num_codebooks)),
        max_duration=variant.aggregation.max_group if variant.aggregation else 0,
        feature_width=variant.semantic.feature_dim,
        tasks=tuple(TASKS),
    )
    return dataclasses.replace(cfg, dataset=dataset)


def lower_program(cfg: ExperimentConfig, devices: Sequence[Any], name: str, batch: int) -> LoweredProgram:
    """Lowers the program `name`; batch: number of items, for all but train."""
    check_name(cfg, name)
    if name == "train":
        return lower_training(cfg, devices)
    if isinstance(cfg, CodecTrainConfig):
        return _lower_codec(cfg, devices, name, batch)
    return _lower_lm(cfg, devices, name, batch)


def lower_training(cfg: ExperimentConfig, devices: Sequence[Any]) -> LoweredProgram:
    """Lowers the training step that `train` runs, on a mesh of `devices`."""
    program = build_program(cfg)
    step = lower_train_step(program, configured_mesh(cfg, devices))
    model = _without_recomputation(cfg)
    batch = model.batch_spec(cfg.data.batch_size)
    state = step.abstract_state
    abstract = nn.meta.unbox(jax.eval_shape(model.init)).replace(frozen=state.frozen)
    flops = count_flops(model.train_step, abstract, batch)
    parts = {"parameters": state.model, "optimizer and discriminators": state.training, "frozen": state.frozen}
    memory = {kind: sum(map(_device_bytes, jax.tree.leaves(part))) for kind, part in parts.items()}
    return LoweredProgram("train", step.lowered, devices, memory, flops, dict(program.rates))


def _without_recomputation(cfg: ExperimentConfig) -> CodecProgram | LMProgram:
    """The program for counting model FLOPs: without remat, and without zero-padded blocks in the discriminators."""
    if isinstance(cfg, LMTrainConfig):
        return build_program(dataclasses.replace(cfg, lm=dataclasses.replace(cfg.lm, remat="none")))
    program = CodecProgram(dataclasses.replace(cfg, codec=dataclasses.replace(cfg.codec, remat="none")))
    program.discriminators = program.discriminators.clone(blocked=False)
    return program


def _lower_codec(cfg: CodecTrainConfig, devices: Sequence[Any], name: str, batch: int) -> LoweredProgram:
    """Lowers encoding (given features) or decoding of `SECONDS` of audio, with weights in the compute dtype."""
    dtype, codec_cfg = DTYPES[cfg.codec.dtype], CodecProgram(cfg).codec_cfg
    codec, stacked = (HCodec(codec_cfg, dtype, scan=scan) for scan in (False, True))
    frames = math.ceil(SECONDS * codec_cfg.frame_rate)
    wave = jax.ShapeDtypeStruct(wave_shape(codec_cfg, batch, frames * codec_cfg.frame_hop), jnp.float32)
    shape = (batch, frames * codec_cfg.semantic.stride, codec_cfg.semantic.feature_dim)
    features = jax.ShapeDtypeStruct(shape, jnp.float32)

    def encode(variables, wave, features):
        return codec.apply(variables, codec.apply(variables, wave, features, method="embed"), method="quantize")

    def decode(variables, codes):
        return codec.apply(variables, codes, method="decode")

    variables = nn.meta.unbox(jax.eval_shape(stacked.init, jax.random.key(0), wave, features))
    variables = {**variables, "params": _inference_params(variables["params"], dtype)}
    work = {"audio_seconds": batch * frames / codec_cfg.frame_rate}
    if name == "encode":
        return _lower_on_one_device(name, encode, variables, (wave, features), devices, work)
    codes = jax.eval_shape(encode, variables, wave, features)
    return _lower_on_one_device(name, decode, variables, (codes,), devices, work)


def _lower_lm(cfg: LMTrainConfig, devices: Sequence[Any], name: str, batch: int) -> LoweredProgram:
    """Lowers prefilling of `PREFIX` positions, or one decoding step with a cache of `CACHE` positions."""
    program = LMProgram(cfg)
    model = lm.LanguageModel(program.lm_cfg, DTYPES[cfg.lm.dtype], scan=False)
    params = _inference_params(nn.meta.unbox(jax.eval_shape(program.init)).model.params, model.dtype)
    cache = jax.eval_shape(lambda: empty_cache(program.lm_cfg.backbone, batch, CACHE, model.dtype, model.scan))
    length = PREFIX if name == "prefill" else 1
    x = jax.ShapeDtypeStruct((batch, length, program.lm_cfg.backbone.dim), model.dtype)
    positions = jax.ShapeDtypeStruct((batch, length), jnp.int32)
    method = name if name == "prefill" else "step"

    def step(variables, cache, x, positions):
        return model.apply(variables, x, positions, cache, method=method)

    work = {"positions": float(batch * length)}
    return _lower_on_one_device(name, step, {"params": params}, (cache, x, positions), devices, work, donated=(1,))


def _inference_params(params: Any, dtype: Any) -> Any:
    """Shapes of parameters for inference: in the compute dtype, and one layer each instead of stacked."""
    cast = jax.tree.map(lambda s: jax.ShapeDtypeStruct(s.shape, dtype), params)
    return jax.eval_shape(unstack_params, cast)


def _lower_on_one_device(
    name: str,
    fn: Callable,
    variables: Any,
    inputs: tuple[Any, ...],
    devices: Sequence[Any],
    work: dict[str, float],
    donated: tuple[int, ...] = (),
) -> LoweredProgram:
    sharding = jax.sharding.SingleDeviceSharding(devices[0])
    placed = jax.tree.map(lambda s: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=sharding), (variables, *inputs))
    lowered = jax.jit(fn, donate_argnums=donated, keep_unused=True).lower(*placed)
    memory = {"parameters": sum(map(_device_bytes, jax.tree.leaves(placed[0])))}
    return LoweredProgram(name, lowered, devices[:1], memory, count_flops(fn, *placed), work)


def _device_bytes(leaf: Any) -> int:
    """Bytes of an abstract array on one device."""
    return math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize

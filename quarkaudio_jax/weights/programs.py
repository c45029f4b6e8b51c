"""Encoding and decoding of a codec as programs over arrays, for exports that run without this package."""

import datetime
import json
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from quarkaudio_jax.codec.hcodec import HCodec, HCodecConfig, wave_shape
from quarkaudio_jax.io import atomic
from quarkaudio_jax.types import Codes


class Program(NamedTuple):
    """A function (variables, *inputs) -> tuple of outputs, and its inputs and outputs by name."""

    name: str
    function: Callable[..., tuple[jax.Array, ...]]
    inputs: dict[str, jax.ShapeDtypeStruct]
    outputs: tuple[str, ...]


def codec_programs(
    cfg: HCodecConfig, variables: Mapping[str, Any], seconds: float, batch: Any = 1, scan: bool = True
) -> list[Program]:
    """The programs `encode` and `decode` for recordings of `seconds`, rounded up to a code frame.

    encode: wave (B, S), features (B, T', D) -> acoustic, semantic (B, T, K) and, of an adaptive codec, durations (B, T), of
    a stereo codec, whose waves are (B, S, 2), spatial (B, T, K). decode: these -> wave. batch: B, a number or a symbolic
    dimension. scan: layout of `variables` (`nn.stack`).
    """
    codec = HCodec(cfg, scan=scan)
    frames = int(cfg.num_frames(round(seconds * cfg.sample_rate)))
    rest = ("durations",) if cfg.aggregation is not None else ()
    names = (*cfg.quantizers, *rest)

    def encode(variables, wave_BxS, features_BxTxD):
        codes = codec.apply(variables, wave_BxS, features_BxTxD, method="encode")
        return (*codes.streams, codes.durations_BxT) if rest else codes.streams

    def decode(variables, *arrays):
        found = dict(zip(names, arrays, strict=True))
        codes = Codes(
            found["acoustic"], found["semantic"], cfg.frame_rate, None, found.get("durations"), found.get("spatial")
        )
        return (codec.apply(variables, codes, frames, method="decode"),)

    wave = jax.ShapeDtypeStruct(wave_shape(cfg, batch, frames * cfg.frame_hop), jnp.float32)
    features = jax.ShapeDtypeStruct((batch, frames * cfg.semantic.stride, cfg.semantic.feature_dim), jnp.float32)
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), variables)
    codes = dict(zip(names, jax.eval_shape(encode, shapes, wave, features), strict=True))
    inputs = {"wave": wave, "features": features}
    return [Program("encode", encode, inputs, names), Program("decode", decode, codes, ("wave",))]


def write_description(
    folder: pathlib.Path, cfg: HCodecConfig, programs: Sequence[Program], details: Mapping[str, Any]
) -> pathlib.Path:
    """Writes program.json: the codec, inputs and outputs of the programs, date and version of JAX."""
    described = {
        program.name: {
            "inputs": {
                name: {"shape": [n if isinstance(n, int) else str(n) for n in spec.shape], "dtype": spec.dtype.name}
                for name, spec in program.inputs.items()
            },
            "outputs": list(program.outputs),
        }
        for program in programs
    }
    about = {
        "variant": cfg.name,
        "sample_rate": cfg.sample_rate,
        "frame_rate": cfg.frame_rate,
        "programs": described,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "jax": jax.__version__,
        **details,
    }
    path = folder / "program.json"
    atomic.write_text(path, json.dumps(about, indent=1) + "\n")
    return path

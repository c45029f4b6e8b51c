"""Export of codecs as StableHLO programs (jax.export), which run without this package.

A folder holds encode.bin, decode.bin, weights.safetensors, and program.json, which lists the arguments. The first argument
of a program is the list of weights in the order of program.json.
"""

import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from quarkaudio_jax.codec.hcodec import HCodec, HCodecConfig
from quarkaudio_jax.types import Codes
from quarkaudio_jax.weights.files import write_tensors
from quarkaudio_jax.weights.hcodec import leaf_name

PLATFORMS = ("cpu", "cuda", "tpu")


def export_programs(
    cfg: HCodecConfig, variables: Mapping[str, Any], folder: str | os.PathLike, seconds: float
) -> list[pathlib.Path]:
    """Writes encode and decode for one recording of `seconds` (rounded up to a frame); returns the files.

    encode: (weights, wave (1, S), features (1, T, D)) -> codes; decode: (weights, codes) -> wave (1, S).
    Codes are acoustic (1, T, K), semantic (1, T, K), and of an adaptive codec durations (1, T).
    """
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    codec = HCodec(cfg)
    found, treedef = jax.tree_util.tree_flatten_with_path(dict(variables))
    weights = {leaf_name(path): leaf for path, leaf in found}

    def encode(leaves, wave_BxS, features_BxTxD):
        codes = codec.apply(treedef.unflatten(leaves), wave_BxS, features_BxTxD, method="encode")
        streams = (codes.acoustic_BxTxK, codes.semantic_BxTxK)
        return streams if codes.durations_BxT is None else (*streams, codes.durations_BxT)

    frames = int(cfg.num_frames(round(seconds * cfg.sample_rate)))

    def decode(leaves, acoustic_BxTxK, semantic_BxTxK, durations_BxT=None):
        codes = Codes(acoustic_BxTxK, semantic_BxTxK, cfg.frame_rate, None, durations_BxT)
        return codec.apply(treedef.unflatten(leaves), codes, frames, method="decode")

    shapes = [jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in weights.values()]
    wave = jax.ShapeDtypeStruct((1, frames * cfg.frame_hop), jnp.float32)
    features = jax.ShapeDtypeStruct((1, frames * cfg.semantic.stride, cfg.semantic.feature_dim), jnp.float32)
    codes = jax.eval_shape(encode, shapes, wave, features)
    written = []
    for name, function, arguments in (("encode", encode, (wave, features)), ("decode", decode, codes)):
        program = jax.export.export(jax.jit(function), platforms=PLATFORMS)(shapes, *arguments)
        written.append(folder / f"{name}.bin")
        written[-1].write_bytes(program.serialize())
    written.append(folder / "weights.safetensors")
    write_tensors(written[-1], {name: np.ascontiguousarray(leaf) for name, leaf in weights.items()})
    about = {
        "variant": cfg.name,
        "sample_rate": cfg.sample_rate,
        "samples": frames * cfg.frame_hop,
        "features": list(features.shape),
        "codes": [list(c.shape) for c in codes],
        "platforms": list(PLATFORMS),
        "weights": list(weights),
    }
    written.append(folder / "program.json")
    written[-1].write_text(json.dumps(about, indent=1) + "\n")
    return written

"""Export of codecs as StableHLO, to run without this package.

A folder holds, for encode and decode, NAME.bin for `jax.export.deserialize` (any batch size), NAME.mlirbc, the portable
bytecode for other runtimes (batch 1), weights.safetensors, and program.json, which lists the arguments. The weights are
the first arguments of a program, in the order of program.json.
"""

import os
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from quarkaudio_jax.codec.hcodec import HCodecConfig
from quarkaudio_jax.weights.files import write_tensors
from quarkaudio_jax.weights.hcodec import leaf_name
from quarkaudio_jax.weights.programs import Program, codec_programs, write_description

PLATFORMS = ("cpu", "cuda", "tpu")

EXPIRES = "6 months after date: newer versions of JAX may refuse NAME.bin; NAME.mlirbc is StableHLO's portable format"
"""How long the files are read, for program.json; the first is the promise of `jax.export`."""


def export_programs(
    cfg: HCodecConfig, variables: Mapping[str, Any], folder: str | os.PathLike, seconds: float
) -> list[pathlib.Path]:
    """Writes the programs for recordings of `seconds` (rounded up to a frame); returns the files."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    found, treedef = jax.tree_util.tree_flatten_with_path(dict(variables))
    weights = {leaf_name(path): leaf for path, leaf in found}
    shapes = [jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in weights.values()]

    def exported(program: Program, platforms: tuple[str, ...]) -> Any:
        def function(leaves, *inputs):
            return program.function(treedef.unflatten(leaves), *inputs)

        return jax.export.export(jax.jit(function, keep_unused=True), platforms=platforms)(
            shapes, *program.inputs.values()
        )

    (batch,) = jax.export.symbolic_shape("batch")
    programs = codec_programs(cfg, variables, seconds, batch)
    written = []
    for program, single in zip(programs, codec_programs(cfg, variables, seconds), strict=True):
        written += [folder / f"{program.name}.bin", folder / f"{program.name}.mlirbc"]
        written[-2].write_bytes(exported(program, PLATFORMS).serialize())
        written[-1].write_bytes(exported(single, PLATFORMS[:1]).mlir_module_serialized)
    written.append(folder / "weights.safetensors")
    write_tensors(written[-1], {name: np.asarray(leaf, order="C") for name, leaf in weights.items()})
    details = {"platforms": list(PLATFORMS), "expires": EXPIRES, "weights": list(weights)}
    return [*written, write_description(folder, cfg, programs, details)]

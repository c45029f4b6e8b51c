"""Export of codecs to ONNX, through jax2onnx: encode.onnx and decode.onnx with their weights, and program.json."""

import logging
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import jax

from quarkaudio_jax.codec.hcodec import HCodecConfig
from quarkaudio_jax.nn import fourier
from quarkaudio_jax.nn.stack import unstack_params
from quarkaudio_jax.weights.programs import codec_programs, write_description

OPSET = 21
"""Version of the ONNX operators."""


def export_onnx(
    cfg: HCodecConfig, variables: Mapping[str, Any], folder: str | os.PathLike, seconds: float
) -> list[pathlib.Path]:
    """Writes the programs for recordings of `seconds` (rounded up to a frame); returns the files.

    The batch size is dynamic; that of an adaptive codec is 1, because jax2onnx does not carry its grouping for others.
    Large weights go to NAME.onnx.data. Fourier transforms are matmuls, since ONNX has no complex numbers.
    """
    from jax2onnx import to_onnx

    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    variables = {**variables, "params": unstack_params(variables["params"])}
    (batch,) = jax.export.symbolic_shape("batch") if cfg.aggregation is None else (1,)
    programs = codec_programs(cfg, variables, seconds, batch, scan=False)
    written = []
    logging.getLogger("onnx_ir").setLevel(logging.ERROR)  # it warns of each shape that it infers at run time
    for program in programs:
        written.append(folder / f"{program.name}.onnx")

        def function(*inputs, run=program.function):
            return run(variables, *inputs)

        with fourier.by_matmuls():
            to_onnx(
                function,
                list(program.inputs.values()),
                opset=OPSET,
                return_mode="file",
                output_path=written[-1],
                input_names=list(program.inputs),
                output_names=list(program.outputs),
            )
        data = written[-1].with_name(f"{written[-1].name}.data")
        if data.exists():
            data.chmod(written[-1].stat().st_mode)  # jax2onnx creates it for its owner only
            written.append(data)
    return [*written, write_description(folder, cfg, programs, {"opset": OPSET})]

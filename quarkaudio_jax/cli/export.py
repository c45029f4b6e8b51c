"""Checkpoints as PyTorch weights, folders for the Hugging Face hub, StableHLO and ONNX: `quarkaudio convert export`."""

import argparse
import importlib.util
import pathlib

from quarkaudio_jax.cli import options, outputs
from quarkaudio_jax.errors import UserError


def run(args: argparse.Namespace) -> None:
    """Writes the checkpoint in the format of --format."""
    if args.format != "hub" and (args.dtype != "float32" or args.detail):
        raise options.UsageError(f"--dtype and --detail are for --format=hub, not {args.format}")
    FORMATS[args.format](args, pathlib.Path(args.output))


def _export_torch(args: argparse.Namespace, output: pathlib.Path) -> None:
    from quarkaudio_jax.codec.variants import published_front_end
    from quarkaudio_jax.config import UniseTrainConfig
    from quarkaudio_jax.weights.checkpoint import find_checkpoint, read_train_config
    from quarkaudio_jax.weights.files import check_writable, write_tensors
    from quarkaudio_jax.weights.hcodec import export_hcodec
    from quarkaudio_jax.weights.saved_codec import feature_metadata, read_codec

    if isinstance(read_train_config(find_checkpoint(args.checkpoint))[0], UniseTrainConfig):
        return _export_unise(args, output)
    check_writable(output)
    outputs.require_free(output, args.overwrite)
    cfg, variables, trained = read_codec(args.checkpoint, averaged=not args.no_average)
    metadata = {"format": "pt", "variant": cfg.name, "source": str(args.checkpoint)}
    metadata |= feature_metadata(trained.features)
    tensors = export_hcodec(cfg, variables, consume=True)
    write_tensors(output, tensors, metadata)
    about = f"{len(tensors)} tensors, {_mib(output)}, features {trained.features.recipe}"
    print(f"{output}: {cfg.name}, {about}")
    if published_front_end(cfg) != cfg:
        print(
            f"note: {cfg.name} fades phases where the spectrum is empty and the public code does not, so its acoustic "
            "codes there are others; the name of the variant is in the file's metadata, which we read"
        )


def _export_unise(args: argparse.Namespace, output: pathlib.Path) -> None:
    from quarkaudio_jax.lm.variants import configured_unise
    from quarkaudio_jax.weights.saved_unise import check_writable_unise, read_unise_run, write_unise

    check_writable_unise(output)
    outputs.require_free(output, args.overwrite)
    trained, params = read_unise_run(args.checkpoint, averaged=not args.no_average)
    count = write_unise(output, configured_unise(trained), params)
    print(f"{output}: UniSE, {count} tensors, {_mib(output)}, features {trained.dataset.features.recipe}")


def _export_stablehlo(args: argparse.Namespace, output: pathlib.Path) -> None:
    outputs.require_empty(output, args.overwrite)
    if importlib.util.find_spec("flatbuffers") is None:
        raise UserError("--format=stablehlo needs the package flatbuffers: pip install flatbuffers")
    from quarkaudio_jax.weights.saved_codec import read_codec
    from quarkaudio_jax.weights.stablehlo import export_programs

    cfg, variables, _ = read_codec(args.checkpoint, averaged=not args.no_average)
    for path in export_programs(cfg, variables, output, args.seconds):
        print(f"{path}: {_mib(path)}")


def _export_onnx(args: argparse.Namespace, output: pathlib.Path) -> None:
    outputs.require_empty(output, args.overwrite)
    if importlib.util.find_spec("jax2onnx") is None:
        raise UserError("--format=onnx needs the package jax2onnx: pip install 'quarkaudio_jax[onnx]'")
    from quarkaudio_jax.weights.onnx import export_onnx
    from quarkaudio_jax.weights.saved_codec import read_codec

    cfg, variables, _ = read_codec(args.checkpoint, averaged=not args.no_average)
    for path in export_onnx(cfg, variables, output, args.seconds):
        print(f"{path}: {_mib(path)}")


def _export_hub(args: argparse.Namespace, output: pathlib.Path) -> None:
    from quarkaudio_jax.config import LMTrainConfig, UniseTrainConfig
    from quarkaudio_jax.weights import pretrained
    from quarkaudio_jax.weights.builtin import find_builtin
    from quarkaudio_jax.weights.checkpoint import find_checkpoint, read_train_config
    from quarkaudio_jax.weights.repository import CODEC
    from quarkaudio_jax.weights.saved_codec import read_codec
    from quarkaudio_jax.weights.saved_lm import read_lm

    outputs.require_empty(output, args.overwrite)
    averaged, details = not args.no_average, pretrained.training_details(args.checkpoint)
    if args.license:
        details["license"] = args.license
    details |= dict(_detail(text) for text in args.detail)
    trained, _ = read_train_config(find_checkpoint(args.checkpoint))
    if isinstance(trained, UniseTrainConfig):
        raise UserError(f"{args.checkpoint} is UniSE, which has a file format of its own: leave --format out")
    if not isinstance(trained, LMTrainConfig):
        if args.codec:
            raise UserError(f"{args.checkpoint} is a codec: leave --codec out")
        cfg, variables, _ = read_codec(args.checkpoint, averaged)
        pretrained.write_codec(output, cfg, variables, trained.features, details, args.dtype)
    else:
        from quarkaudio_jax.inference.codec import load_codec
        from quarkaudio_jax.inference.task_model import check_codec

        if not args.codec:
            raise UserError(f"{args.checkpoint} is a language model: name the codec of its data, --codec=CODEC")
        codec = load_codec(args.codec, encoding=False)
        check_codec(trained, codec)
        named = "" if find_builtin(args.codec) is None else args.codec
        pretrained.write_lm(output, *read_lm(args.checkpoint, averaged), details, args.dtype, named)
        if not named:
            codec.save_pretrained(output / CODEC)
    for path in sorted(output.rglob("*.safetensors")):
        print(f"{path}: {_mib(path)}, with config.json and README.md, the model card")


def _detail(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise options.UsageError(f"--detail={text} is not NAME=VALUE")
    return name, value


def _mib(path: pathlib.Path) -> str:
    return f"{path.stat().st_size / 2**20:.1f} MiB"


FORMATS = {"torch": _export_torch, "hub": _export_hub, "stablehlo": _export_stablehlo, "onnx": _export_onnx}
"""Formats of `convert export`."""

"""Import, export, upload and verify weights.

quarkaudio convert import codec.ckpt --output=runs/official
quarkaudio convert export runs/first --output=codec.safetensors
quarkaudio convert export runs/first --format=hub --output=model
quarkaudio convert push model ORG/NAME
quarkaudio convert verify codec.ckpt audio/ --upstream=unified-audio
"""

import argparse
import importlib.util
import pathlib

from quarkaudio_jax.cli import options, outputs, verify
from quarkaudio_jax.cli.common import report_errors, set_up
from quarkaudio_jax.errors import UserError


def _parser() -> options.Parser:
    parser = options.Parser("quarkaudio convert", __doc__)
    commands = parser.add_subparsers(title="commands", dest="command", required=True)

    about = "convert PyTorch weights to a checkpoint"
    command = commands.add_parser("import", help=about, doc=f"{about.capitalize()}.")
    group = command.add_argument_group("input and output")
    group.add_argument(
        "weights",
        metavar="WEIGHTS",
        type=options.path,
        help="a state dict or Lightning checkpoint (.pt, .pth, .ckpt, .bin, .safetensors), or ORG/NAME on the hub",
    )
    options.add_path(group, "output", "folder for the new checkpoint", required=True)
    group = command.add_argument_group("record")
    group.add_argument("--source", default="", help="where the weights come from (default: their path)")
    group.add_argument("--license", default="", help="license of the weights (default: that of the hub's card)")
    command.set_defaults(run=run_import)

    about = "convert a checkpoint to PyTorch weights, a folder for the Hugging Face hub, StableHLO, or ONNX"
    command = commands.add_parser("export", help=about, doc=f"{about[0].upper()}{about[1:]}.")
    group = command.add_argument_group("input and output")
    group.add_argument(
        "checkpoint", metavar="CHECKPOINT", type=options.path, help="a work directory, or one of its checkpoints"
    )
    options.add_path(group, "output", "NAME.safetensors or NAME.pt; a folder for other formats", required=True)
    options.add_overwrite(group)
    group.add_argument("--format", choices=tuple(EXPORTS), default="torch", help="format (default: torch)")
    group.add_argument("--no-average", action="store_true", help="the weights themselves instead of their EMA")
    options.add_number(group, "seconds", "stablehlo, onnx: length of the audio input", float, default=5.0)
    options.add_path(group, "codec", "hub: the codec of a language model")
    group.add_argument("--license", default="", help="hub: license of the weights, for the model card")
    group.add_argument(
        "--detail", metavar="NAME=VALUE", action="append", default=[], help="hub: a row of the model card, repeatable"
    )
    group.add_argument(
        "--dtype",
        choices=("float32", "bfloat16"),
        default="float32",
        help="hub, codecs: of the file (default: float32)",
    )
    command.set_defaults(run=run_export)

    about = "upload a folder of `export --format=hub` to the Hugging Face hub"
    command = commands.add_parser("push", help=about, doc=f"{about.capitalize()}.")
    group = command.add_argument_group("input and output")
    group.add_argument("folder", metavar="FOLDER", type=options.path, help="a folder of export --format=hub")
    group.add_argument("name", metavar="ORG/NAME[@REVISION]", help="the model's name on the hub")
    group.add_argument("--private", action="store_true", help="create a private repository")
    command.set_defaults(run=run_push)

    about = "compare with a checkout of the public code, run with the same weights"
    command = commands.add_parser("verify", help=about, doc=f"{about.capitalize()}.")
    group = command.add_argument_group("input")
    group.add_argument(
        "checkpoint",
        metavar="CHECKPOINT",
        type=options.path,
        help="a work directory, one of its checkpoints, or a weight file, of a codec or UniSE; the folder of BiCodec",
    )
    group.add_argument("audio", metavar="AUDIO", nargs="+", type=options.path, help="audio files or folders of them")
    options.add_path(group, "upstream", "a checkout of alibaba/unified-audio", required=True)
    options.add_path(group, "features", "folder or hub name of the SSL model's weights; random: random features")
    options.add_path(group, "codec", "UniSE: the folder of BiCodec")
    options.add_number(group, "seconds", "length that is compared of each file", float, default=5.0)
    group = command.add_argument_group("limits")
    options.add_number(
        group, "tolerance", "largest difference, relative to the largest absolute value", float, default=1e-3
    )
    options.add_number(group, "min-equal", "smallest fraction of equal codes", float, default=1.0)
    command.set_defaults(run=verify.run)
    return parser


def main(argv: list[str] | None = None) -> None:
    """Entry point of `quarkaudio convert`."""
    args = _parser().parse_args(options.arguments(argv))
    set_up()
    with report_errors():
        args.run(args)


def run_import(args: argparse.Namespace) -> None:
    """Writes the checkpoint, and about.json, a record of where it comes from."""
    from quarkaudio_jax.config import CodecConfig, CodecTrainConfig
    from quarkaudio_jax.weights import record, repository, saved_codec
    from quarkaudio_jax.weights.checkpoint import write_model
    from quarkaudio_jax.weights.files import open_weights
    from quarkaudio_jax.weights.hcodec import on_device
    from quarkaudio_jax.weights.models import CodecModel

    folder = pathlib.Path(args.output) / "checkpoints"
    if folder.is_dir() and any(folder.iterdir()):
        raise UserError(f"{folder} exists already; choose another folder, or remove it")
    outputs.require_folder(args.output)
    path = repository.folder_weights(repository.locate(args.weights))
    weights = open_weights(path)
    cfg = saved_codec.identify_variant(path, weights)
    for note in weights.notes:
        print(f"{args.weights}: {note}")
    print(f"{args.weights}: {cfg.name}, {len(weights.tensors)} tensors")
    features = saved_codec.recorded_features(path, weights, cfg)
    variables = saved_codec.import_codec_weights(path, cfg, weights, on_device)
    config = CodecTrainConfig(codec=CodecConfig(variant=cfg.name), features=features)
    write_model(args.output, config, CodecModel(variables["params"], variables["codebooks"], None))
    license = args.license or repository.card_license(path.with_name(repository.CARD)) or record.NO_LICENSE
    about = record.write_record(args.output, path, cfg.name, args.source or args.weights, license)
    print(f"{args.output}: written; {about}")


def run_export(args: argparse.Namespace) -> None:
    """Writes the checkpoint in the format of --format."""
    if args.format != "hub" and (args.dtype != "float32" or args.detail):
        raise options.UsageError(f"--dtype and --detail are for --format=hub, not {args.format}")
    EXPORTS[args.format](args, pathlib.Path(args.output))


def _export_torch(args: argparse.Namespace, output: pathlib.Path) -> None:
    from quarkaudio_jax.codec.variants import published_front_end
    from quarkaudio_jax.weights.files import check_writable, write_tensors
    from quarkaudio_jax.weights.hcodec import export_hcodec
    from quarkaudio_jax.weights.saved_codec import feature_metadata, read_codec

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
    from quarkaudio_jax.config import LMTrainConfig
    from quarkaudio_jax.weights import pretrained
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
        if args.dtype != "float32":
            raise UserError(f"{args.checkpoint} is a language model: --dtype={args.dtype} is for codecs")
        codec = load_codec(args.codec, encoding=False)
        check_codec(trained, codec)
        pretrained.write_lm(output, *read_lm(args.checkpoint, averaged), details)
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


EXPORTS = {"torch": _export_torch, "hub": _export_hub, "stablehlo": _export_stablehlo, "onnx": _export_onnx}
"""Formats of `convert export`."""


def run_push(args: argparse.Namespace) -> None:
    """Uploads a folder."""
    from quarkaudio_jax.weights.pretrained import push

    print(push(args.folder, args.name, args.private))

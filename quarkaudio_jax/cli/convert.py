"""Import, export, upload and verify weights.

quarkaudio convert import codec.ckpt --output=runs/official
quarkaudio convert export runs/first --output=codec.safetensors
quarkaudio convert export runs/first --format=hub --output=model
quarkaudio convert push model ORG/NAME
quarkaudio convert verify codec.ckpt audio/ --upstream=unified-audio
"""

import argparse
import pathlib

from quarkaudio_jax.cli import export, options, outputs, verify
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
    group.add_argument("--format", choices=tuple(export.FORMATS), default="torch", help="format (default: torch)")
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
    command.set_defaults(run=export.run)

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
    from quarkaudio_jax.weights import repository, saved_codec, saved_unise
    from quarkaudio_jax.weights.checkpoint import write_model
    from quarkaudio_jax.weights.files import open_weights
    from quarkaudio_jax.weights.hcodec import on_device
    from quarkaudio_jax.weights.models import CodecModel
    from quarkaudio_jax.weights.saved_bicodec import bicodec_folder

    folder = pathlib.Path(args.output) / "checkpoints"
    if folder.is_dir() and any(folder.iterdir()):
        raise UserError(f"{folder} exists already; choose another folder, or remove it")
    outputs.require_folder(args.output)
    path = repository.folder_weights(repository.locate(args.weights))
    if bicodec_folder(path) is not None:
        raise UserError(
            f"{args.weights} is BiCodec, which needs no conversion: name it as it is (--codec, load_bicodec)"
        )
    if saved_unise.is_unise(path):
        return _import_unise(args, path)
    weights = open_weights(path)
    cfg = saved_codec.identify_variant(path, weights)
    for note in weights.notes:
        print(f"{args.weights}: {note}")
    print(f"{args.weights}: {cfg.name}, {len(weights.tensors)} tensors")
    features = saved_codec.recorded_features(path, weights, cfg)
    variables = saved_codec.import_codec_weights(path, cfg, weights, on_device)
    config = CodecTrainConfig(codec=CodecConfig(variant=cfg.name), features=features)
    write_model(args.output, config, CodecModel(variables["params"], variables["codebooks"], None))
    _record(args, path, cfg.name)


def _import_unise(args: argparse.Namespace, path: pathlib.Path) -> None:
    from quarkaudio_jax.lm.variants import configured_unise
    from quarkaudio_jax.weights.backbone import read_unise
    from quarkaudio_jax.weights.checkpoint import write_model
    from quarkaudio_jax.weights.models import LMModel
    from quarkaudio_jax.weights.saved_unise import train_config

    config = train_config(path)
    params = read_unise(path, configured_unise(config))
    print(f"{args.weights}: UniSE, {config.lm.size}")
    write_model(args.output, config, LMModel(params, None))
    _record(args, path, "unise")


def _record(args: argparse.Namespace, path: pathlib.Path, variant: str) -> None:
    """Writes about.json. path: of the weight file."""
    from quarkaudio_jax.weights import record, repository

    license = args.license or repository.card_license(path.with_name(repository.CARD)) or record.NO_LICENSE
    about = record.write_record(args.output, path, variant, args.source or args.weights, license)
    print(f"{args.output}: written; {about}")


def run_push(args: argparse.Namespace) -> None:
    """Uploads a folder."""
    from quarkaudio_jax.weights.pretrained import push

    print(push(args.folder, args.name, args.private))

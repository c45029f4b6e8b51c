"""Weights between the public PyTorch code and us: python -m quarkaudio_jax.convert import codec.ckpt --output=runs/official"""

import argparse
import importlib.util
import pathlib
import sys
from collections.abc import Iterator
from typing import Any

from quarkaudio_jax.cli import outputs
from quarkaudio_jax.cli.common import end_with, report_errors, set_up
from quarkaudio_jax.errors import QuarkAudioError, UserError, is_exhausted, named, system_errors
from quarkaudio_jax.types import round_up


def main(argv: list[str] | None = None) -> None:
    """Entry point of `python -m quarkaudio_jax.convert` and `quarkaudio convert`."""
    argv = sys.argv if argv is None else argv
    parser = argparse.ArgumentParser(prog=argv[0], description="Converts codec weights from and to PyTorch.")
    commands = parser.add_subparsers(dest="command", required=True)

    into = commands.add_parser("import", help="PyTorch weights to a checkpoint")
    into.add_argument(
        "weights", type=outputs.path, help="a state dict or Lightning checkpoint (.pt, .pth, .ckpt, .bin, .safetensors)"
    )
    into.add_argument("--output", required=True, type=outputs.path, help="the new checkpoint's folder")
    into.add_argument("--source", default="", help="where the weights come from, for the record (default: the path)")
    into.add_argument("--license", default="not stated", help="the weights' license, for the record")
    into.set_defaults(run=run_import)

    out = commands.add_parser("export", help="a checkpoint to PyTorch weights, or to StableHLO programs")
    out.add_argument("checkpoint", type=outputs.path, help="a work directory, or one of its checkpoints")
    out.add_argument(
        "--output", required=True, type=outputs.path, help="NAME.safetensors or NAME.pt; for stablehlo a folder"
    )
    outputs.add_overwrite(out)
    out.add_argument("--format", choices=("torch", "stablehlo"), default="torch")
    out.add_argument("--no-average", action="store_true", help="the weights themselves instead of their average")
    out.add_argument("--seconds", type=float, default=5.0, help="stablehlo: length of the audio that goes in")
    out.set_defaults(run=run_export)

    check = commands.add_parser("verify", help="run a checkout of the public code beside ours, with the same weights")
    check.add_argument(
        "checkpoint", type=outputs.path, help="a work directory, one of its checkpoints, or a weight file"
    )
    check.add_argument("audio", nargs="+", type=outputs.path, help="audio files or folders of them")
    check.add_argument("--upstream", required=True, type=outputs.path, help="a checkout of alibaba/unified-audio")
    check.add_argument(
        "--features",
        default="",
        type=outputs.path,
        help="folder or hub name of the SSL model; random: made-up features",
    )
    check.add_argument(
        "--tolerance", type=float, default=1e-3, help="largest difference, as a share of the largest value"
    )
    check.add_argument("--min-equal", type=float, default=1.0, help="smallest share of equal codes")
    check.add_argument("--seconds", type=float, default=5.0, help="how much of each file is compared")
    check.set_defaults(run=run_verify)

    args = parser.parse_args(argv[1:])
    set_up()
    with report_errors():
        args.run(args)


def run_import(args: argparse.Namespace) -> None:
    """Writes the checkpoint, and beside it about.json, which says what it is."""
    from quarkaudio_jax.config import CodecConfig, CodecTrainConfig
    from quarkaudio_jax.weights import saved_codec
    from quarkaudio_jax.weights.checkpoint import write_model
    from quarkaudio_jax.weights.files import open_weights
    from quarkaudio_jax.weights.hcodec import on_device
    from quarkaudio_jax.weights.models import CodecModel
    from quarkaudio_jax.weights.record import write_record

    folder = pathlib.Path(args.output) / "checkpoints"
    if folder.is_dir() and any(folder.iterdir()):
        raise UserError(f"{folder} exists already; choose another folder, or remove it")
    outputs.require_folder(args.output)
    weights = open_weights(args.weights)
    cfg = saved_codec.identify_variant(args.weights, weights)
    for note in weights.notes:
        print(f"{args.weights}: {note}")
    print(f"{args.weights}: {cfg.name}, {len(weights.tensors)} tensors")
    features = saved_codec.recorded_features(args.weights, weights, cfg)
    variables = saved_codec.import_codec_weights(args.weights, cfg, weights, on_device)
    config = CodecTrainConfig(codec=CodecConfig(variant=cfg.name), features=features)
    write_model(args.output, config, CodecModel(variables["params"], variables["codebooks"], None))
    record = write_record(args.output, args.weights, cfg.name, args.source, args.license)
    print(f"{args.output}: written; {record}")


def run_export(args: argparse.Namespace) -> None:
    """Writes the PyTorch file, or the folder of StableHLO programs."""
    from quarkaudio_jax.weights.files import check_writable, write_tensors
    from quarkaudio_jax.weights.saved_codec import feature_metadata, read_codec

    output = pathlib.Path(args.output)
    if args.format == "stablehlo":
        outputs.require_empty(output, args.overwrite)
        if importlib.util.find_spec("flatbuffers") is None:
            raise UserError("--format=stablehlo needs the package flatbuffers: pip install flatbuffers")
        from quarkaudio_jax.weights.stablehlo import export_programs

        cfg, variables, _ = read_codec(args.checkpoint, averaged=not args.no_average)
        for path in export_programs(cfg, variables, output, args.seconds):
            print(f"{path}: {path.stat().st_size / 2**20:.1f} MiB")
        return
    from quarkaudio_jax.codec.variants import published_front_end
    from quarkaudio_jax.weights.hcodec import export_hcodec

    check_writable(output)
    outputs.require_free(output, args.overwrite)
    cfg, variables, trained = read_codec(args.checkpoint, averaged=not args.no_average)
    metadata = {"format": "pt", "variant": cfg.name, "source": str(args.checkpoint)}
    metadata |= feature_metadata(trained.features)
    tensors = export_hcodec(cfg, variables, consume=True)
    write_tensors(output, tensors, metadata)
    about = f"{len(tensors)} tensors, {output.stat().st_size / 2**20:.1f} MiB, features {trained.features.recipe}"
    print(f"{output}: {cfg.name}, {about}")
    if published_front_end(cfg) != cfg:
        print(
            f"note: {cfg.name} fades phases where the spectrum is empty and the public code does not, so its acoustic "
            "codes there are others; the name of the variant is in the file's metadata, which we read"
        )


def run_verify(args: argparse.Namespace) -> None:
    """Prints one row an output; SystemExit names what does not hold, and the first module where both part.

    A file that can't be read is named, the others go on.
    """
    from quarkaudio_jax.codec.variants import published_front_end
    from quarkaudio_jax.io import audio
    from quarkaudio_jax.weights import saved_codec, ssl, upstream, verify

    files = [
        p for name in args.audio for p in (audio.find(pathlib.Path(name)) if pathlib.Path(name).is_dir() else [name])
    ]
    if not files:
        raise UserError(f"no audio files in {', '.join(args.audio)}")
    module, missing = upstream.import_upstream(args.upstream, saved_codec.read_codec_config(args.checkpoint))
    if missing:
        print(f"not installed, and not used by inference: {', '.join(missing)}")
    trained, variables, features = saved_codec.read_any_codec(args.checkpoint)
    cfg = published_front_end(trained)
    if cfg != trained:
        print(f"{trained.name} is compared as {cfg.name}: the public code knows no fading of phases\n")
    made_up = args.features == "random"
    extractor = None if made_up else ssl.codec_extractor(features, args.features)
    model = upstream.load_upstream(module, cfg, variables)
    variables = verify.unstacked(variables)  # in place of the stacked ones, for memory's sake
    print(f"{cfg.name}: the original took the weights (strict)\n")
    print("| file | output | largest difference | equal codes | |\n| --- | --- | ---: | ---: | --- |")
    failed: list[str] = []
    for path in files:
        try:
            with system_errors(path):
                for row in _compared(args, path, cfg, variables, (extractor, features), model):
                    failed += _shown(args, path, row)
        except QuarkAudioError as error:
            if is_exhausted(error):
                raise
            failed.append(named(path, error))
    end_with(failed)


def _compared(args: argparse.Namespace, path: str, cfg, variables, features, model) -> Iterator[Any]:
    """A row for every output of a file. features: the extractor and its source."""
    import numpy as np

    from quarkaudio_jax.io import audio
    from quarkaudio_jax.io.transforms import resample, to_mono
    from quarkaudio_jax.weights import ssl, verify

    extractor, source = features
    samples, rate = audio.read(path)
    whole = resample(to_mono(samples), rate, cfg.sample_rate)
    frames = min(cfg.num_frames(len(whole)), max(round(args.seconds * cfg.frame_rate), 1))
    wave = whole[: frames * cfg.frame_hop]
    wave = np.pad(wave, (0, frames * cfg.frame_hop - len(wave)))[None]
    shape = (1, frames * cfg.semantic.stride, cfg.semantic.feature_dim)
    if extractor is None:
        feats = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    else:
        lengths = np.asarray([wave.shape[1]], np.int32)
        size = (cfg.sample_rate, cfg.feature_hop, shape[-1])
        feats = np.asarray(extractor(extractor.params, wave, *size, lengths_B=lengths))
    yield from verify.compare(cfg, variables, model, wave, feats, args.tolerance)
    if extractor is not None and extractor.cfg is not None:
        long = round_up(round(FEATURE_SECONDS * cfg.sample_rate), cfg.frame_hop)
        long = np.resize(whole, max(long, wave.shape[1]))
        folder = ssl.find_ssl(source.recipe, args.features or source.weights, source.model).folder
        yield verify.compare_features(extractor, folder, long, cfg.sample_rate, cfg.feature_hop)


def _shown(args: argparse.Namespace, path: str, row) -> list[str]:
    """Prints a row; a line if it does not hold."""
    good = row.holds(args.tolerance, args.min_equal)
    equal = "" if row.equal is None else f"{100 * row.equal:.2f} %"
    difference = f"{row.difference:.1e}" if row.equal is None else ""
    if row.own is not None:
        told = f"{100 * row.own:.2f} %" if row.equal is not None else f"{row.own:.1e}"
        equal, difference = (f"{x} (its own {told})" if x else "" for x in (equal, difference))
    print(f"| {path} | {row.name} | {difference} | {equal} | {'' if good else 'FAILS'} |", flush=True)
    return [] if good else [f"{path}: {row.name} differs; the first to part is {row.part}"]


FEATURE_SECONDS = 13.0
"""Of each file, repeated if it is shorter, on which `convert verify` compares the SSL features, at least."""

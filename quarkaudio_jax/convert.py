"""Weights between the public PyTorch code and us: python -m quarkaudio_jax.convert import codec.ckpt --output=runs/official"""

import argparse
import importlib.util
import pathlib
import sys

from quarkaudio_jax.cli import report_errors, set_up
from quarkaudio_jax.errors import UserError


def main(argv: list[str] | None = None) -> None:
    """Entry point of `python -m quarkaudio_jax.convert` and `quarkaudio convert`."""
    argv = sys.argv if argv is None else argv
    parser = argparse.ArgumentParser(prog=argv[0], description="Converts codec weights from and to PyTorch.")
    commands = parser.add_subparsers(dest="command", required=True)

    into = commands.add_parser("import", help="PyTorch weights to a checkpoint")
    into.add_argument("weights", help="a state dict or Lightning checkpoint (.pt, .pth, .ckpt, .bin, .safetensors)")
    into.add_argument("--output", required=True, help="the new checkpoint's folder")
    into.add_argument("--source", default="", help="where the weights come from, for the record (default: the path)")
    into.add_argument("--licence", default="not stated", help="the weights' licence, for the record")
    into.set_defaults(run=run_import)

    out = commands.add_parser("export", help="a checkpoint to PyTorch weights, or to StableHLO programs")
    out.add_argument("checkpoint", help="a work directory, or one of its checkpoints")
    out.add_argument("--output", required=True, help="NAME.safetensors or NAME.pt; for stablehlo a folder")
    out.add_argument("--format", choices=("torch", "stablehlo"), default="torch")
    out.add_argument("--no-average", action="store_true", help="the weights themselves instead of their average")
    out.add_argument("--seconds", type=float, default=5.0, help="stablehlo: length of the audio that goes in")
    out.set_defaults(run=run_export)

    check = commands.add_parser("verify", help="run a checkout of the public code beside ours, with the same weights")
    check.add_argument("checkpoint", help="a work directory, one of its checkpoints, or a weight file")
    check.add_argument("audio", nargs="+", help="audio files or folders of them")
    check.add_argument("--upstream", required=True, help="a checkout of alibaba/unified-audio")
    check.add_argument("--features", default="", help="folder or hub name of the SSL model; random: made-up features")
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
    from quarkaudio_jax.bridge import files
    from quarkaudio_jax.bridge.hcodec import import_hcodec, on_device, recognise
    from quarkaudio_jax.bridge.record import write_record
    from quarkaudio_jax.codec.variants import UPSTREAM_FEATURES
    from quarkaudio_jax.schema import CodecConfig, CodecTrainConfig, FeatureConfig
    from quarkaudio_jax.training.checkpoint import write_model
    from quarkaudio_jax.training.codec_program import CodecModel

    tensors = files.open_tensors(args.weights)
    cfg = recognise(tensors, files.read_metadata(args.weights).get("variant", ""))
    print(f"{args.weights}: {cfg.name}, {len(tensors)} tensors")
    variables = import_hcodec(cfg, tensors, consume=True, place=on_device)
    recipe = UPSTREAM_FEATURES[cfg.semantic.feature_dim]
    config = CodecTrainConfig(codec=CodecConfig(variant=cfg.name), features=FeatureConfig(recipe=recipe))
    write_model(args.output, config, CodecModel(variables["params"], variables["codebooks"], None))
    record = write_record(args.output, args.weights, cfg.name, args.source, args.licence)
    print(f"{args.output}: written; {record}")


def run_export(args: argparse.Namespace) -> None:
    """Writes the PyTorch file, or the folder of StableHLO programs."""
    from quarkaudio_jax.training.saved_codec import read_codec

    cfg, variables, _ = read_codec(args.checkpoint, averaged=not args.no_average)
    output = pathlib.Path(args.output)
    if args.format == "stablehlo":
        if importlib.util.find_spec("flatbuffers") is None:
            raise UserError("--format=stablehlo needs the package flatbuffers: pip install flatbuffers")
        from quarkaudio_jax.bridge.stablehlo import export_programs

        for path in export_programs(cfg, variables, output, args.seconds):
            print(f"{path}: {path.stat().st_size / 2**20:.1f} MiB")
        return
    if output.suffix not in (".safetensors", ".pt", ".pth"):
        raise UserError(f"--output={output}: the name should end in .safetensors, .pt or .pth")
    from quarkaudio_jax.bridge.files import write_tensors
    from quarkaudio_jax.bridge.hcodec import export_hcodec
    from quarkaudio_jax.codec.variants import published_front_end

    tensors = export_hcodec(cfg, variables, consume=True)
    write_tensors(output, tensors, {"format": "pt", "variant": cfg.name, "source": str(args.checkpoint)})
    print(f"{output}: {cfg.name}, {len(tensors)} tensors, {output.stat().st_size / 2**20:.1f} MiB")
    if published_front_end(cfg) != cfg:
        kept = "is in the file's metadata, which we read" if output.suffix == ".safetensors" else "is not in the file"
        print(
            f"note: {cfg.name} fades phases where the spectrum is empty and the public code does not, so its acoustic "
            f"codes there are others; the name of the variant {kept}"
        )


def run_verify(args: argparse.Namespace) -> None:
    """Prints one row an output; SystemExit names what does not hold, and the first module where both part."""
    import numpy as np

    from quarkaudio_jax.bridge.ssl import load_extractor
    from quarkaudio_jax.bridge.upstream import compare, load_upstream
    from quarkaudio_jax.codec.variants import published_front_end
    from quarkaudio_jax.data import audio
    from quarkaudio_jax.data.transforms import resample, to_mono
    from quarkaudio_jax.training.saved_codec import read_any

    files = [
        p for name in args.audio for p in (audio.find(pathlib.Path(name)) if pathlib.Path(name).is_dir() else [name])
    ]
    if not files:
        raise UserError(f"no audio files in {', '.join(args.audio)}")
    trained, variables, features = read_any(args.checkpoint)
    cfg = published_front_end(trained)
    if cfg != trained:
        print(f"{trained.name} is compared as {cfg.name}: the public code knows no fading of phases\n")
    made_up = args.features == "random"
    extractor = None if made_up else load_extractor(features.recipe, args.features or features.weights)
    model = load_upstream(args.upstream, cfg, variables)
    print(f"{cfg.name}: the original took the weights (strict)\n")
    print("| file | output | largest difference | equal codes | the original to itself, its STFT in float64 | |")
    print("| --- | --- | ---: | ---: | ---: | --- |")
    failed = []
    for path in files:
        samples, rate = audio.read(path)
        wave = resample(to_mono(samples)[:, None], rate, cfg.sample_rate)[:, 0]
        frames = min(cfg.num_frames(len(wave)), max(round(args.seconds * cfg.frame_rate), 1))
        wave = wave[: frames * cfg.frame_hop]
        wave = np.pad(wave, (0, frames * cfg.frame_hop - len(wave)))[None]
        shape = (1, frames * cfg.semantic.stride, cfg.semantic.feature_dim)
        if made_up:
            feats = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
        else:
            feats = np.asarray(extractor(extractor.params, wave, cfg.sample_rate, cfg.feature_hop, shape[-1]))
        rows, parting = compare(cfg, variables, model, wave, feats, args.tolerance)
        for row in rows:
            good = row.holds(args.tolerance, args.min_equal)
            equal = "" if row.equal is None else f"{100 * row.equal:.2f} %"
            difference = f"{row.difference:.1e}" if row.equal is None else ""
            own = (
                ""
                if not row.own and row.judged
                else f"{row.own:.1e}"
                if row.equal is None
                else f"{100 * (1 - row.own):.2f} %"
            )
            verdict = "FAILS" if not good else "" if row.judged else "hangs on rounding"
            print(f"| {path} | {row.name} | {difference} | {equal} | {own} | {verdict} |", flush=True)
            if not good:
                failed.append(f"{path}: {row.name} differs" + (f"; the first to part is {parting}" if parting else ""))
    if failed:
        raise SystemExit("\n".join(failed))


if __name__ == "__main__":
    main()

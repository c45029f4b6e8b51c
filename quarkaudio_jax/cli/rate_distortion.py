"""Rate against distortion: quarkaudio rate-distortion speech/ --checkpoint=runs/first --output=curves"""

import argparse
import pathlib
import sys

from quarkaudio_jax.cli import outputs
from quarkaudio_jax.cli.common import end_with, report_errors, set_up
from quarkaudio_jax.errors import UserError


def main(argv: list[str] | None = None) -> None:
    """Entry point of `quarkaudio rate-distortion` and `quarkaudio rate-distortion`."""
    argv = sys.argv if argv is None else argv
    parser = argparse.ArgumentParser(
        prog=argv[0],
        description="Draws what reconstructions lose against what their codes cost, by number of codebooks and, for an "
        "adaptive codec, by threshold: rate_distortion.csv and rate_distortion.png.",
    )
    parser.add_argument("reference", type=outputs.path, help="a folder of audio, or one file")
    parser.add_argument("--checkpoint", nargs="+", required=True, type=outputs.path, help="one codec or several")
    parser.add_argument(
        "--features", default="", type=outputs.path, help="folder or hub name of the SSL model, if it is not found"
    )
    parser.add_argument("--metrics", default="mel_distance", help="names by commas, of metrics that need no weights")
    for kind, name in (("encodec", "EnCodec"), ("dac", "DAC"), ("mimi", "Mimi")):
        about = f"draw {name} as well: hub name or folder (transformers)"
        parser.add_argument(f"--{kind}", default="", type=outputs.path, help=about)
    parser.add_argument("--output", required=True, type=outputs.path, help="folder for the table and the picture")
    outputs.add_overwrite(parser)
    args = parser.parse_args(argv[1:])
    set_up()
    with report_errors():
        run(args)


def run(args: argparse.Namespace) -> None:
    """Prints each point as it comes; writes table and picture."""
    from quarkaudio_jax.evaluation import baselines, datasets, rate_distortion
    from quarkaudio_jax.evaluation.measures import choose
    from quarkaudio_jax.inference.codec import load_codec

    root, folder = pathlib.Path(args.reference), pathlib.Path(args.output)
    if not root.exists():
        raise UserError(f"{root}: no such file or folder")
    names = [name.strip() for name in args.metrics.split(",")]
    metrics, judges, refused = choose(names, True, {})
    if refused or judges:
        raise UserError(f"curves take metrics that need no weights: {'; '.join(refused)}")
    outputs.require_folder(folder)
    table, picture = folder / "curves.csv", folder / "curves.png"
    for made in (table, picture):
        outputs.require_free(made, args.overwrite)
    others = [baselines.Peer(kind, weights) for kind in baselines.KINDS if (weights := getattr(args, kind))]
    originals, failed = rate_distortion.read_all([item.source for item in datasets.folder(root)])
    if not originals:
        end_with(failed)
    codecs = [load_codec(path, args.features) for path in args.checkpoint]
    points = []
    for point in rate_distortion.measure(originals, codecs, others, [m.name for m in metrics]):
        points.append(point)
        values = ", ".join(f"{k} {v:.3f}" for k, v in point.values.items())
        print(f"{point.codec}, {point.setting}: {point.rate:.3f} kbit/s, {values}", flush=True)
    rate_distortion.write_csv(table, points)
    rate_distortion.draw(picture, points, f"{len(originals)} recordings of {root.name}")
    print(f"{table} and {picture}")
    end_with(failed)

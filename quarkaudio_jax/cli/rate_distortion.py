"""Plot the distortion of reconstructions against the bit rate of their codes.

quarkaudio rate-distortion speech/ --checkpoint=runs/first --output=results

Writes rate_distortion.csv and rate_distortion.png: a point for each number of codebooks and, for
an adaptive codec, for each threshold.
"""

import argparse
import pathlib

from quarkaudio_jax.cli import options, outputs
from quarkaudio_jax.cli.common import exit_if_failed, report_errors, set_up
from quarkaudio_jax.cli.options import UsageError
from quarkaudio_jax.errors import UserError
from quarkaudio_jax.report.progress import show

BASELINES = {"encodec": "EnCodec", "dac": "descript-audio-codec", "mimi": "Mimi"}
"""Options of public codecs -> their names."""


def main(argv: list[str] | None = None) -> None:
    """Entry point of `quarkaudio rate-distortion`."""
    parser = options.Parser("quarkaudio rate-distortion", __doc__)
    group = parser.add_argument_group("input and output")
    group.add_argument("reference", metavar="INPUT", type=options.path, help="a folder of audio, or one file")
    options.add_path(group, "output", "folder for the table and the picture", required=True)
    options.add_overwrite(group)
    group = parser.add_argument_group("codecs")
    options.add_path(group, "checkpoint", "one codec or several", nargs="+", required=True)
    options.add_features(group)
    for kind, name in BASELINES.items():
        options.add_path(group, kind, f"add {name}: hub name or folder of a transformers model")
    group = parser.add_argument_group("metrics")
    group.add_argument(
        "--metrics",
        default="mel_distance",
        metavar="NAMES",
        help="comma-separated metrics that need no weights (default: mel_distance)",
    )
    args = parser.parse_args(options.arguments(argv))
    set_up()
    with report_errors():
        run(args)


def run(args: argparse.Namespace) -> None:
    """Prints each point as it is measured; writes the table and the picture."""
    from quarkaudio_jax.evaluation import baselines, datasets, rate_distortion
    from quarkaudio_jax.evaluation.measures import select_metrics
    from quarkaudio_jax.inference.codec import load_codec

    root, folder = pathlib.Path(args.reference), pathlib.Path(args.output)
    if not root.exists():
        raise UserError(f"{root}: no such file or folder")
    names = [name.strip() for name in args.metrics.split(",")]
    metrics, models, refused = select_metrics(names, True, {})
    if refused or models:
        raise UsageError(f"rate-distortion takes metrics that need no weights: {'; '.join(refused)}")
    outputs.require_folder(folder)
    table, picture = folder / "rate_distortion.csv", folder / "rate_distortion.png"
    for file in (table, picture):
        outputs.require_free(file, args.overwrite)
    others = [baselines.Baseline(kind, weights) for kind in baselines.CLASSES if (weights := getattr(args, kind))]
    originals, failed = rate_distortion.read_all([item.source for item in datasets.folder(root)])
    if not originals:
        exit_if_failed(failed)
    codecs = [load_codec(path, args.features) for path in args.checkpoint]
    points = []
    for point in rate_distortion.measure(originals, codecs, others, [m.name for m in metrics]):
        points.append(point)
        values = ", ".join(f"{k} {v:.3f}" for k, v in point.values.items())
        show(f"{point.codec}, {point.setting}: {point.rate:.3f} kbit/s, {values}")
    rate_distortion.write_csv(table, points)
    rate_distortion.plot(picture, points, f"{len(originals)} recordings of {root.name}")
    print(f"{table} and {picture}")
    exit_if_failed(failed)

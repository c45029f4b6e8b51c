"""Output of a language model for held-out voices and sentences, with 95 % bootstrap intervals.

    python -m benchmarks.tasks --checkpoint=runs/lm --codec=runs/codec --output=listen [--speech=voices:clean/test]

For each task: metrics (by default the multi-scale mel distance to the target) of the unprocessed input, of the model's
output, and of the codec's reconstruction of the target, the bound of any language model over its codes. Writes the sounds
and a picture of the first three examples of each task, and every figure, into the output folder.
"""

import argparse
import csv
import pathlib

import numpy as np

from benchmarks.common import machine
from quarkaudio_jax import load_codec, load_task_model
from quarkaudio_jax.config import SourcesConfig
from quarkaudio_jax.data.simulation.example import Inputs
from quarkaudio_jax.data.simulation.registry import simulate
from quarkaudio_jax.lm.sampling import Sampling
from quarkaudio_jax.metrics.registry import HIGHER, METRICS
from quarkaudio_jax.report.pictures import save_sample
from quarkaudio_jax.tokens.tasks import TASKS
from quarkaudio_jax.weights.repository import folder_weights, locate, own_codec

HELD_OUT = SourcesConfig(
    speech="embedded:speech/test",
    events="embedded:events/test",
    music="embedded:music/test",
    noise="embedded:events/test,embedded:music/test",
)
WAVES = ("input", "output", "codec")


def fitted(wave_S: np.ndarray, count: int) -> np.ndarray:
    """Cut or filled with silence to `count` samples."""
    return np.pad(wave_S[:count], (0, max(count - len(wave_S), 0)))


def measured(names: list[str], target_S: np.ndarray, wave_S: np.ndarray, rate: int) -> dict[str, float]:
    """Column -> value of the metrics of those names."""
    found = {}
    for name in names:
        metric = METRICS[name]
        assert metric.compute is not None
        if metric.needs:
            found[name] = float(metric.compute(target_S, wave_S, rate))
        else:
            found.update(metric.compute(wave_S, rate))
    return found


def mean_and_interval(values: np.ndarray) -> str:
    """The mean and the 95 % interval of the means of 2000 resamples, as text."""
    rng = np.random.default_rng(0)
    means = values[rng.integers(len(values), size=(2000, len(values)))].mean(1)
    low, high = np.quantile(means, (0.025, 0.975))
    return f"{values.mean():.2f} ({low:.2f} to {high:.2f})"


def table(task: str, rows: list[dict[str, dict[str, float]]]) -> list[str]:
    """A line of the table for each column. rows: of each example, wave -> column -> value."""
    lines = []
    for column in rows[0]["output"]:
        values = {wave: np.array([row[wave][column] for row in rows]) for wave in WAVES}
        better = (values["output"] > values["input"]) if HIGHER[column] else (values["output"] < values["input"])
        cells = [mean_and_interval(values[wave]) for wave in WAVES]
        lines.append(f"| {task} | {column} | {' | '.join(cells)} | {int(better.sum())} of {len(rows)} |")
    return lines


def main(argv: list[str] | None = None) -> None:
    """Prints the table and writes the samples."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--codec", default="", help="if it does not come with the model")
    parser.add_argument("--output", required=True)
    parser.add_argument("--tasks", default="", help="some of the model's, with commas between (default: all)")
    parser.add_argument("--examples", type=int, default=32, help="of each task")
    parser.add_argument("--metrics", default="mel_distance", help="names of metrics.registry with commas between")
    parser.add_argument("--temperature", type=float, default=0.0)
    for field in ("speech", "events", "music", "noise"):
        parser.add_argument(f"--{field}", default=getattr(HELD_OUT, field), help="audio source of the simulation")
    args = parser.parse_args(argv)
    metrics = args.metrics.split(",")
    if unknown := sorted({*metrics} - {name for name, metric in METRICS.items() if metric.compute}):
        parser.error(f"--metrics: {', '.join(unknown)} is none of those that need no model")
    model = load_task_model(args.checkpoint, args.codec, batch=1)
    codec = load_codec(args.codec or own_codec(folder_weights(locate(args.checkpoint))))
    rate, output = model.sample_rate, pathlib.Path(args.output)
    sources = SourcesConfig(args.speech, args.events, args.music, args.noise)
    inputs = Inputs(sources, prepared_like(model), rate)
    print(f"{machine()}; {args.examples} examples of each task")
    print("| task | metric | input | output | codec's own | output better than input |")
    print("| --- | --- | ---: | ---: | ---: | ---: |")
    output.mkdir(parents=True, exist_ok=True)
    with (output / "figures.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("task", "example", "wave", "metric", "value"))
        for task in args.tasks.split(",") if args.tasks else model.tasks:
            rows = []
            for index in range(args.examples):
                example, _ = simulate(task, inputs, 1, index)
                voice = (example.reference_S, rate) if TASKS[task].reference else None
                how = dict(text=example.text, reference=voice, sampling=Sampling(args.temperature), seed=index)
                target = example.target_S
                waves = {
                    "input": example.source_S,
                    "output": model(task, example.source_S, **how),
                    "codec": codec.reconstruct(target),
                    "target": target,
                }
                waves = {name: fitted(wave, len(target)) for name, wave in waves.items()}
                rows.append({name: measured(metrics, target, waves[name], rate) for name in WAVES})
                for name, columns in rows[-1].items():
                    writer.writerows((task, index, name, column, value) for column, value in columns.items())
                if index < 3:
                    save_sample(output, f"{task}_{index} {example.text}".strip(), waves, rate)
            print("\n".join(table(task, rows)), flush=True)


def prepared_like(model):
    """The simulation that the model's examples were made with, as far as its dataset tells: the same length."""
    from quarkaudio_jax.config import PrepareConfig, from_config_dict
    from quarkaudio_jax.configs.prepare import get_config

    config = get_config("tiny")
    config.simulation.seconds = model.cfg.dataset.seconds
    return from_config_dict(config, PrepareConfig).simulation


if __name__ == "__main__":
    main()

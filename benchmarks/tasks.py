"""Output of a language model for held-out voices and sentences.

    python -m benchmarks.tasks --checkpoint=runs/lm --codec=runs/codec --output=listen

For each task: multi-scale mel distance to the target of the unprocessed input, of the model's output, and of the
codec's reconstruction of the target, the lower bound of any language model over its codes. Writes the sounds and a picture
of the first example of each task into the output folder.
"""

import argparse
import pathlib

import numpy as np

from benchmarks.common import machine
from quarkaudio_jax import load_codec, load_task_model
from quarkaudio_jax.config import SourcesConfig
from quarkaudio_jax.data.simulation.example import Inputs
from quarkaudio_jax.data.simulation.registry import simulate
from quarkaudio_jax.lm.sampling import Sampling
from quarkaudio_jax.metrics.reconstruction import mel_distance
from quarkaudio_jax.report.pictures import save_sample
from quarkaudio_jax.tokens.tasks import TASKS

HELD_OUT = SourcesConfig(
    speech="embedded:speech/test",
    events="embedded:events/test",
    music="embedded:music/test",
    noise="embedded:events/test,embedded:music/test",
)


def fitted(wave_S: np.ndarray, count: int) -> np.ndarray:
    """Cut or filled with silence to `count` samples."""
    return np.pad(wave_S[:count], (0, max(count - len(wave_S), 0)))


def main() -> None:
    """Prints the table and writes the samples."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--codec", required=True)
    parser.add_argument("--output", required=True)
    parser.add_argument("--examples", type=int, default=16, help="of each task")
    parser.add_argument("--temperature", type=float, default=0.0)
    args = parser.parse_args()
    model = load_task_model(args.checkpoint, args.codec, batch=1)
    codec = load_codec(args.codec)
    rate = model.sample_rate
    inputs = Inputs(HELD_OUT, prepared_like(model), rate)
    print(f"{machine()}; {args.examples} examples of each task")
    print("| task | input | output | codec's own | output nearer than input |\n| --- | ---: | ---: | ---: | ---: |")
    for task in model.tasks:
        rows = []
        for index in range(args.examples):
            example, _ = simulate(task, inputs, 1, index)
            voice = (example.reference_S, rate) if TASKS[task].reference else None
            how = dict(text=example.text, reference=voice, sampling=Sampling(args.temperature), seed=index)
            output = model(task, example.source_S, **how)
            target = example.target_S
            waves = {
                "input": example.source_S,
                "output": output,
                "codec": codec.reconstruct(target),
                "target": target,
            }
            waves = {name: fitted(wave, len(target)) for name, wave in waves.items()}
            rows.append([mel_distance(target, waves[name], rate) for name in ("input", "output", "codec")])
            if index < 3:
                save_sample(pathlib.Path(args.output), f"{task}_{index} {example.text}".strip(), waves, rate)
        before, after, best = np.mean(rows, axis=0)
        nearer = sum(row[1] < row[0] for row in rows)
        print(f"| {task} | {before:.2f} | {after:.2f} | {best:.2f} | {nearer} of {len(rows)} |", flush=True)


def prepared_like(model):
    """The simulation that the model's examples were made with, as far as its dataset tell: the same length."""
    from quarkaudio_jax.config import PrepareConfig, from_config_dict
    from quarkaudio_jax.configs.prepare import get_config

    config = get_config("tiny")
    config.simulation.seconds = model.cfg.dataset.seconds
    return from_config_dict(config, PrepareConfig).simulation


if __name__ == "__main__":
    main()

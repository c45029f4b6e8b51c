"""What a mixture costs: drawn anew in training, prepared, or prepared for a target whose codes are there already.

    python -m benchmarks.mixtures --codec=runs/first

CPU-seconds of each stage per second of restoration audio, embedded corpus and `mel` features.
"""

import argparse
import dataclasses
import pathlib
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.common import machine
from quarkaudio_jax.config import PrepareConfig, from_config_dict
from quarkaudio_jax.configs.prepare import get_config
from quarkaudio_jax.data import records
from quarkaudio_jax.data.example_producer import ExampleProducer
from quarkaudio_jax.preparation.encoders import Encoders
from quarkaudio_jax.tokens.sequence import FEATURE_DTYPES


def cpu_seconds(call: Callable[[], Any]) -> tuple[float, Any]:
    """(CPU-seconds of all threads, the result)."""
    begun = time.process_time()
    result = call()
    return time.process_time() - begun, result


def main() -> None:
    """Prints the costs of the stages and of the three ways."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--codec", required=True)
    parser.add_argument("--count", type=int, default=64)
    args = parser.parse_args()
    cfg = dataclasses.replace(from_config_dict(get_config("tiny"), PrepareConfig), codec=args.codec)
    encoders = Encoders(cfg, with_codec=True)
    assert encoders.codec is not None
    rate = encoders.codec.sample_rate
    producer = ExampleProducer(cfg, rate)
    simulation, examples = cpu_seconds(lambda: [producer(("restoration", i)) for i in range(args.count)])
    waves, targets = ([e[side] for e in examples] for side in ("source", "target"))
    audio = sum(map(len, targets)) / rate
    encoders.features(waves, rate), encoders.codes(targets)  # compiles
    features, sources = cpu_seconds(lambda: encoders.features(waves, rate))
    codec, codes = cpu_seconds(lambda: encoders.codes(targets))
    with tempfile.TemporaryDirectory() as folder:
        layout = records.task_features(encoders.features.width, cfg.dtype, encoders.codec.num_codebooks, 0)
        path = records.shard_path(pathlib.Path(folder), "restoration", 0, 1)
        path.parent.mkdir(parents=True)
        writing, size = cpu_seconds(lambda: write(path, layout, cfg.dtype, sources, codes))
        records.write_metadata(pathlib.Path(folder), "restoration", layout, [args.count], size, "")
        opened = records.Records(f"{folder}/restoration")
        reading, _ = cpu_seconds(lambda: [opened[i] for i in range(args.count)])
    print(machine())
    stages = {"read and simulate": simulation, "features": features, "codec": codec, "write": writing, "read": reading}
    for name, seconds in stages.items():
        print(f"{name:20} {1000 * seconds / audio:8.2f} ms a second of audio")
    anew, fixed = simulation + features, simulation + features + codec + writing
    print(f"drawn anew in every epoch: {1000 * anew / audio:.2f} ms in each")
    print(f"prepared: {1000 * fixed / audio:.2f} ms once, {1000 * reading / audio:.2f} ms in each epoch")
    print(f"prepared, codes of the target there already: {1000 * (fixed - codec) / audio:.2f} ms once")
    print(
        f"prepared costs less from epoch {int(fixed / max(anew - reading, 1e-9)) + 1} on; {size / audio:.0f} bytes a second"
    )


def write(path: pathlib.Path, layout: Any, dtype: str, sources: list[np.ndarray], codes: list[dict]) -> int:
    """Writes records of restoration; their size in bytes."""
    writer = records.ShardWriter(path, layout)
    for source, streams in zip(sources, codes, strict=True):
        features = {name: np.zeros((0, source.shape[1]), FEATURE_DTYPES[dtype]) for name in ("reference",)}
        features |= {
            "source": source.astype(FEATURE_DTYPES[dtype]),
            "text_features": np.zeros((0, 1), FEATURE_DTYPES[dtype]),
        }
        writer.write({"id": "x", "task": "restoration", "text": "", "meta": "{}", **features, **streams})
    writer.finish()
    return writer.bytes


if __name__ == "__main__":
    main()

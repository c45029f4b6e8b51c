"""Histograms of simulated examples against the configured ranges, as a picture.

python -m benchmarks.simulation --count=1000 --picture=docs/simulation.png
"""

import argparse
import collections
import time

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from quarkaudio_jax.config import SimulationConfig, SourcesConfig
from quarkaudio_jax.data.simulation.example import Inputs
from quarkaudio_jax.data.simulation.registry import SIMULATORS, simulate
from quarkaudio_jax.io.levels import rms

RATE = 16000


def measured_snr(example) -> float | None:
    """From the waves themselves, where nothing but noise was added; None elsewhere."""
    meta = example.meta
    touched = ("reverberation", "bandwidth", "clipping", "packet_loss", "codec", "interferer")
    if example.task != "restoration" or not meta.get("noise") or any(meta.get(k) for k in touched):
        return None
    return 20 * np.log10(rms(example.target_S) / rms(example.source_S - example.target_S))


def main() -> None:
    """Simulates, draws, and prints how many lie outside."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--picture", default="docs/simulation.png")
    args = parser.parse_args()
    cfg = SimulationConfig()
    inputs = Inputs(SourcesConfig(), cfg, RATE)
    values: dict[str, list[float]] = collections.defaultdict(list)
    chances: dict[str, list[bool]] = collections.defaultdict(list)
    pairs: list[tuple[float, float]] = []
    tasks = collections.Counter()
    begun, audio = time.perf_counter(), 0.0
    for number in range(args.count):
        task = list(SIMULATORS)[number % len(SIMULATORS)]
        example, _ = simulate(task, inputs, 0, number)
        tasks[task] += 1
        audio += len(example.target_S) / RATE
        meta = example.meta
        values["length of the target, s"].append(len(example.target_S) / RATE)
        if "noise.snr_db" in meta:
            values["noise: SNR, dB"].append(meta["noise.snr_db"])
        if "room.rt60" in meta:
            values["room: RT60, s"].append(meta["room.rt60"])
        if task == "restoration" and "sir_db" in meta:
            values["interferer in restoration: SIR, dB"].append(meta["sir_db"])
        if task in ("extraction", "reverse_extraction"):
            values["second speaker: SIR, dB"].append(meta["sir_db"])
        if "packet_loss.share" in meta:
            values["lost packets, share"].append(meta["packet_loss.share"])
        if (snr := measured_snr(example)) is not None:
            pairs.append((meta["noise.snr_db"], snr))
        for name in ("noise", "reverberation", "bandwidth", "clipping", "packet_loss", "codec", "interferer"):
            if name in meta:
                chances[name].append(meta[name])
    seconds = time.perf_counter() - begun
    degrade, talkers = cfg.degrade, cfg.talkers
    ranges = {
        "noise: SNR, dB": degrade.snr,
        "room: RT60, s": degrade.rt60,
        "second speaker: SIR, dB": talkers.sir,
        "interferer in restoration: SIR, dB": talkers.restoration_sir,
        "lost packets, share": degrade.loss_rate,
        "length of the target, s": (0.0, cfg.seconds),
    }
    configured = {"interferer": talkers.restoration, **{n: getattr(degrade, n) for n in chances if n != "interferer"}}
    draw(args.picture, values, ranges, pairs, chances, configured, tasks)
    worst = max(abs(drawn - snr) for drawn, snr in pairs)
    print(
        f"{args.count} examples, {audio:.0f} s of audio in {seconds:.0f} s ({audio / seconds:.1f} audio s/s, one thread)"
    )
    for name, bounds in ranges.items():
        found = np.array(values[name])
        outside = np.sum((found < bounds[0] - 1e-6) | (found > bounds[1] + 1e-6))
        print(f"{name:36} {len(found):5d} values, {found.min():7.3f} to {found.max():7.3f}, {outside} outside {bounds}")
    print(f"SNR measured from the waves against the one drawn: at most {worst:.1e} dB apart ({len(pairs)} examples)")
    for name, found in chances.items():
        print(f"{name:36} {np.mean(found):.3f} of {len(found)}, configured {configured[name]}")


def draw(path, values, ranges, pairs, chances, configured, tasks) -> None:
    """One histogram a quantity with its range, the probabilities, and the tasks."""
    figure, axes = plt.subplots(3, 3, figsize=(13, 10), layout="constrained")
    for axis, (name, bounds) in zip(axes.flat, ranges.items(), strict=False):
        axis.hist(values[name], bins=30, color="#4878a8")
        for edge in bounds:
            axis.axvline(edge, color="#c44", linestyle="--")
        axis.set_title(f"{name} (n = {len(values[name])})", fontsize=10)
    axes.flat[6].plot(*np.transpose(pairs), ".", color="#4878a8")
    axes.flat[6].axline((0, 0), slope=1, color="#c44", linestyle="--")
    axes.flat[6].set_title("SNR, dB: drawn (x), measured from the waves (y)", fontsize=10)
    axis = axes.flat[7]
    names = list(chances)
    axis.barh(names, [np.mean(chances[n]) for n in names], color="#4878a8")
    axis.plot([configured[n] for n in names], names, "|", color="#c44", markersize=18, markeredgewidth=2)
    axis.set_title("share of examples; red: configured", fontsize=10)
    axes.flat[8].barh(list(tasks), list(tasks.values()), color="#4878a8")
    axes.flat[8].set_title("examples of each task", fontsize=10)
    figure.suptitle("Simulated examples; dashed: configured ranges")
    figure.savefig(path, dpi=80)


if __name__ == "__main__":
    main()

"""Frame rate and bitrate of an adaptive codec against its threshold, over the real speech, as a picture.

python -m benchmarks.frame_rate --checkpoint=runs/adaptive --output=docs/frame_rate.png
"""

import argparse

import numpy as np

from benchmarks.common import audio_folder, machine

THRESHOLDS = np.round(np.arange(0.5, 1.001, 0.05), 2)


def main() -> None:
    """Prints the table and plots it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--output", required=True)
    args = parser.parse_args()

    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    from quarkaudio_jax import load_codec
    from quarkaudio_jax.cli.common import set_up
    from quarkaudio_jax.io import audio
    from quarkaudio_jax.io.transforms import resample, to_mono
    from quarkaudio_jax.metrics.reconstruction import mel_distance

    set_up()
    codec = load_codec(args.checkpoint)
    waves = []
    for path in audio.find(audio_folder() / "speech"):
        samples, rate = audio.read(path)
        wave = resample(to_mono(samples), rate, codec.sample_rate)
        if np.abs(wave).max() > 0 and len(wave) <= codec.chunk_spec.window * codec.cfg.frame_hop:
            waves.append(wave)
    seconds = sum(map(len, waves)) / codec.sample_rate
    print(f"{machine()}; {codec.name}, {len(waves)} recordings of {seconds:.0f} s in all\n")
    print("| threshold | codes a second | kbit/s | mel distance |\n| ---: | ---: | ---: | ---: |")
    rows = []
    for threshold in THRESHOLDS:
        codes = [codec.encode(w, threshold=float(threshold)) for w in waves]
        groups = sum(int(c.lengths_B.sum()) for c in codes)
        outs = [codec.decode(c, len(w)).samples_BxS[0] for c, w in zip(codes, waves, strict=True)]
        mel = np.mean([mel_distance(w, o, codec.sample_rate) for w, o in zip(waves, outs, strict=True)])
        rows.append((groups / seconds, groups * codec.cfg.bits_per_frame / seconds / 1000, mel))
        print(f"| {threshold:.2f} | {rows[-1][0]:.2f} | {rows[-1][1]:.2f} | {mel:.3f} |", flush=True)
    rates, _, mels = zip(*rows, strict=True)
    figure, (top, bottom) = plt.subplots(2, 1, figsize=(6, 5), sharex=True, layout="constrained")
    top.plot(THRESHOLDS, rates, marker="o")
    top.set_ylabel("codes a second")
    top.set_ylim(0, codec.frame_rate * 1.05)
    bottom.plot(THRESHOLDS, mels, marker="o")
    bottom.set(xlabel="threshold of cosine similarity", ylabel="mel distance")
    for axis in (top, bottom):
        axis.grid(alpha=0.3)
    top.set_title(f"{codec.name}, {seconds:.0f} s of speech")
    figure.savefig(args.output, dpi=120)


if __name__ == "__main__":
    main()

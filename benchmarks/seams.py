"""What chunks cost: reconstruction in chunks against one pass over everything, by length of context.

    python -m benchmarks.seams --checkpoint=runs/learn

Over the longer recordings of the real audio; errors relative to the one-pass reconstruction.
"""

import argparse

import numpy as np

from benchmarks.common import audio_folder, machine


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--chunk_seconds", type=float, default=5.0)
    args = parser.parse_args()

    from quarkaudio_jax import load_codec
    from quarkaudio_jax.cli import set_up
    from quarkaudio_jax.codec.chunked import Grid
    from quarkaudio_jax.data import audio
    from quarkaudio_jax.data.transforms import resample, to_mono
    from quarkaudio_jax.metrics.reconstruction import mel_distance

    set_up()
    codec = load_codec(args.checkpoint)
    cfg = codec.cfg
    waves = []
    for path in audio.find(audio_folder()):
        frames, rate, _ = audio.info(path)
        if frames / rate > 3 * args.chunk_seconds:
            samples, rate = audio.read(path)
            waves.append(resample(to_mono(samples)[:, None], rate, cfg.sample_rate)[:, 0])
    print(f"{machine()}; {len(waves)} recordings of {sum(map(len, waves)) / cfg.sample_rate:.0f} s in all")
    print(f"chunks of {args.chunk_seconds:g} s, {cfg.name}\n")
    print(
        "| context, s | equal codes, acoustic | semantic | decoding alone: error, dB | encoded and decoded: mel distance |"
    )
    print("| ---: | ---: | ---: | ---: | ---: |")

    def encode(wave):
        return codec.encode_stream(lambda start, stop: wave[start:stop], len(wave))[:2]

    def decode(codes, count):
        return np.concatenate(list(codec.decode_stream(*codes, count)))

    codec.grid = Grid(10**6, 0)
    whole = [encode(w) for w in waves]
    outs = [decode(c, len(w)) for c, w in zip(whole, waves, strict=True)]
    chunk = round(args.chunk_seconds * cfg.frame_rate)
    for context in (0.0, 0.5, 1.0, 2.0, 4.0):
        codec.grid = Grid(chunk, round(context * cfg.frame_rate))
        equal, errors, mels = [], [], []
        for wave, codes, out in zip(waves, whole, outs, strict=True):
            chunked = encode(wave)
            equal.append([float((a == b).mean()) for a, b in zip(chunked, codes, strict=True)])
            decoded = decode(codes, len(wave))
            errors.append(10 * np.log10(np.square(decoded - out).sum() / np.square(out).sum()))
            both = decode(chunked, len(wave))
            mels.append(mel_distance(out, both, cfg.sample_rate))
        share = np.mean(equal, axis=0)
        print(
            f"| {context:g} | {100 * share[0]:.1f} % | {100 * share[1]:.1f} % | {np.mean(errors):.1f} | {np.mean(mels):.3f} |"
        )


if __name__ == "__main__":
    main()

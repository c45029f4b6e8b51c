"""Differences between encoding and decoding in chunks and in one pass, by length of context.

    python -m benchmarks.chunk_boundaries --checkpoint=runs/convergence

On the longer recordings of the real audio or, with --join, on two recordings of that many seconds, concatenated from
the clips of the folders speech and events; errors are relative to the reconstruction in one pass.
"""

import argparse
import time

import numpy as np

from benchmarks.common import audio_folder, machine


def recordings(sample_rate: int, longer: float, join: float) -> list[np.ndarray]:
    """The real audio longer than `longer` seconds; if `join` is not 0, speech and events concatenated to `join` seconds."""
    from quarkaudio_jax.io import audio
    from quarkaudio_jax.io.transforms import resample, to_mono

    def wave(path):
        samples, rate = audio.read(path)
        return resample(to_mono(samples), rate, sample_rate)

    if not join:
        found = [(path, audio.info(path)) for path in audio.find(audio_folder())]
        return [wave(path) for path, (frames, rate, _) in found if frames / rate > longer]
    size = round(join * sample_rate)
    joined = [np.concatenate([wave(p) for p in audio.find(audio_folder() / part)]) for part in ("speech", "events")]
    return [np.resize(w, size) for w in joined]


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--features", default="", help="weights of the SSL model")
    parser.add_argument("--chunk_seconds", type=float, default=5.0)
    parser.add_argument("--contexts", default="0,0.5,1,2,4", help="seconds, comma-separated")
    parser.add_argument("--join", type=float, default=0.0, help="seconds of recordings concatenated from clips")
    parser.add_argument("--encode_only", action="store_true")
    args = parser.parse_args()

    from quarkaudio_jax import load_codec
    from quarkaudio_jax.cli.common import set_up
    from quarkaudio_jax.codec.chunked import ChunkSpec
    from quarkaudio_jax.metrics.reconstruction import mel_distance

    set_up()
    codec = load_codec(args.checkpoint, args.features)
    cfg = codec.cfg
    waves = recordings(cfg.sample_rate, 3 * args.chunk_seconds, args.join)
    print(f"{machine()}; {len(waves)} recordings of {sum(map(len, waves)) / cfg.sample_rate:.0f} s in total")
    print(f"chunks of {args.chunk_seconds:g} s, {cfg.name}, features {codec.extractor.name}\n")
    columns = [
        "context, s",
        "equal codes, acoustic",
        "first codebook",
        "semantic",
        "first codebook",
        "seconds to encode",
    ]
    if not args.encode_only:
        columns += ["decoding only: error, dB", "encoded and decoded: mel distance"]
    print("| " + " | ".join(columns) + " |")
    print("| " + " | ".join(["---:"] * len(columns)) + " |", flush=True)

    def encode(wave):
        return codec.encode_stream(lambda start, stop: wave[start:stop], len(wave))[:2]

    def decode(codes, count):
        return np.concatenate(list(codec.decode_stream(*codes, count)))

    codec.chunk_spec = ChunkSpec(10**6, 0)
    one_pass = [encode(w) for w in waves]
    outs = [] if args.encode_only else [decode(c, len(w)) for c, w in zip(one_pass, waves, strict=True)]
    chunk = round(args.chunk_seconds * cfg.frame_rate)
    for context in map(float, args.contexts.split(",")):
        codec.chunk_spec = ChunkSpec(chunk, round(context * cfg.frame_rate))
        encode(waves[0][: codec.chunk_spec.window * cfg.frame_hop])
        begun = time.perf_counter()
        chunked = [encode(wave) for wave in waves]
        seconds = time.perf_counter() - begun
        equal = [
            [share for a, b in zip(c, w, strict=True) for share in ((a == b).mean(), (a == b)[:, 0].mean())]
            for c, w in zip(chunked, one_pass, strict=True)
        ]
        row = [f"{context:g}", *(f"{100 * share:.1f} %" for share in np.mean(equal, axis=0)), f"{seconds:.0f}"]
        if not args.encode_only:
            decoded = [decode(c, len(w)) for c, w in zip(one_pass, waves, strict=True)]
            both = [decode(c, len(w)) for c, w in zip(chunked, waves, strict=True)]
            pairs = list(zip(outs, decoded, strict=True))
            errors = [10 * np.log10(np.square(a - out).sum() / np.square(out).sum()) for out, a in pairs]
            mels = [mel_distance(out, b, cfg.sample_rate) for out, b in zip(outs, both, strict=True)]
            row += [f"{np.mean(errors):.1f}", f"{np.mean(mels):.3f}"]
        print("| " + " | ".join(row) + " |", flush=True)


if __name__ == "__main__":
    main()

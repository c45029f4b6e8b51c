"""Speed and memory of UniSE and BiCodec from audio to audio, full size, beside a checkout of the public code.

    python -m benchmarks.unise_speed unise.ckpt --codec=BICODEC --features=WAVLM --upstream=CHECKOUT
        [--batch=1,8] [--rounds=5] [--memory]

Restoration of segments of 5 s, and BiCodec's encoding (given SSL features) and decoding of one and of a batch of them. Both
sides run the same weights in one process, in turn (ours, theirs, ours, theirs, ...) after one call each; the ratio is the
median of the pairwise ones. --memory: instead the peak memory of either side alone, each in a process of its own.
"""

import argparse
import pathlib
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import jax
import numpy as np

from benchmarks.common import audio_folder, machine
from quarkaudio_jax.codec.bicodec.model import BiCodec
from quarkaudio_jax.inference.unise import SECONDS, UniseModel, load_unise
from quarkaudio_jax.io.audio import read_mono
from quarkaudio_jax.nn.stack import unstack_params
from quarkaudio_jax.weights.saved_bicodec import read_bicodec
from quarkaudio_jax.weights.upstream_bicodec import load_upstream_bicodec
from quarkaudio_jax.weights.upstream_unise import UpstreamUnise

SIDES = ("ours", "theirs")


def speech(segments: int, rate: int) -> np.ndarray:
    """Real speech, one recording after the other, repeated to that many segments."""
    files = sorted((audio_folder() / "speech").glob("*.wav"))
    wave = np.concatenate([read_mono(path, rate)[0] for path in files])
    return np.resize(wave, round(segments * SECONDS * rate))


def in_turn(ours: Callable[[], object], theirs: Callable[[], object], rounds: int) -> tuple[float, float, float]:
    """(median seconds of ours, of theirs, median of theirs over ours)."""
    times = []
    for _ in range(rounds + 1):
        pair = []
        for call in (ours, theirs):
            begun = time.perf_counter()
            jax.block_until_ready(call())
            pair.append(time.perf_counter() - begun)
        times.append(pair)
    kept = times[1:]
    return *(statistics.median(column) for column in zip(*kept, strict=True)), statistics.median(b / a for a, b in kept)


def restoration(args: argparse.Namespace, batch: int) -> dict[str, Callable[[], object]]:
    """Both sides' restoration of a batch of segments."""
    model: UniseModel = load_unise(args.checkpoint, args.codec, args.features, batch)
    wave = speech(batch, model.sample_rate)
    original = UpstreamUnise(args.upstream, args.checkpoint, args.codec, args.features)
    return {"ours": lambda: model("restoration", wave), "theirs": lambda: original("restoration", wave)}


def bicodec(args: argparse.Namespace, batch: int) -> dict[str, dict[str, Callable[[], object]]]:
    """Both sides' encoding and decoding of a batch of segments."""
    import torch

    cfg, params = read_bicodec(args.codec)
    variables = {"params": jax.device_put(unstack_params(params))}
    codec, rng = BiCodec(cfg, scan=False), np.random.default_rng(0)
    original, _ = load_upstream_bicodec(args.upstream, args.codec)
    original = original.eval()
    frames = round(SECONDS * cfg.sample_rate) // cfg.hop
    features = rng.standard_normal((batch, frames, cfg.feature_dim)).astype(np.float32)
    clips = np.resize(speech(batch, cfg.sample_rate), (batch, cfg.reference_samples))
    encode = jax.jit(lambda v, x, clip: codec.apply(v, x, clip, method="encode"))
    decode = jax.jit(lambda v, ids, semantic: codec.apply(v, ids, semantic, method="decode"))
    ids, semantic = encode(variables, features, clips)
    given = {"feat": torch.from_numpy(features), "ref_wav": torch.from_numpy(clips)}
    tokens = [torch.from_numpy(np.array(x, np.int64)) for x in (semantic, ids[:, None])]

    def theirs(name: str, *inputs: object) -> object:
        with torch.inference_mode():
            return getattr(original, name)(*inputs)

    return {
        "encode": {"ours": lambda: encode(variables, features, clips), "theirs": lambda: theirs("tokenize", given)},
        "decode": {"ours": lambda: decode(variables, ids, semantic), "theirs": lambda: theirs("detokenize", *tokens)},
    }


def memory(args: argparse.Namespace, batch: int) -> None:
    """Prints each side's peak memory in restoration, of a process that loads that side alone."""
    for side in SIDES:
        command = [sys.executable, "-m", "benchmarks.unise_speed", *sys.argv[1:], f"--side={side}", f"--batch={batch}"]
        found = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1]
        print(f"restoration, batch {batch}, {side}: peak {float(found) / 2**20:.2f} GiB", flush=True)


def one_side(args: argparse.Namespace, batch: int) -> None:
    """Runs one side's restoration twice, and prints the process's peak memory in KiB."""
    if args.side == "ours":
        model = load_unise(args.checkpoint, args.codec, args.features, batch)
        run: Callable[[np.ndarray], object] = lambda wave: model("restoration", wave)  # noqa: E731
    else:
        original = UpstreamUnise(args.upstream, args.checkpoint, args.codec, args.features)
        run = lambda wave: original("restoration", wave)  # noqa: E731
    for _ in range(2):
        run(speech(batch, 16000))
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def main() -> None:
    """Prints a line for each program and batch."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=pathlib.Path)
    for name in ("codec", "features", "upstream"):
        parser.add_argument(f"--{name}", required=True, type=pathlib.Path)
    parser.add_argument("--batch", default="1,8", help="segments at a time, with commas between")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--side", default="", choices=("", *SIDES), help=argparse.SUPPRESS)
    args = parser.parse_args()
    batches = [int(text) for text in args.batch.split(",")]
    if args.side:
        return one_side(args, batches[0])
    print(machine(), flush=True)
    for batch in batches:
        if args.memory:
            memory(args, batch)
            continue
        seconds = batch * SECONDS
        for name, both in {"restoration": restoration(args, batch), **bicodec(args, batch)}.items():
            ours, theirs, ratio = in_turn(both["ours"], both["theirs"], args.rounds)
            line = f"ours {ours / seconds:.3f}, public {theirs / seconds:.3f} s a second of audio, {ratio:.2f} times"
            print(f"{name}, batch {batch}: {line}", flush=True)
    return None


if __name__ == "__main__":
    main()

"""Differences between a padded batch and its single items, by variant and length of the shorter item.

    python -m benchmarks.batch_invariance [--variants=hcodec_16k,hcodec_16k_adaptive,hcodec_48k_base]

Random weights (normal 0.02), random waves and features, batches of two, float32.
"""

import argparse

import numpy as np

from benchmarks.common import machine

FRAMES = 24


def differences(name: str, length: int, seed: int = 0) -> list[float]:
    """(difference of embeddings, of waves, each relative to the largest absolute value, fraction of equal codes)."""
    import jax

    from quarkaudio_jax.codec.hcodec import HCodec
    from quarkaudio_jax.codec.variants import get_variant
    from quarkaudio_jax.types import Codes
    from quarkaudio_jax.weights.hcodec import abstract_variables

    cfg, rng = get_variant(name), np.random.default_rng(seed)
    codec = HCodec(cfg)
    variables = jax.tree.map(lambda s: 0.02 * rng.standard_normal(s.shape, dtype=np.float32), abstract_variables(cfg))
    total = FRAMES * cfg.frame_hop
    wave = 0.1 * rng.standard_normal((2, total), dtype=np.float32)
    features = rng.standard_normal((2, FRAMES * cfg.semantic.stride, cfg.semantic.feature_dim), dtype=np.float32)
    lengths, frames = np.array([total, length], np.int32), int(cfg.num_frames(length))
    single_wave = np.pad(wave[1:, :length], ((0, 0), (0, frames * cfg.frame_hop - length)))
    embed = jax.jit(lambda w, f, n: codec.apply(variables, w, f, n, method="embed"))
    batch = embed(wave, features, lengths)
    one = embed(single_wave, features[1:, : frames * cfg.semantic.stride], lengths[1:])
    count = int(one.mask_BxT.sum())

    def off(a, b):
        return float(np.abs(np.asarray(a) - np.asarray(b)).max() / np.abs(np.asarray(b)).max())

    streams = ((batch.acoustic_BxTxD, one.acoustic_BxTxD), (batch.semantic_BxTxD, one.semantic_BxTxD))
    worst = max(off(b[1, :count], o[0, :count]) for b, o in streams)
    codes = jax.jit(lambda e: codec.apply(variables, e, method="quantize"))(batch)
    single = jax.jit(lambda e: codec.apply(variables, e, method="quantize"))(one)
    equal = (codes.acoustic_BxTxK[1, :count] == single.acoustic_BxTxK[0, :count]).mean()
    decoded = codec.apply(variables, codes, FRAMES, method="decode")[1, : frames * cfg.frame_hop]
    durations = None if codes.durations_BxT is None else codes.durations_BxT[1:, :count]
    cut = Codes(codes.acoustic_BxTxK[1:, :count], codes.semantic_BxTxK[1:, :count], cfg.frame_rate, None, durations)
    return [worst, off(decoded, codec.apply(variables, cut, frames, method="decode")[0]), float(equal)]


def main() -> None:
    """Prints the table."""
    from quarkaudio_jax.codec.variants import get_variant

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--variants", default="hcodec_16k,hcodec_16k_adaptive,hcodec_48k_base")
    args = parser.parse_args()
    print(f"{machine()}\n\n| variant | length, frames | embeddings | wave | equal codes |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for name in args.variants.split(","):
        hop = get_variant(name).frame_hop
        for length in (15 * hop, 15 * hop - 123):
            worst, wave, equal = differences(name, length)
            print(f"| {name} | {length / hop:.2f} | {worst:.1e} | {wave:.1e} | {100 * equal:.0f} % |", flush=True)


if __name__ == "__main__":
    main()

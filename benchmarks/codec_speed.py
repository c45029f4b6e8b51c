"""Encoding and decoding 4.8 s at batch 1, against the yardstick and public peers, in one run.

    python -m benchmarks.codec_speed [--torch] [--peers]

Full size, random weights, float32. u is the yardstick of benchmarks.common. The peers are
transformers' EncodecModel (24 kHz), DacModel (44.1 kHz) and MimiModel with default configurations
and random weights, each on 4.8 s at its own rate.
"""

import argparse

import numpy as np

from benchmarks.common import machine, median_seconds, yardstick

SECONDS = 4.8


def ours(variant: str) -> dict[str, float]:
    """Seconds to encode and to decode, compiled, without the SSL model."""
    import jax
    import jax.numpy as jnp

    from quarkaudio_jax.bridge.hcodec import abstract_variables
    from quarkaudio_jax.codec.hcodec import HCodec
    from quarkaudio_jax.codec.variants import get_variant
    from quarkaudio_jax.nn.stack import unstack_params

    cfg = get_variant(variant)
    rng = np.random.default_rng(0)
    variables = jax.tree.map(lambda s: 0.02 * rng.standard_normal(s.shape, dtype=np.float32), abstract_variables(cfg))
    variables = jax.device_put({**variables, "params": unstack_params(variables["params"])})
    codec = HCodec(cfg, scan=False)
    samples = int(SECONDS * cfg.sample_rate)
    wave = jnp.asarray(0.1 * rng.standard_normal((1, samples), dtype=np.float32))
    features = jnp.asarray(rng.standard_normal((1, samples // cfg.feature_hop, 768), dtype=np.float32))
    encode = jax.jit(lambda v, w, f: codec.apply(v, w, f, method="encode"))
    decode = jax.jit(lambda v, c: codec.apply(v, c, method="decode"))
    codes = encode(variables, wave, features)
    return {
        "encode": median_seconds(lambda: jax.block_until_ready(encode(variables, wave, features))),
        "decode": median_seconds(lambda: jax.block_until_ready(decode(variables, codes))),
    }


def torch_layers() -> dict[str, float]:
    """The same arithmetic in plain torch.nn modules (benchmarks.torch_layers)."""
    import torch

    from benchmarks.torch_layers import LATENT, Decoder, Encoder

    wave, features = 0.1 * torch.randn(1, int(SECONDS * 48000)), torch.randn(1, 768, int(SECONDS * 50))
    vectors = torch.randn(1, 2 * LATENT, int(SECONDS * 12.5))
    out = {}
    with torch.inference_mode():
        for name, build, inputs in (("encode", Encoder, (wave, features)), ("decode", Decoder, (vectors,))):
            module = build().eval()
            out[name] = median_seconds(lambda module=module, inputs=inputs: module(*inputs))
    return out


def peers() -> dict[str, dict[str, float]]:
    """The same for transformers' codecs."""
    import torch
    import transformers

    out = {}
    for name in ("Encodec", "Dac", "Mimi"):
        config = getattr(transformers, f"{name}Config")()
        model = getattr(transformers, f"{name}Model")(config).eval()
        rate = config.sampling_rate
        wave = 0.1 * torch.randn(1, 1, int(SECONDS * rate))
        with torch.inference_mode():
            codes = model.encode(wave).audio_codes

            def decode(model=model, codes=codes, name=name):
                if name == "Encodec":
                    return model.decode(codes, [None])
                return model.decode(audio_codes=codes) if name == "Dac" else model.decode(codes)

            out[f"{name} ({rate / 1000:g} kHz)"] = {
                "encode": median_seconds(lambda model=model, wave=wave: model.encode(wave)),
                "decode": median_seconds(decode),
            }
    return out


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--variant", default="hcodec_48k")
    parser.add_argument("--torch", action="store_true", help="measure the same layers in PyTorch too")
    parser.add_argument("--peers", action="store_true", help="measure transformers' codecs too")
    args = parser.parse_args()
    rows, units = {}, [yardstick()]
    rows[f"quarkaudio_jax {args.variant}"] = ours(args.variant)
    units.append(yardstick())
    if args.torch:
        rows["the same layers in torch.nn"] = torch_layers()
        units.append(yardstick())
    if args.peers:
        rows |= peers()
        units.append(yardstick())
    unit = float(np.median(units))
    print(f"{machine()}; u = {unit * 1000:.1f} ms (measured {', '.join(f'{u * 1000:.1f}' for u in units)})\n")
    print("| codec | encode, u | decode, u | encode, x real time | decode, x real time |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for name, times in rows.items():
        a, b = times["encode"], times["decode"]
        print(f"| {name} | {a / unit:.1f} | {b / unit:.1f} | {SECONDS / a:.2f} | {SECONDS / b:.2f} |")


if __name__ == "__main__":
    main()

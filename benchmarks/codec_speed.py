"""Speed of encoding and decoding 4.8 s at batch 1, beside the reference product and baseline codecs.

    python -m benchmarks.codec_speed [--variant=hcodec_16k] [--torch] [--baselines] [--ssl]

Full size, random weights, float32. u is the reference product of `benchmarks.common.timed`. Baselines are
transformers' EncodecModel (24 kHz), DacModel (44.1 kHz) and MimiModel with default configurations
and random weights, each on 4.8 s at its own rate.
"""

import argparse

import numpy as np

from benchmarks.common import Timing, machine, timed

SECONDS = 4.8


def ours(variant: str) -> dict[str, Timing]:
    """Seconds to encode and to decode, compiled, without the SSL model."""
    import jax
    import jax.numpy as jnp

    from quarkaudio_jax.codec.hcodec import HCodec
    from quarkaudio_jax.codec.variants import get_variant
    from quarkaudio_jax.nn.stack import unstack_params
    from quarkaudio_jax.weights.hcodec import abstract_variables

    cfg = get_variant(variant)
    rng = np.random.default_rng(0)
    variables = jax.tree.map(lambda s: 0.02 * rng.standard_normal(s.shape, dtype=np.float32), abstract_variables(cfg))
    variables = jax.device_put({**variables, "params": unstack_params(variables["params"])})
    codec = HCodec(cfg, scan=False)
    samples = int(SECONDS * cfg.sample_rate)
    wave = jnp.asarray(0.1 * rng.standard_normal((1, samples), dtype=np.float32))
    features = jnp.asarray(
        rng.standard_normal((1, samples // cfg.feature_hop, cfg.semantic.feature_dim), dtype=np.float32)
    )
    encode = jax.jit(lambda v, w, f: codec.apply(v, w, f, method="encode"))
    frames = samples // cfg.frame_hop
    decode = jax.jit(lambda v, c: codec.apply(v, c, frames, method="decode"))
    codes = encode(variables, wave, features)
    if codes.durations_BxT is not None:
        print(f"{variant}: {int(codes.lengths_B[0])} groups of {frames} frames")
    return {
        "encode": timed(lambda: jax.block_until_ready(encode(variables, wave, features))),
        "decode": timed(lambda: jax.block_until_ready(decode(variables, codes))),
    }


def hubert() -> dict[str, dict[str, Timing]]:
    """HuBERT base of 4.8 s at 16 kHz, ours and transformers', the same random weights in both."""
    import jax
    import torch
    import transformers

    from quarkaudio_jax.nn.stack import unstack_params
    from quarkaudio_jax.ssl.model import HUBERT_BASE, SSLEncoder
    from quarkaudio_jax.weights.ssl import import_ssl

    model = transformers.HubertModel(transformers.HubertConfig()).eval()
    wave = 0.1 * np.random.default_rng(0).standard_normal((1, int(SECONDS * 16000)), dtype=np.float32)
    state = {k: v.detach().numpy() for k, v in model.state_dict().items()}
    params = jax.device_put(unstack_params(import_ssl(HUBERT_BASE, state)))
    encode = jax.jit(lambda p, w: SSLEncoder(HUBERT_BASE, scan=False).apply({"params": p}, w))
    with torch.inference_mode():
        theirs = model(torch.from_numpy(wave), output_hidden_states=True).hidden_states[-1].numpy()
        off = np.abs(np.asarray(encode(params, wave)[-1]) - theirs).max()
        print(f"HuBERT: largest difference of the last hidden state {off:.1e}")
        seconds = {
            "quarkaudio_jax HuBERT base": timed(lambda: jax.block_until_ready(encode(params, wave))),
            "transformers HuBERT base": timed(lambda: model(torch.from_numpy(wave), output_hidden_states=True)),
        }
    return {name: {"encode": value} for name, value in seconds.items()}


def torch_layers() -> dict[str, Timing]:
    """The same arithmetic in plain torch.nn modules (benchmarks.torch_layers)."""
    import torch

    from benchmarks.torch_layers import LATENT, Decoder, Encoder

    wave, features = 0.1 * torch.randn(1, int(SECONDS * 48000)), torch.randn(1, 768, int(SECONDS * 50))
    vectors = torch.randn(1, 2 * LATENT, int(SECONDS * 12.5))
    out = {}
    with torch.inference_mode():
        for name, build, inputs in (("encode", Encoder, (wave, features)), ("decode", Decoder, (vectors,))):
            module = build().eval()
            out[name] = timed(lambda module=module, inputs=inputs: module(*inputs))
    return out


def baselines() -> dict[str, dict[str, Timing]]:
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
                "encode": timed(lambda model=model, wave=wave: model.encode(wave)),
                "decode": timed(decode),
            }
    return out


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--variant", default="hcodec_48k")
    parser.add_argument("--torch", action="store_true", help="measure the same layers in PyTorch too")
    parser.add_argument("--baselines", action="store_true", help="measure transformers' codecs too")
    parser.add_argument("--ssl", action="store_true", help="measure HuBERT base, ours and transformers', too")
    args = parser.parse_args()
    rows = {}
    rows[f"quarkaudio_jax {args.variant}"] = ours(args.variant)
    if args.torch:
        rows["the same layers in torch.nn"] = torch_layers()
    if args.ssl:
        rows |= hubert()
    if args.baselines:
        rows |= baselines()
    print(f"{machine()}\n")
    print("| codec | encode, u | decode, u | encode, x real time | decode, x real time |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for name, row in rows.items():
        cells = [f"{row[k].units:.1f}" if k in row else "" for k in ("encode", "decode")]
        cells += [f"{SECONDS / row[k].seconds:.2f}" if k in row else "" for k in ("encode", "decode")]
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()

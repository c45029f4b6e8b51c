"""Speed of generation and training of the language model :small, beside transformers' `generate` on a Llama of that size.

    python -m benchmarks.generate_speed

Five seconds of audio: ours takes 125 frames of 8 codebooks (25 Hz) in the delay pattern, 134 positions; the baseline, like
UniSE, 50 tokens a second, 250 positions. Both prefill with a request of 256 positions. float32, random weights.
"""

import argparse
import dataclasses
import time

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.common import machine, median_seconds
from quarkaudio_jax.lm import model as lm
from quarkaudio_jax.lm.generate import Condition, GenerationConfig, generate
from quarkaudio_jax.lm.sampling import Sampling
from quarkaudio_jax.lm.variants import get_size
from quarkaudio_jax.nn.stack import unstack_params
from quarkaudio_jax.weights.backbone import config_to_hf

SECONDS, FRAMES, BOOKS, BASELINE_TOKENS, PREFIX = 5.0, 125, 8, 250, 256
GREEDY = GenerationConfig(Sampling(temperature=0.0))


def our_model(dtype):
    """(model, parameters) of the size :small on 8 codebooks of 1024."""
    cfg = lm.LMConfig(get_size("small"), (1024,) * BOOKS, feature_dim=768)
    model = lm.LanguageModel(cfg, dtype, scan=False)
    blank = {"kind": (), "value": (), "codes": (BOOKS,), "segment": (), "position": ()}
    batch = {name: jnp.zeros((1, 8, *shape), jnp.int32) for name, shape in blank.items()}
    batch["features"] = jnp.zeros((1, 8, 768))
    stacked = dataclasses.replace(model, scan=True)
    params = nn.meta.unbox(jax.jit(stacked.init)(jax.random.key(0), batch))["params"]
    return model, unstack_params(jax.tree.map(lambda x: x.astype(dtype), params))


def condition(batch: int, dim: int) -> Condition:
    """Random requests."""
    x = jax.random.normal(jax.random.key(1), (batch, PREFIX, dim))
    keys = jax.random.split(jax.random.key(2), batch)
    return Condition(x, jnp.full(batch, PREFIX), jnp.full(batch, FRAMES), keys)


def ours(model, params, batch: int) -> tuple[float, float, np.ndarray]:
    """(seconds of prefill, of all, codes)."""
    requests = condition(batch, model.cfg.backbone.dim)
    fill = jax.jit(lambda p, c: prefill(model, p, c, FRAMES).cache)
    prefill = median_seconds(lambda: jax.block_until_ready(fill(params, requests)), 5)
    total = median_seconds(lambda: jax.block_until_ready(generate(model, params, requests, FRAMES, GREEDY)), 5)
    return prefill, total, np.asarray(generate(model, params, requests, FRAMES, GREEDY)[0])


def baseline(batch: int) -> float:
    """Seconds of transformers' generate."""
    import torch
    import transformers

    config = transformers.LlamaConfig(
        vocab_size=12291, eos_token_id=None, pad_token_id=0, **config_to_hf(get_size("small"))
    )
    model = transformers.LlamaForCausalLM(config).eval()
    ids = torch.randint(1, 12000, (batch, PREFIX))
    mask = torch.ones_like(ids)

    def call():
        with torch.inference_mode():
            model.generate(ids, attention_mask=mask, max_new_tokens=BASELINE_TOKENS, do_sample=False)

    return median_seconds(call, 3)


def bandwidth() -> float:
    """Bytes a second at which this machine reads a large array."""
    x = jnp.ones(1 << 27, jnp.float32)
    return x.nbytes / median_seconds(lambda: jax.block_until_ready(_total(x)), 5)


_total = jax.jit(lambda x: x.sum())


def train_step(batch: int, length: int) -> tuple[float, float]:
    """(positions a second of a training step of :small, its share of the float32 matmul rate measured here)."""
    from quarkaudio_jax.config import DatasetInfo, LMModelConfig, LMTrainConfig
    from quarkaudio_jax.tokens.sequence import Kind
    from quarkaudio_jax.tokens.tasks import TASKS
    from quarkaudio_jax.training.lm_program import LMProgram

    dataset = DatasetInfo(codebooks=(1024,) * BOOKS, feature_width=768, tasks=tuple(TASKS))
    program = LMProgram(LMTrainConfig(lm=LMModelConfig(size="small"), dataset=dataset))
    state = nn.meta.unbox(jax.jit(program.init)())
    rng = np.random.default_rng(0)
    kind = np.tile(
        np.repeat([Kind.TASK, Kind.SOURCE_START, Kind.SOURCE, Kind.CODES, Kind.DELAY_PADDING], [1, 1, 250, 125, 9]),
        length // 386 + 1,
    )[:length]
    data = {
        "kind": np.tile(kind, (batch, 1)).astype(np.int8),
        "value": np.zeros((batch, length), np.int32),
        "codes": rng.integers(0, 1024, (batch, length, BOOKS)).astype(np.int32),
        "features": rng.standard_normal((batch, length, 768)).astype(np.float16),
        "segment": np.tile(np.arange(length) // 386 + 1, (batch, 1)).astype(np.int32),
        "position": np.tile(np.arange(length) % 386, (batch, 1)).astype(np.int32),
    }
    step = jax.jit(program.train_step, donate_argnums=0).lower(state, data).compile()
    times = []
    for _ in range(4):
        start = time.perf_counter()
        state, _ = jax.block_until_ready(step(state, data))
        times.append(time.perf_counter() - start)
    params = sum(x.size for x in jax.tree.leaves(state.model.params)) - BOOKS * 1027 * 512  # tables are not multiplied
    flops = 6 * params * batch * length
    a, b = (jax.random.normal(jax.random.key(i), (2048, 2048)) for i in range(2))
    product = jax.jit(jnp.matmul)
    peak = 2 * 2048**3 / median_seconds(lambda: jax.block_until_ready(product(a, b)), 5)
    taken = float(np.median(times[1:]))
    return batch * length / taken, flops / taken / peak


def main() -> None:
    """Prints everything."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--alone", action="store_true", help="without transformers")
    parser.add_argument("--train", action="store_true", help="the training step as well")
    args = parser.parse_args()
    print(machine(), flush=True)
    rate = bandwidth()
    print(f"memory: {rate / 1e9:.1f} GB/s read", flush=True)
    found = {}
    for name, dtype in (("float32", jnp.float32), ("bfloat16", jnp.bfloat16)):
        model, params = our_model(dtype)
        read = sum(x.nbytes for k, v in params.items() if k in ("backbone", "heads") for x in jax.tree.leaves(v))
        floor = read / rate * (FRAMES + BOOKS)
        for batch in (1, 8):
            prefill, total, codes = ours(model, params, batch)
            found[name, batch] = (total, codes)
            steps = total - prefill
            print(
                f"ours {name}, batch {batch}: prefill {prefill:.3f} s, decode {steps:.3f} s "
                f"({1000 * steps / (FRAMES + BOOKS):.2f} ms a step), floor {floor:.2f} s, "
                f"{total / SECONDS / batch:.3f} s a second of audio",
                flush=True,
            )
    for batch in () if args.alone else (1, 8):
        theirs = baseline(batch)
        print(
            f"transformers, batch {batch}: {theirs:.2f} s; {theirs / found['float32', batch][0]:.2f} times ours",
            flush=True,
        )
    if args.train:
        positions, share = train_step(2, 772)
        print(f"training step: {positions:.0f} positions/s, {100 * share:.0f} % of the matmul rate")


if __name__ == "__main__":
    main()

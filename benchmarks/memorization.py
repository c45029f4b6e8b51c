"""Memorization: how well a language model reproduces its training examples.

    python -m benchmarks.memorization --checkpoint=runs/lm

For each task: teacher-forced accuracy, and the number of examples whose codes greedy decoding reproduces exactly. The
data is the folder that the checkpoint was trained on.
"""

import argparse
import functools

import jax
import numpy as np

from quarkaudio_jax.data.heldout import heldout_end
from quarkaudio_jax.data.prepared import SequenceBuilder, SequenceLayout, open_tasks
from quarkaudio_jax.lm.generate import Condition, GenerationConfig, generate
from quarkaudio_jax.lm.model import LanguageModel
from quarkaudio_jax.lm.objective import masked_mean
from quarkaudio_jax.lm.sampling import Sampling
from quarkaudio_jax.lm.variants import configured_lm
from quarkaudio_jax.nn.dtypes import DTYPES
from quarkaudio_jax.nn.stack import unstack_params
from quarkaudio_jax.tokens.sequence import Kind, collate
from quarkaudio_jax.tokens.tasks import TASKS
from quarkaudio_jax.weights.saved_lm import read_lm


def read_rows(records, first: int, count: int, cfg, tail: int) -> list[dict]:
    """Sequences of records with their features."""
    builder = SequenceBuilder(records, cfg.data.length, SequenceLayout(tail, cfg.lm.condition_stack))
    found = [builder.sequence(i) for i in range(first, min(first + count, len(records)))]
    return [{**row, **{name: row[name].arrays for name in ("features", "text_features")}} for row in found]


def request_of(row: dict) -> dict:
    """The part of a sequence before its codes."""
    count = int((row["kind"] < Kind.CODES).sum())
    return {**row, **{name: row[name][:count] for name in ("kind", "value", "codes")}}


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--examples", type=int, default=16, help="of each task")
    parser.add_argument("--dtype", choices=DTYPES, default="float32", help="compute type")
    args = parser.parse_args()
    cfg, params = read_lm(args.checkpoint)
    model = LanguageModel(configured_lm(cfg), DTYPES[args.dtype], scan=False)
    variables = {"params": unstack_params(params)}
    with_text = bool(cfg.dataset.text_width)
    print("| task | examples | teacher-forced accuracy | exact |\n| --- | ---: | ---: | ---: |")
    for task, (records, _) in open_tasks(cfg.data).items():
        rows = read_rows(records, heldout_end(records, cfg.data.heldout), args.examples, cfg, model.cfg.delay_padding)
        length = max(len(row["kind"]) for row in rows)
        batch = collate(rows, length, with_text)
        scores = jax.jit(functools.partial(model.apply, method="metrics"))(variables, batch)
        accuracy = float(masked_mean(scores.correct_BxLxK, scores.mask_BxLxK, (0, 1, 2)))
        requests = [request_of(row) for row in rows]
        lengths = np.asarray([len(row["kind"]) for row in requests], np.int32)
        prefix = model.apply(variables, collate(requests, int(lengths.max()), with_text), method="embed_request")
        wanted = [row["codes"][row["kind"] == Kind.CODES] for row in rows]
        aligned = TASKS[task].aligned
        most = max(len(codes) for codes in wanted) + (0 if aligned else 2)  # allows for a late end
        frames = np.asarray([len(codes) if aligned else most for codes in wanted], np.int32)
        keys = jax.random.split(jax.random.key(0), len(rows))
        how = GenerationConfig(Sampling(temperature=0.0), predict_end=not aligned)
        sources = np.asarray([np.argmax(row["kind"] == Kind.SOURCE_START) + 1 for row in rows], np.int32)
        condition = Condition(prefix, lengths, frames, keys, None, sources)
        found, counts, _ = generate(model, variables["params"], condition, most, how)
        exact = sum(
            int(n) == len(want) and bool((np.asarray(got)[: len(want)] == want).all())
            for got, n, want in zip(found, counts, wanted, strict=True)
        )
        print(f"| {task} | {len(rows)} | {100 * accuracy:.2f} % | {exact} of {len(rows)} |", flush=True)


if __name__ == "__main__":
    main()

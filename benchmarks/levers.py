"""Held-out loss of the language model with each option of `docs/training.md`, after the same number of steps.

    python -m benchmarks.levers --data=data/restoration --frame-rate=25 --steps=1000

Every run has the same seed, the same examples in the same order and one example a row. The loss is the mean over all
codebooks, without label smoothing.
"""

import argparse
import dataclasses
import time
from collections.abc import Iterator
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from benchmarks.common import machine
from quarkaudio_jax.config import LMDataConfig, LMModelConfig, LMTrainConfig, LoopConfig
from quarkaudio_jax.data.crops import GRID_HZ
from quarkaudio_jax.data.heldout import heldout_end
from quarkaudio_jax.data.prepared import SequenceBuilder, open_tasks
from quarkaudio_jax.tokens.sequence import FEATURE_KEYS, collate
from quarkaudio_jax.training.lm_program import LMProgram
from quarkaudio_jax.types import round_up


def variants(frame_rate: float, codebooks: int) -> dict[str, dict[str, Any]]:
    """Name -> fields of `config.lm`. frame_rate: of the codec in Hz."""
    stack = round(GRID_HZ / frame_rate)
    stacked = {"condition_stack": stack}
    first = (0, codebooks // 2)
    return {
        "none": {},
        "dropout": {"dropout": 0.1, "attention_dropout": 0.1},
        f"condition_stack={stack}": stacked,
        "aligned_rate": {"aligned_rate": float(stack)},
        f"aligned_rate, condition_stack={stack}": {**stacked, "aligned_rate": 1.0},
        "bidirectional_prefix": {"bidirectional_prefix": True},
        "encoder_layers=2": {"encoder_layers": 2},
        "feature_mask=0.1": {"feature_mask": 0.1},
        f"ar_codebooks={first}": {"ar_codebooks": first, "fill_layers": 2},
    }


def batches(program: LMProgram, rows: int, steps: int, seed: int) -> Iterator[dict[str, np.ndarray]]:
    """Batches of random training examples, one a row."""
    rng, cfg = np.random.default_rng(seed), program.cfg
    records = [
        (r, i) for r, _ in open_tasks(cfg.data).values() for i in range(heldout_end(r, cfg.data.heldout), len(r))
    ]
    for _ in range(steps):
        found = []
        for number in rng.integers(len(records), size=rows):
            folder, index = records[number]
            builder = SequenceBuilder(folder, 1 << 20, program.layout)
            sequence = builder.sequence(index)
            found.append({**sequence, **{key: sequence[key].arrays for key in FEATURE_KEYS}})
        yield collate(found, cfg.data.length, bool(cfg.dataset.text_width))


def configured(folder: str, fields: dict[str, Any], args: argparse.Namespace) -> LMProgram:
    """The program of a variant; rows hold the longest held-out example, and what is longer is left out of `folder`."""
    cfg = LMTrainConfig(
        seed=args.seed,
        lm=LMModelConfig(size="tiny", label_smoothing=0.0, **fields),
        data=LMDataConfig(folder=folder, batch_size=args.rows, heldout=0.1, length=1 << 20),
        optim=dataclasses.replace(LMTrainConfig().optim, lr=1e-3, warmup_steps=max(args.steps // 6, 1)),
        loop=LoopConfig(steps=args.steps, heldout_clips=args.heldout),
    )
    program = LMProgram.configured(cfg)
    length = round_up(max(len(row["kind"]) for row in program.heldout()), 8)
    return LMProgram(dataclasses.replace(program.cfg, data=dataclasses.replace(cfg.data, length=length)))


def evaluate(program: LMProgram, state: Any) -> tuple[float, float]:
    """(loss, accuracy) of the held-out examples, means over the examples."""
    rows = program.heldout()
    batch = {name: np.stack([row[name] for row in rows]) for name in rows[0] if name not in ("name", "group")}
    metrics, _ = jax.jit(program.eval_step)(state, batch)
    return float(metrics["loss"].mean()), float(metrics["accuracy"].mean())


def run(name: str, program: LMProgram, args: argparse.Namespace) -> str:
    """Trains a variant; its line of the table."""
    state = jax.jit(lambda: nn.meta.unbox(program.init()))()
    step = jax.jit(program.train_step, donate_argnums=0)
    losses, begun = [], 0.0
    for number, batch in enumerate(batches(program, args.rows, args.steps, args.seed)):
        state, metrics = step(state, batch)
        losses.append(metrics["loss/total"])
        if number == 0:
            jax.block_until_ready(losses)
            begun = time.process_time()
    trained = float(np.mean(losses[-max(args.steps // 10, 1) :]))
    seconds = (time.process_time() - begun) / max(args.steps - 1, 1)
    loss, accuracy = evaluate(program, state)
    parameters = sum(x.size for x in jax.tree.leaves(state.model.params)) / 1e6
    length = program.cfg.data.length
    return f"| {name} | {parameters:.2f} M | {length} | {seconds:.2f} | {trained:.3f} | {loss:.3f} | {100 * accuracy:.1f} % |"


def main() -> None:
    """Prints the table, a line per variant."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="output folder of prepare")
    parser.add_argument("--frame-rate", type=float, required=True, help="of the codec in Hz")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--rows", type=int, default=4, help="examples a step")
    parser.add_argument("--heldout", type=int, default=32, help="held-out examples of each task")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="numbers of the variants, separated by commas")
    args = parser.parse_args()
    print(machine())
    print("| option | parameters | positions | CPU s a step | loss, last tenth | held-out loss | held-out accuracy |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    books = len(configured(args.data, {}, args).lm_cfg.codebooks)
    for number, (name, fields) in enumerate(variants(args.frame_rate, books).items()):
        if not args.only or str(number) in args.only.split(","):
            print(run(name, configured(args.data, fields, args), args), flush=True)


if __name__ == "__main__":
    main()

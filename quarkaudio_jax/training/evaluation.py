"""Evaluation of a program on held-out examples, with audio samples and their spectrograms."""

import logging
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from quarkaudio_jax.report.page import Clip, write_page
from quarkaudio_jax.report.pictures import safe_name, save_sample
from quarkaudio_jax.sharding.mesh import batch_sharding, num_batch_shards, on_mesh, replicated
from quarkaudio_jax.training.metrics import MetricWriter
from quarkaudio_jax.training.program import Program, State

log = logging.getLogger(__name__)


class Evaluation:
    """Mean metrics over held-out examples, which are read once; writes samples to WORKDIR/samples/<step>/."""

    def __init__(self, program: Program, mesh: Mesh, writer: MetricWriter, workdir: pathlib.Path, is_main: bool):
        self._program, self._mesh, self._writer, self._is_main = program, mesh, writer, is_main
        self._samples = workdir / "samples"
        self._step = jax.jit(on_mesh(program.eval_step, mesh))
        self._examples: list[dict[str, Any]] | None = None

    def __call__(self, step: int, state: State) -> dict[str, float]:
        """Evaluates and logs; {} if there are no held-out examples."""
        if self._examples is None:
            self._examples = self._program.heldout()
        if not self._examples:
            log.warning("no held-out examples: nothing to evaluate")
            return {}
        ways, wanted = num_batch_shards(self._mesh), self._program.cfg.loop.sample_clips
        folder = self._samples / f"{step:08d}"
        totals: dict[str, list[float]] = {}
        clips = []
        for begin in range(0, len(self._examples), ways):
            chunk = self._examples[begin : begin + ways]
            metrics, outputs = self._run(state, chunk + [chunk[-1]] * (ways - len(chunk)))
            for name, values in metrics.items():
                for example, value in zip(chunk, values, strict=False):
                    totals.setdefault(name, []).append(float(value))
                    if "group" in example:
                        totals.setdefault(f"{name}/{example['group']}", []).append(float(value))
            for i, example in enumerate(chunk[: max(wanted - begin, 0)] if self._is_main and outputs else []):
                waves = self._write_sample(
                    step, folder, example["name"], {kind: wave[i] for kind, wave in outputs.items()}
                )
                clips.append(self._clip(example["name"], waves, {k: float(v[i]) for k, v in metrics.items()}))
        if clips:
            write_page(folder, f"held out at step {step}", clips)
        means = {f"heldout/{name}": float(np.mean(values)) for name, values in totals.items()}
        self._writer.scalars(step, means)
        shown = ", ".join(f"{k.removeprefix('heldout/')} {v:.3f}" for k, v in means.items())
        where = f"; listen in {folder}" if self._program.outputs else ""
        log.info("held out at step %d (%d examples): %s%s", step, len(self._examples), shown, where)
        return means

    def _run(self, state: State, examples: list[dict[str, Any]]):
        names = [k for k, v in examples[0].items() if isinstance(v, np.ndarray)]
        arrays = {k: np.stack([e[k] for e in examples]) for k in names}
        batch = {k: jax.device_put(v, batch_sharding(self._mesh)) for k, v in arrays.items()}
        return jax.device_get(jax.device_put(self._step(state, batch), replicated(self._mesh)))

    def _clip(self, name: str, waves: dict[str, np.ndarray], values: dict[str, float]) -> Clip:
        rate = self._program.sample_rate

        def reader(wave: np.ndarray) -> Callable[[], tuple[np.ndarray, int]]:
            return lambda: (wave, rate)

        return Clip(name, [(kind, reader(wave)) for kind, wave in waves.items()], values)

    def _write_sample(
        self, step: int, folder: pathlib.Path, name: str, outputs: dict[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        """Writes an example's waves and spectrograms; returns the waves."""
        program = self._program
        count = round(program.cfg.loop.sample_seconds * program.sample_rate)
        waves = {kind: outputs[kind][:count] for kind in program.outputs}
        picture = save_sample(folder, name, waves, program.sample_rate)
        for kind, wave in waves.items():
            shown = picture if kind == program.outputs[-1] else None
            self._writer.clip(step, f"{safe_name(name)}/{kind}", wave, program.sample_rate, shown)
        return waves

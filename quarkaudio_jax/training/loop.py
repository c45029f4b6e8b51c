"""The training loop of all programs.

The host never waits for the device to log: it dispatches a step, fetches the next batch while the device works, and
reports the previous step.
"""

import json
import logging
import math
import pathlib
import time
from typing import Any

import flax.linen as nn
import jax

from quarkaudio_jax.config import ConfigError, ExperimentConfig, to_dict
from quarkaudio_jax.errors import UserError
from quarkaudio_jax.io import atomic
from quarkaudio_jax.report.progress import duration
from quarkaudio_jax.sharding import distributed
from quarkaudio_jax.sharding.mesh import batch_share, check_equal_shares, global_batch, on_mesh, replicated
from quarkaudio_jax.training.evaluation import Evaluation
from quarkaudio_jax.training.guard import (
    BadSteps,
    NonFiniteError,
    guarded_init,
    non_finite_examples,
    non_finite_metrics,
)
from quarkaudio_jax.training.lock import WorkdirLock
from quarkaudio_jax.training.lowering import check_batch, configured_mesh, lower_train_step
from quarkaudio_jax.training.metrics import MetricWriter, Throughput, TimeBreakdown
from quarkaudio_jax.training.preemption import Preemption
from quarkaudio_jax.training.profiling import Profiler
from quarkaudio_jax.training.program import Program, check_unchanged
from quarkaudio_jax.training.programs import make_program
from quarkaudio_jax.weights.checkpoint_manager import CheckpointInfo, Checkpoints

log = logging.getLogger(__name__)


class Trainer:
    """A training run: set up or resumed by the constructor, run by `run`."""

    def __init__(self, cfg: ExperimentConfig, workdir: str | pathlib.Path):
        self.times = TimeBreakdown()
        distributed.initialize()
        self.workdir = pathlib.Path(workdir).absolute()
        try:
            self.workdir.mkdir(parents=True, exist_ok=True)
            self.lock = WorkdirLock(self.workdir)
        except OSError as error:
            raise UserError(f"--workdir={workdir} can't be written ({error}); choose another") from error
        try:
            self._set_up(cfg, jax.process_index() == 0)
        except BaseException:
            self.lock.release()
            raise

    def _set_up(self, cfg: ExperimentConfig, is_main: bool) -> None:
        self.mesh = configured_mesh(cfg)
        self.program: Program[Any] = make_program(cfg)
        self.cfg = cfg = self.program.cfg
        check_batch(cfg.data.batch_size, self.mesh)
        self.batches, self.skips = self.program.batches(*batch_share(self.mesh))
        self.bad_steps = BadSteps(cfg.loop.bad_steps)
        self.profiler = Profiler(cfg.profile.steps, self.workdir / "tensorboard")
        self.checkpoints = Checkpoints(self.workdir, cfg.loop.keep)
        saved = self._check_resume()
        self.times.add("setup", self.times.elapsed)
        with self.times.measure("compile"):
            lowered = self._lower()
        with self.times.measure("restore"):
            initial = self._initial_model() if saved is None and cfg.init_from else None
        with self.times.measure("compile"):
            self._compile(lowered)
        with self.times.measure("restore"):
            self.state = self._restore_or_init(saved, initial)
        self.writer = MetricWriter(self.workdir, is_main)
        self.evaluate = Evaluation(self.program, self.mesh, self.writer, self.workdir, is_main)
        if is_main:
            atomic.write_text(self.workdir / "config.json", json.dumps(to_dict(cfg), indent=1) + "\n")

    def _check_resume(self) -> CheckpointInfo | None:
        """Information on the newest checkpoint, None without one; ConfigError if this run can't resume it."""
        latest = self.checkpoints.latest()
        if latest is None:
            return None
        saved = self.checkpoints.info(latest)
        if type(saved.config) is not type(self.cfg):
            raise ConfigError(
                f"{self.workdir} holds a run of the program {saved.config.program!r}; choose another --workdir"
            )
        before, now = self.program.resume_fields(saved.config), self.program.resume_fields(self.cfg)
        for state in saved.data[:1]:
            before, now = before | state.get("sources", {}), now | dict(self.batches.sources)
        check_unchanged(before, now, self.cfg.loop.allow_changes)
        return saved

    def _lower(self) -> jax.stages.Lowered:
        """Lowers the training step; sets the shardings and the abstract state."""
        sharding = replicated(self.mesh)
        self.frozen = jax.tree.map(lambda leaf: jax.device_put(leaf, sharding), self.program.frozen)
        step = lower_train_step(self.program, self.mesh)
        self.shardings, self.abstract_state = step.shardings, step.abstract_state
        return step.lowered

    def _initial_model(self) -> Any:
        """The model of `config.init_from`, read before compiling so that an unsuitable one fails early."""
        log.info("starting a new run in %s with the model of %s", self.workdir, self.cfg.init_from)
        return self.program.initial_model(self.abstract_state.model)

    def _compile(self, lowered: jax.stages.Lowered) -> None:
        start = time.perf_counter()
        self.train_step = lowered.compile()
        params = sum(math.prod(s.shape) for s in jax.tree.leaves(self.abstract_state.model.params))
        log.info(
            "%s, %.1f M parameters, mesh %s; step compiled in %s%s",
            self.cfg.program,
            params / 1e6,
            dict(self.mesh.shape),
            duration(time.perf_counter() - start),
            _cost(self.train_step),
        )

    def _restore_or_init(self, saved: CheckpointInfo | None, initial: Any) -> Any:
        """The state, by priority from the newest checkpoint, the `initial` model or random initialization.

        Random initialization includes the program's pretrained weights and `init_codebooks` on the first batch.
        """
        latest = self.checkpoints.latest()
        if saved is not None and latest is not None:
            log.info("resuming from step %d in %s", latest, self.workdir)
            self._restore_data(saved)
            return self.checkpoints.restore(latest, self.abstract_state).replace(frozen=self.frozen)
        shardings = self.shardings.replace(frozen=None)
        state = jax.jit(lambda: nn.meta.unbox(self.program.init()), out_shardings=shardings)().replace(
            frozen=self.frozen
        )
        if initial is not None:
            return state.replace(model=initial)
        state = state.replace(model=self.program.load_pretrained(state.model))
        log.info("starting a new run in %s; initializing from the first batch", self.workdir)
        start = self.batches.get_state()
        init_from_batch = jax.jit(
            on_mesh(guarded_init(self.program.init_codebooks), self.mesh),
            donate_argnums=0,
            out_shardings=(self.shardings, replicated(self.mesh)),
        )
        for attempt in range(self.cfg.loop.bad_steps + 1):
            batch = next(self.batches)
            state, finite = init_from_batch(state, global_batch(batch, self.mesh))
            if finite:
                self.batches.set_state(start)
                return state
            log.warning(
                "batch %d is not finite: %s", attempt + 1, ", ".join(non_finite_examples(batch, self.batches.names))
            )
        raise NonFiniteError(f"the first {attempt + 1} batches are not finite; the last held {self.batches.names}")

    def _restore_data(self, saved: CheckpointInfo) -> None:
        """Restores the position in the data and the count of skipped steps."""
        if saved.bad_steps:
            self.bad_steps.set_state(saved.bad_steps)
        if not saved.data or any("hosts" not in state for state in saved.data):
            log.warning("the checkpoint's data position was saved by an older version: reading the data from its start")
            return
        hosts, now = saved.data[0]["hosts"], batch_share(self.mesh)[1]
        if hosts != now:
            log.info("saved by %d hosts, now %d: continuing with the examples that none of them has read", hosts, now)
        self.batches.set_states(saved.data)

    def run(self) -> str:
        """Trains and saves the last state; returns 'finished', or the name of the signal that stopped it."""
        cfg, preemption = self.cfg.loop, Preemption()
        step = int(self.state.step)
        throughput, pending = Throughput(), None
        if step == 0 and cfg.eval_every:
            self._evaluate(0)
        try:
            while step < cfg.steps and not preemption.should_stop(step):
                start = time.perf_counter()
                batch = next(self.batches)
                waited = time.perf_counter() - start
                throughput.waited += waited
                self.times.add("data", waited)
                source = (batch, self.batches.names)
                with self.profiler.step(step + 1):
                    self.state, metrics = self.train_step(self.state, global_batch(batch, self.mesh))
                step += 1
                self.profiler.after(step, metrics)
                throughput = self._report(pending, throughput)
                pending = (step, metrics, source)
                if _due(cfg.checkpoint_every, step) or _due(cfg.eval_every, step):
                    throughput = self._report(pending, throughput)
                    pending = None
                    if _due(cfg.checkpoint_every, step):
                        self._save(step)
                    if _due(cfg.eval_every, step):
                        self._evaluate(step)
                    throughput = throughput.without_pause()
            self._report(pending, throughput)
            if self.checkpoints.latest() != step:
                self._save(step)
            with self.times.measure("checkpoint"):
                self.checkpoints.wait()
        finally:
            self.profiler.close()
            preemption.restore()
            self.checkpoints.close()
            self.writer.close()
            self.lock.release()
        log.info("%s", self.times)
        if preemption.requested:
            log.info("%s: saved at step %d; the same command resumes from there", preemption.requested, step)
        return preemption.requested or "finished"

    def _save(self, step: int) -> None:
        with self.times.measure("checkpoint"):
            self.checkpoints.save(step, self.state, self.batches, self.cfg, self.bad_steps.state())

    def _evaluate(self, step: int) -> None:
        with self.times.measure("evaluate"):
            self.evaluate(step, self.state)

    def _report(self, pending, throughput: Throughput) -> Throughput:
        """Checks the metrics of a finished step and logs them if due; returns the throughput window to continue."""
        if pending is None:
            return throughput
        step, metrics, (batch, names) = pending
        values = {name: float(value) for name, value in jax.device_get(metrics).items()}
        try:
            self.bad_steps.check(step, values, non_finite_examples(batch, names) if non_finite_metrics(values) else ())
        except NonFiniteError as error:
            self.checkpoints.wait()
            latest = self.checkpoints.latest()
            where = "none" if latest is None else f"step {latest}"
            raise NonFiniteError(f"{error}; the last checkpoint is {where} in {self.workdir}") from None
        throughput.finish_step()
        if not _due(self.cfg.loop.log_every, step):
            return throughput
        check_equal_shares(names, *batch_share(self.mesh))
        speed = throughput.scalars(self.program.rates)
        left = (self.cfg.loop.steps - step) / max(speed["speed/steps_per_second"], 1e-9)
        counts = {"data/skipped": float(self.skips.count), "steps/skipped": float(self.bad_steps.total)}
        self.writer.scalars(step, {**values, **speed, **self.times.scalars(), **counts})
        terms = " ".join(f"{n.removeprefix('loss/')} {v:.4g}" for n, v in values.items() if n.startswith("loss/"))
        log.info(
            "step %d/%d  %s  |  %.2f steps/s, %s, %.1f%% waiting for data, %s left",
            step,
            self.cfg.loop.steps,
            terms,
            speed["speed/steps_per_second"],
            ", ".join(f"{speed[f'speed/{n}_per_second']:.1f} {n.replace('_', ' ')}/s" for n in self.program.rates),
            100 * speed["speed/data_wait_share"],
            duration(left),
        )
        return Throughput()


def _due(every: int, step: int) -> bool:
    return every > 0 and step % every == 0


def _cost(compiled) -> str:
    """Memory and FLOPs of a compiled step, as far as the backend reports them."""
    out = ""
    memory = compiled.memory_analysis()
    if memory is not None:
        used = memory.argument_size_in_bytes + memory.temp_size_in_bytes
        out += f", {used / 2**30:.2f} GiB a device"
    cost = compiled.cost_analysis()
    flops = (cost[0] if isinstance(cost, list) else cost or {}).get("flops", 0)
    return out + (f", {flops / 1e12:.3f} TFLOP a step" if flops else "")

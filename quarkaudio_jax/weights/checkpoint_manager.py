"""The checkpoints of a training run: model, training state, data iterator and configuration, saved by Orbax.

A checkpoint is a folder of its own, complete or absent (Orbax writes under a temporary name and renames), so a run that is
killed while saving resumes from the previous one. Saving runs in the background.
"""

import functools
import json
import logging
import pathlib
import shutil
import uuid
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from quarkaudio_jax.config import ExperimentConfig, to_dict
from quarkaudio_jax.weights.checkpoint import (
    CheckpointError,
    damage_as_checkpoint_error,
    first_line,
    parse_train_config,
    read_metadata,
)
from quarkaudio_jax.weights.integrity import intact_steps, newest_intact

if TYPE_CHECKING:
    import grain

log = logging.getLogger(__name__)

COMPRESSION_RATIO = 0.8
"""Size of a checkpoint relative to its arrays; saving needs as much free space. A codec48k:tiny takes 0.95 of its arrays."""


class CheckpointInfo(NamedTuple):
    """Contents of a checkpoint other than arrays.

    bad_steps: state of `guard.BadSteps`, None from an older version. data: state of each host's iterator.
    """

    config: ExperimentConfig
    bad_steps: dict[str, int] | None
    data: list[dict[str, Any]]


class Checkpoints:
    """The checkpoints of a work directory, in DIR/checkpoints/<step>/; keep: number of the newest to keep (0: all)."""

    def __init__(self, workdir: str | pathlib.Path, keep: int = 3):
        self._folder, self._keep = pathlib.Path(workdir).absolute() / "checkpoints", keep
        self._damaged: dict[pathlib.Path, str] = {}
        newest = None
        if jax.process_index() == 0 and self._folder.is_dir():
            newest, self._damaged = newest_intact(self._folder)
        found = -1 if newest is None else int(newest.name)
        found, damaged = (int(x) for x in _from_first_host([found, len(self._damaged)]))
        if damaged and found < 0:
            reasons = "; ".join(f"step {path.name}: {reason}" for path, reason in self._damaged.items())
            raise CheckpointError(
                f"no checkpoint in {self._folder} is intact ({reasons}): restore one, remove them to start a new run, or "
                "choose another --workdir"
            )
        self._found = None if found < 0 else found

    @functools.cached_property
    def _manager(self) -> ocp.CheckpointManager:
        """Orbax's manager; damaged steps are renamed before it lists the folder."""
        import grain  # which only training installs

        for path, reason in self._damaged.items():
            aside = path.with_name(f"{path.name}.damaged-{uuid.uuid4().hex[:4]}")
            path.rename(aside)
            log.warning("%s is damaged (%s); it is now %s", path, reason, aside.name)
        _from_first_host([0])
        handlers = ocp.handlers.DefaultCheckpointHandlerRegistry()
        handlers.add("data", grain.checkpoint.CheckpointSave, grain.checkpoint.CheckpointHandler())
        handlers.add("data", grain.checkpoint.CheckpointRestore, grain.checkpoint.CheckpointHandler())
        keep = self._keep or None
        options = ocp.CheckpointManagerOptions(max_to_keep=keep, create=True, enable_async_checkpointing=True)
        return ocp.CheckpointManager(self._folder, options=options, handler_registry=handlers)

    def latest(self) -> int | None:
        """The step of the newest intact checkpoint."""
        return self._manager.latest_step() if "_manager" in self.__dict__ else self._found

    def info(self, step: int) -> CheckpointInfo:
        """Reads the contents of a checkpoint other than arrays."""
        folder = self._folder / str(step)
        metadata = read_metadata(folder)
        files = sorted((folder / "data").glob("process_*.json"))
        return CheckpointInfo(
            parse_train_config(folder, metadata)[0],
            metadata.get("bad_steps"),
            [json.loads(file.read_text()) for file in files],
        )

    def save(
        self, step: int, state: Any, iterator: "grain.DatasetIterator", cfg: ExperimentConfig, bad_steps: dict[str, int]
    ) -> None:
        """Starts saving; the state may be donated once this returns."""
        import grain  # which only training installs

        saved = {"model": state.model, "training": {"step": state.step, "training": state.training}}
        if jax.default_backend() == "cpu":
            # On the CPU "device to host" does not copy, and the next step overwrites donated buffers.
            saved = jax.tree.map(jnp.copy, saved)
        self._require_space(step, sum(x.nbytes for x in jax.tree.leaves(saved)))
        self._manager.save(
            step,
            args=ocp.args.Composite(
                model=ocp.args.StandardSave(saved["model"]),
                training=ocp.args.StandardSave(saved["training"]),
                data=grain.checkpoint.CheckpointSave(iterator),
                config=ocp.args.JsonSave({"config": to_dict(cfg), "step": step, "bad_steps": bad_steps}),
            ),
        )

    def _require_space(self, step: int, num_bytes: int) -> None:
        """CheckpointError if the disk is too full for a step; Orbax would end in pages of tracebacks while writing."""
        free = shutil.disk_usage(self._manager.directory).free
        if free < COMPRESSION_RATIO * num_bytes:
            self.wait()  # for the previous step, which the error names if it is intact
            raise CheckpointError(
                f"{self._folder}: no room for step {step}: {num_bytes / 2**20:.0f} MiB of arrays, and "
                f"{free / 2**20:.0f} MiB are free; make room, or choose another --workdir. "
                f"{intact_steps(self._folder / str(step))}"
            )

    def restore(self, step: int, abstract_state: Any) -> Any:
        """The state of a checkpoint with the shardings of `abstract_state`, on any mesh."""
        parts = {
            "model": ocp.args.StandardRestore(abstract_state.model),
            "training": ocp.args.StandardRestore({"step": abstract_state.step, "training": abstract_state.training}),
        }
        try:
            with damage_as_checkpoint_error(self._folder / str(step)):
                found = self._manager.restore(step, args=ocp.args.Composite(**parts))
        except (OSError, ValueError, KeyError) as error:
            raise CheckpointError(
                f"{self._folder / str(step)} does not fit this configuration ({first_line(error)}); "
                "use the configuration it was made with, or another --workdir"
            ) from error
        training = found["training"]
        return abstract_state.replace(step=training["step"], model=found["model"], training=training["training"])

    def wait(self) -> None:
        """Waits until saving has finished; raises its errors."""
        self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits until saving has finished and releases resources."""
        if "_manager" in self.__dict__:
            self._manager.close()


def _from_first_host(values: list[int]) -> np.ndarray:
    """The first host's values on all hosts; also a barrier."""
    if jax.process_count() == 1:
        return np.asarray(values)
    from jax.experimental import multihost_utils

    return np.asarray(multihost_utils.broadcast_one_to_all(np.asarray(values)))

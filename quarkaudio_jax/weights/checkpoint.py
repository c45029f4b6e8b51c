"""Checkpoints: model, training state, data iterator and config, saved by Orbax in the background.

A checkpoint is a folder of its own, complete or absent (Orbax writes under a temporary name
and renames), so a run killed while saving resumes from the one before.
"""

import contextlib
import functools
import json
import logging
import pathlib
import shutil
import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from quarkaudio_jax.config import TrainConfig, from_config_dict, to_dict
from quarkaudio_jax.errors import QuarkAudioError
from quarkaudio_jax.weights.damage import MARKER, MODEL, damage, intact_steps, newest_intact

if TYPE_CHECKING:
    import grain

log = logging.getLogger(__name__)

PIECE_BYTES = 256 * 2**20
"""Of an array, and of a file, when a model is written with little memory."""

COMPRESSED = 0.8
"""Of the arrays' size; with less room than that a save is not begun. A first step of codec48k:tiny takes 0.95 of it."""


class CheckpointError(QuarkAudioError, RuntimeError):
    """A checkpoint that is missing or does not fit."""


class CheckpointInfo(NamedTuple):
    """bad_steps: of `guard.BadSteps`, None where an older version saved. data: the state of each host's iterator."""

    config: TrainConfig
    bad_steps: dict[str, int] | None
    data: list[dict[str, Any]]


class Checkpoints:
    """The checkpoints of a work directory, in DIR/checkpoints/<step>/. keep: how many of the newest (0: all)."""

    def __init__(self, workdir: str | pathlib.Path, keep: int = 3):
        self._folder, self._keep = pathlib.Path(workdir).absolute() / "checkpoints", keep
        self._damaged: dict[pathlib.Path, str] = {}
        newest = None
        if jax.process_index() == 0 and self._folder.is_dir():
            newest, self._damaged = newest_intact(self._folder)
        found = -1 if newest is None else int(newest.name)
        found, damaged = (int(x) for x in _from_first_host([found, len(self._damaged)]))
        if damaged and found < 0:
            why = "; ".join(f"step {path.name}: {lack}" for path, lack in self._damaged.items())
            raise CheckpointError(
                f"no checkpoint in {self._folder} is whole ({why}): bring one back, remove them to start afresh, or "
                "name another --workdir"
            )
        self._found = None if found < 0 else found

    @functools.cached_property
    def _manager(self) -> ocp.CheckpointManager:
        """Orbax's; steps that are damaged are set aside before it looks."""
        import grain  # which only training installs

        for path, lack in self._damaged.items():
            aside = path.with_name(f"{path.name}.damaged-{uuid.uuid4().hex[:4]}")
            path.rename(aside)
            log.warning("%s is damaged (%s); it is now %s", path, lack, aside.name)
        _from_first_host([0])
        handlers = ocp.handlers.DefaultCheckpointHandlerRegistry()
        handlers.add("data", grain.checkpoint.CheckpointSave, grain.checkpoint.CheckpointHandler())
        handlers.add("data", grain.checkpoint.CheckpointRestore, grain.checkpoint.CheckpointHandler())
        keep = self._keep or None
        options = ocp.CheckpointManagerOptions(max_to_keep=keep, create=True, enable_async_checkpointing=True)
        return ocp.CheckpointManager(self._folder, options=options, handler_registry=handlers)

    def latest(self) -> int | None:
        """The step of the newest whole checkpoint."""
        return self._manager.latest_step() if "_manager" in self.__dict__ else self._found

    def info(self, step: int) -> CheckpointInfo:
        """What was saved with a step besides its arrays."""
        folder = self._folder / str(step)
        files = sorted((folder / "data").glob("process_*.json"))
        return CheckpointInfo(
            read_train_config(folder)[0], _notes(folder).get("bad_steps"), [json.loads(f.read_text()) for f in files]
        )

    def save(
        self, step: int, state: Any, iterator: "grain.DatasetIterator", cfg: TrainConfig, bad_steps: dict[str, int]
    ) -> None:
        """Starts saving; the state may be donated as soon as this returns."""
        import grain  # which only training installs

        saved = {"model": state.model, "training": {"step": state.step, "training": state.training}}
        if jax.default_backend() == "cpu":
            # On CPU "device to host" is no copy, and the next step overwrites donated buffers.
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
        """CheckpointError if the disk has no room for a step: Orbax, once it writes, ends in many pages of tracebacks."""
        free = shutil.disk_usage(self._manager.directory).free
        if free < COMPRESSED * num_bytes:
            self.wait()  # for the step before, which is named if it is whole
            raise CheckpointError(
                f"{self._folder}: no room for step {step}: {num_bytes / 2**20:.0f} MiB of arrays, and "
                f"{free / 2**20:.0f} MiB are free; make room, or name another --workdir. {intact_steps(self._folder / str(step))}"
            )

    def restore(self, step: int, abstract_state: Any) -> Any:
        """The state as saved, placed as `abstract_state` says, on any mesh."""
        training = {"step": abstract_state.step, "training": abstract_state.training}
        parts = {
            "model": ocp.args.StandardRestore(abstract_state.model),
            "training": ocp.args.StandardRestore(training),
        }
        try:
            with _damage_named(self._folder / str(step)):
                found = self._manager.restore(step, args=ocp.args.Composite(**parts))
        except (OSError, ValueError, KeyError) as error:
            raise CheckpointError(
                f"{self._folder / str(step)} does not fit this configuration ({_first_line(error)}); "
                "use the configuration it was made with, or another --workdir"
            ) from error
        training = found["training"]
        return abstract_state.replace(step=training["step"], model=found["model"], training=training["training"])

    def wait(self) -> None:
        """Until what was started is saved; raises what went wrong while saving."""
        self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits and releases."""
        if "_manager" in self.__dict__:
            self._manager.close()


def _from_first_host(values: list[int]) -> np.ndarray:
    """The first host's values, on all; none goes on before all are here."""
    if jax.process_count() == 1:
        return np.asarray(values)
    from jax.experimental import multihost_utils

    return multihost_utils.broadcast_one_to_all(np.asarray(values))


@contextlib.contextmanager
def _damage_named(step: pathlib.Path) -> Iterator[None]:
    """Damage that is met while reading arrays becomes a CheckpointError that names the step; other errors pass.

    Orbax wraps what TensorStore says of an array's bytes in a bare Exception.
    """
    try:
        yield
    except Exception as error:
        found = (error.__cause__ or error) if type(error) is Exception else error
        if isinstance(found, OSError) or any(code in str(found) for code in _DAMAGE):
            raise _damaged(step, _first_line(found)) from error
        raise


_DAMAGE = ("DATA_LOSS", "FAILED_PRECONDITION", "INVALID_ARGUMENT", "NOT_FOUND", "OUT_OF_RANGE")
"""TensorStore's codes for bytes that are missing or can't be decoded."""


def _damaged(step: pathlib.Path, why: str) -> CheckpointError:
    return CheckpointError(f"{step} is damaged ({why}): move it away. {intact_steps(step)}")


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:300]


def find_checkpoint(path: str | pathlib.Path) -> pathlib.Path:
    """The folder of one checkpoint with a whole model, given it, a `checkpoints` folder or a work directory.

    Of several steps the newest whole one. CheckpointError names a damaged step, and those that are whole.
    """
    path = pathlib.Path(path).expanduser().absolute()
    if not path.exists():
        raise CheckpointError(f"{path}: no such checkpoint")
    if path.is_file():
        raise CheckpointError(
            f"{path} is a file, not a checkpoint; make one of it: quarkaudio convert import {path.name} --output=FOLDER"
        )
    named = path.name.isdigit() and path.parent.name == "checkpoints"
    if named or (path / "model").is_dir() or (path / MARKER).exists():
        if lack := damage(path, MODEL):
            raise _damaged(path, lack)
        return path
    folder = path / "checkpoints" if (path / "checkpoints").is_dir() else path
    newest, damaged = newest_intact(folder, MODEL)
    told = "; ".join(f"step {step.name} is damaged ({lack})" for step, lack in damaged.items())
    if newest is None:
        raise CheckpointError(
            f"{path} holds no complete checkpoint (a folder with model/, checkpoints/<step>/){told and ': ' + told}"
        )
    if damaged:
        log.warning("%s: %s; using step %s", folder, told, newest.name)
    return newest


def _notes(checkpoint: pathlib.Path) -> dict[str, Any]:
    """What is saved beside the arrays."""
    try:
        return json.loads((checkpoint / "config" / "metadata").read_bytes())
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{checkpoint}: its config can't be read ({_first_line(error)})") from error


def read_train_config(checkpoint: pathlib.Path) -> tuple[TrainConfig, int]:
    """The configuration saved in a checkpoint, and its step."""
    saved = _notes(checkpoint)
    try:
        return from_config_dict(saved["config"]), saved["step"]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{checkpoint}: its config can't be read ({_first_line(error)})") from error


def read_initial_model(source: str, abstract_model: Any) -> Any:
    """The model of another run's checkpoint, placed as `abstract_model` says; averaged weights if it has them.

    Averages start from there too. CheckpointError if it is of another shape.
    """
    if pathlib.Path(source).is_file():
        raise CheckpointError(
            f"config.init_from={source} is a file, but takes a checkpoint: a run's --workdir, one of its steps, or the "
            "folder that `quarkaudio convert import` makes of a PyTorch weight file"
        )
    folder = find_checkpoint(source)
    checkpointer = ocp.StandardCheckpointer()
    try:
        saved = checkpointer.metadata(folder / "model").item_metadata.tree
        averaged = saved.get("ema") is not None
        wanted = abstract_model.replace(ema=abstract_model.params if averaged else None)
        with _damage_named(folder):
            model = checkpointer.restore(folder / "model", wanted)
    except (OSError, KeyError, ValueError) as error:
        raise CheckpointError(
            f"config.init_from={source} does not fit this configuration ({_first_line(error)}); "
            "choose the size or variant it was made with"
        ) from error
    params = model.ema if averaged else model.params
    ema = None if abstract_model.ema is None else jax.tree.map(jnp.copy, params)
    return model.replace(params=params, ema=ema)


def write_model(folder: str | pathlib.Path, cfg: TrainConfig, model: Any) -> None:
    """A checkpoint of a model alone, as step 0 of a work directory; CheckpointError if there is one already.

    In pieces: Orbax and TensorStore hold two copies more of whatever they write at once (NumPy
    arrays one more than JAX's).
    """
    folder = pathlib.Path(folder).absolute() / "checkpoints"
    if folder.exists() and any(folder.iterdir()):
        raise CheckpointError(f"{folder} exists already; choose another folder, or remove it")
    pieces = jax.tree.map(lambda _: ocp.SaveArgs(chunk_byte_size=PIECE_BYTES), model)
    with ocp.CheckpointManager(folder) as manager:
        manager.save(
            0,
            args=ocp.args.Composite(
                model=ocp.args.PyTreeSave(model, save_args=pieces, ocdbt_target_data_file_size=PIECE_BYTES),
                config=ocp.args.JsonSave({"config": to_dict(cfg), "step": 0}),
            ),
        )


def read_model(checkpoint: pathlib.Path, abstract_model: Any) -> Any:
    """The model part of a checkpoint on the first local device, without optimizer and discriminators."""
    sharding = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    abstract = jax.tree.map(lambda s: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=sharding), abstract_model)
    try:
        with _damage_named(checkpoint):
            return ocp.StandardCheckpointer().restore(checkpoint / "model", abstract)
    except (OSError, KeyError, ValueError) as error:
        raise CheckpointError(f"{checkpoint}: its model can't be read ({_first_line(error)})") from error

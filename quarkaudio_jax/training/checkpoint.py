"""Checkpoints: model, training state, data iterator and config, saved by Orbax in the background.

A checkpoint is a folder of its own, complete or absent (Orbax writes under a temporary name
and renames), so a run killed while saving resumes from the one before.
"""

import logging
import pathlib
from typing import Any

import grain
import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp

from quarkaudio_jax.errors import QuarkAudioError
from quarkaudio_jax.schema import TrainConfig, from_config_dict, to_dict

log = logging.getLogger(__name__)

PIECE_BYTES = 256 * 2**20
"""Of an array, and of a file, when a model is written with little memory."""


class CheckpointError(QuarkAudioError, RuntimeError):
    """A checkpoint that is missing or does not fit."""


class Checkpoints:
    """The checkpoints of a work directory, in DIR/checkpoints/<step>/."""

    def __init__(self, workdir: str | pathlib.Path, keep: int = 3):
        self._folder = pathlib.Path(workdir).absolute() / "checkpoints"
        handlers = ocp.handlers.DefaultCheckpointHandlerRegistry()
        handlers.add("data", grain.checkpoint.CheckpointSave, grain.checkpoint.CheckpointHandler())
        handlers.add("data", grain.checkpoint.CheckpointRestore, grain.checkpoint.CheckpointHandler())
        options = ocp.CheckpointManagerOptions(max_to_keep=keep, create=True, enable_async_checkpointing=True)
        self._manager = ocp.CheckpointManager(self._folder, options=options, handler_registry=handlers)

    def latest(self) -> int | None:
        """The step of the newest complete checkpoint."""
        return self._manager.latest_step()

    def config(self, step: int) -> TrainConfig:
        """The configuration that was saved with a step."""
        return read_config(self._folder / str(step))[0]

    def save(self, step: int, state: Any, iterator: grain.DatasetIterator, cfg: TrainConfig) -> None:
        """Starts saving; the state may be donated as soon as this returns."""
        saved = {"model": state.model, "training": {"step": state.step, "training": state.training}}
        if jax.default_backend() == "cpu":
            # On CPU "device to host" is no copy, and the next step overwrites donated buffers.
            saved = jax.tree.map(jnp.copy, saved)
        self._manager.save(
            step,
            args=ocp.args.Composite(
                model=ocp.args.StandardSave(saved["model"]),
                training=ocp.args.StandardSave(saved["training"]),
                data=grain.checkpoint.CheckpointSave(iterator),
                config=ocp.args.JsonSave({"config": to_dict(cfg), "step": step}),
            ),
        )

    def restore(self, step: int, abstract_state: Any, iterator: grain.DatasetIterator) -> Any:
        """The state as saved, placed as `abstract_state` says, on any mesh; sets the iterator to continue.

        What a host has read says nothing to another number of hosts: then the data begins anew.
        """
        training = {"step": abstract_state.step, "training": abstract_state.training}
        parts = {
            "model": ocp.args.StandardRestore(abstract_state.model),
            "training": ocp.args.StandardRestore(training),
        }
        hosts = len(list((self._folder / str(step) / "data").glob("process_*.json")))
        if hosts == jax.process_count():
            parts["data"] = grain.checkpoint.CheckpointRestore(iterator)
        else:
            log.warning("saved by %d hosts, now %d: the data is read from its start", hosts, jax.process_count())
        try:
            found = self._manager.restore(step, args=ocp.args.Composite(**parts))
        except (ValueError, KeyError) as error:
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
        self._manager.close()


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:300]


def find_checkpoint(path: str | pathlib.Path) -> pathlib.Path:
    """The folder of one checkpoint, given it, a `checkpoints` folder or a work directory (then the newest)."""
    path = pathlib.Path(path).absolute()
    if not path.exists():
        raise CheckpointError(f"{path}: no such checkpoint")
    if (path / "model").is_dir():
        return path
    folder = path / "checkpoints" if (path / "checkpoints").is_dir() else path
    steps = sorted((p for p in folder.iterdir() if p.name.isdigit()), key=lambda p: int(p.name))
    if not steps:
        raise CheckpointError(f"{path} holds no complete checkpoint (a folder with model/, checkpoints/<step>/)")
    return steps[-1]


def read_config(checkpoint: pathlib.Path) -> tuple[TrainConfig, int]:
    """The configuration saved in a checkpoint, and its step."""
    try:
        saved = ocp.Checkpointer(ocp.JsonCheckpointHandler()).restore(checkpoint / "config")
        return from_config_dict(saved["config"]), saved["step"]
    except (OSError, KeyError, ValueError) as error:
        raise CheckpointError(f"{checkpoint}: its config can't be read ({_first_line(error)})") from error


def initial_model(source: str, abstract_model: Any) -> Any:
    """The model of another run's checkpoint, placed as `abstract_model` says; averaged weights if it has them.

    Averages start from there too. CheckpointError if it is of another shape.
    """
    folder = find_checkpoint(source)
    checkpointer = ocp.StandardCheckpointer()
    try:
        saved = checkpointer.metadata(folder / "model").item_metadata.tree
        averaged = saved.get("ema") is not None
        wanted = abstract_model.replace(ema=abstract_model.params if averaged else None)
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
    """The model part of a checkpoint on the first local device, without optimiser and discriminators."""
    sharding = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    abstract = jax.tree.map(lambda s: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=sharding), abstract_model)
    try:
        return ocp.StandardCheckpointer().restore(checkpoint / "model", abstract)
    except (OSError, KeyError, ValueError) as error:
        raise CheckpointError(f"{checkpoint}: its model can't be read ({_first_line(error)})") from error

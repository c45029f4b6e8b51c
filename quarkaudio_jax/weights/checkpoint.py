"""Reading and writing the model and the configuration of a checkpoint."""

import contextlib
import json
import logging
import os
import pathlib
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp

from quarkaudio_jax.config import (
    CodecTrainConfig,
    ExperimentConfig,
    LMTrainConfig,
    UniseTrainConfig,
    from_config_dict,
    to_dict,
)
from quarkaudio_jax.errors import QuarkAudioError
from quarkaudio_jax.weights.integrity import MARKER, MODEL, damage, intact_steps, newest_intact

log = logging.getLogger(__name__)

PIECE_BYTES = 256 * 2**20
"""Maximum size of chunks and files in which `write_model` writes arrays, to save memory."""

_DAMAGE_CODES = ("DATA_LOSS", "FAILED_PRECONDITION", "INVALID_ARGUMENT", "NOT_FOUND", "OUT_OF_RANGE")
"""TensorStore's error codes for missing and undecodable bytes."""

_KINDS = {CodecTrainConfig: "a codec", LMTrainConfig: "a language model", UniseTrainConfig: "UniSE"}

Config = TypeVar("Config", CodecTrainConfig, LMTrainConfig, UniseTrainConfig)


class CheckpointError(QuarkAudioError, RuntimeError):
    """A checkpoint that is missing, damaged or of another kind or shape."""


@contextlib.contextmanager
def damage_as_checkpoint_error(step: pathlib.Path) -> Iterator[None]:
    """Raises errors about damaged arrays as a CheckpointError that names the step; other errors pass.

    Orbax wraps TensorStore's errors about the bytes of an array in a bare Exception.
    """
    try:
        yield
    except Exception as error:
        cause = (error.__cause__ or error) if type(error) is Exception else error
        if isinstance(cause, OSError) or any(code in str(cause) for code in _DAMAGE_CODES):
            raise _damaged(step, first_line(cause)) from error
        raise


def _damaged(step: pathlib.Path, reason: str) -> CheckpointError:
    return CheckpointError(f"{step} is damaged ({reason}): move it away. {intact_steps(step)}")


def first_line(error: BaseException) -> str:
    """The first line of an error's message, at most 300 characters."""
    return str(error).strip().splitlines()[0][:300]


def find_checkpoint(path: str | os.PathLike) -> pathlib.Path:
    """The folder of one checkpoint with an intact model, from it, a `checkpoints` folder or a work directory.

    Of several steps the newest intact one. CheckpointError names damaged steps and the intact ones.
    """
    path = pathlib.Path(path).expanduser().absolute()
    if not path.exists():
        raise CheckpointError(f"{path}: no such checkpoint")
    if path.is_file():
        raise CheckpointError(
            f"{path} is a file, not a checkpoint; convert it: quarkaudio convert import {path.name} --output=FOLDER"
        )
    is_step = path.name.isdigit() and path.parent.name == "checkpoints"
    if is_step or (path / "model").is_dir() or (path / MARKER).exists():
        if reason := damage(path, MODEL):
            raise _damaged(path, reason)
        return path
    folder = path / "checkpoints" if (path / "checkpoints").is_dir() else path
    newest, damaged = newest_intact(folder, MODEL)
    reasons = "; ".join(f"step {step.name} is damaged ({reason})" for step, reason in damaged.items())
    if newest is None:
        raise CheckpointError(
            f"{path} holds no complete checkpoint (a folder with model/, checkpoints/<step>/){reasons and ': ' + reasons}"
        )
    if damaged:
        log.warning("%s: %s; using step %s", folder, reasons, newest.name)
    return newest


def read_metadata(checkpoint: pathlib.Path) -> dict[str, Any]:
    """The JSON metadata of a checkpoint."""
    try:
        return json.loads((checkpoint / "config" / "metadata").read_bytes())
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{checkpoint}: its config can't be read ({first_line(error)})") from error


def parse_train_config(checkpoint: pathlib.Path, metadata: dict[str, Any]) -> tuple[ExperimentConfig, int]:
    """(configuration, step) in the metadata of a checkpoint."""
    try:
        return from_config_dict(metadata["config"]), metadata["step"]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{checkpoint}: its config can't be read ({first_line(error)})") from error


def read_train_config(checkpoint: pathlib.Path) -> tuple[ExperimentConfig, int]:
    """(configuration, step) of a checkpoint."""
    return parse_train_config(checkpoint, read_metadata(checkpoint))


def open_checkpoint(path: str | os.PathLike, kind: type[Config]) -> tuple[pathlib.Path, Config]:
    """(folder of the newest step, configuration); CheckpointError if it holds another kind of model."""
    folder = find_checkpoint(path)
    cfg, _ = read_train_config(folder)
    if type(cfg) is not kind:
        wanted = _KINDS[kind]
        raise CheckpointError(f"{folder} holds {_KINDS[type(cfg)]}, not {wanted}; choose a checkpoint of {wanted}")
    return folder, cfg


def read_initial_model(
    source: str, abstract_model: Any, check: Callable[[ExperimentConfig], None] = lambda cfg: None
) -> Any:
    """The model of another run's checkpoint with the shardings of `abstract_model`, for `config.init_from`.

    Takes the averaged weights if there are any, as the start of the averages too. check: called with the checkpoint's
    configuration. CheckpointError if the model has another shape.
    """
    folder = find_checkpoint(source)
    check(read_train_config(folder)[0])
    checkpointer = ocp.StandardCheckpointer()
    try:
        saved = checkpointer.metadata(folder / "model").item_metadata.tree
        averaged = saved.get("ema") is not None
        wanted = abstract_model.replace(ema=abstract_model.params if averaged else None)
        with damage_as_checkpoint_error(folder):
            model = checkpointer.restore(folder / "model", wanted)
    except (OSError, KeyError, ValueError) as error:
        raise CheckpointError(
            f"config.init_from={source} does not fit this configuration ({first_line(error)}); "
            "choose the size or variant it was made with"
        ) from error
    params = model.ema if averaged else model.params
    ema = None if abstract_model.ema is None else jax.tree.map(jnp.copy, params)
    return model.replace(params=params, ema=ema)


def write_model(folder: str | pathlib.Path, cfg: ExperimentConfig, model: Any) -> None:
    """Writes a model alone as step 0 of a work directory; CheckpointError if the folder has checkpoints.

    Writes in pieces, because Orbax and TensorStore hold two more copies of what they write at once (of NumPy arrays one
    more than of JAX's).
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
    """The model of a checkpoint on the first local device, without optimizer and discriminators."""
    sharding = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    abstract = jax.tree.map(lambda s: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=sharding), abstract_model)
    try:
        with damage_as_checkpoint_error(checkpoint):
            return ocp.StandardCheckpointer().restore(checkpoint / "model", abstract)
    except (OSError, KeyError, ValueError) as error:
        raise CheckpointError(f"{checkpoint}: its model can't be read ({first_line(error)})") from error

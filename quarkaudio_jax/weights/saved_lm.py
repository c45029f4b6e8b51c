"""Reads language models from checkpoints, folders of `save_pretrained`, and by hub name."""

import os
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.linen import meta

from quarkaudio_jax.config import ExperimentConfig, LMTrainConfig
from quarkaudio_jax.weights.checkpoint import CheckpointError, open_checkpoint, read_initial_model, read_model
from quarkaudio_jax.weights.models import LMModel, abstract_lm, eval_params
from quarkaudio_jax.weights.pretrained import read_lm_folder
from quarkaudio_jax.weights.repository import folder_weights, locate


def read_lm(checkpoint: str | os.PathLike, averaged: bool = True) -> tuple[LMTrainConfig, dict[str, Any]]:
    """(training configuration, parameters) of a checkpoint, a folder of `save_pretrained` or a hub name.

    averaged: use `eval_params`.
    """
    path = folder_weights(locate(checkpoint))
    if path.is_file():
        return read_lm_folder(path.parent)
    folder, trained = open_checkpoint(path, LMTrainConfig)
    try:
        abstract = meta.unbox(abstract_lm(trained))
    except ValueError as error:
        raise CheckpointError(f"{folder}: {error}; it was made with another version") from error
    model = read_model(folder, abstract)
    return trained, eval_params(model) if averaged else model.params


def read_initial_lm(source: str, abstract_model: LMModel, check: Callable[[ExperimentConfig], None]) -> LMModel:
    """The language model of `config.init_from`, any source of `read_lm`, with the shardings of `abstract_model`.

    check: called with its training configuration. CheckpointError if it has another shape.
    """
    path = folder_weights(locate(source))
    if not path.is_file():
        return read_initial_model(str(path), abstract_model, check)
    trained, params = read_lm_folder(path.parent)
    check(trained)
    return placed_lm(source, params, abstract_model)


def placed_lm(source: str, params: Any, abstract_model: LMModel) -> LMModel:
    """Parameters with the shardings of `abstract_model`, as the start of the average too.

    CheckpointError, which names `source`, if they have another shape.
    """
    if jax.tree.map(np.shape, params) != jax.tree.map(np.shape, abstract_model.params):
        raise CheckpointError(
            f"config.init_from={source} does not fit this configuration; choose the size and options it was made with"
        )
    placed = jax.tree.map(lambda x, leaf: jax.device_put(x, leaf.sharding), params, abstract_model.params)
    return LMModel(placed, None if abstract_model.ema is None else jax.tree.map(jnp.copy, placed))

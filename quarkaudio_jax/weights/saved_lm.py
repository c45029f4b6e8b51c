"""Reads language models from checkpoints, folders of `save_pretrained`, and by hub name."""

import os
from typing import Any

from flax.linen import meta

from quarkaudio_jax.config import LMTrainConfig
from quarkaudio_jax.weights.checkpoint import CheckpointError, open_checkpoint, read_model
from quarkaudio_jax.weights.models import abstract_lm, eval_params
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

"""Reads language models from checkpoints."""

import os
from typing import Any

from flax.linen import meta

from quarkaudio_jax.config import LMTrainConfig
from quarkaudio_jax.weights.checkpoint import CheckpointError, open_checkpoint, read_model
from quarkaudio_jax.weights.models import abstract_lm, eval_params


def read_lm(checkpoint: str | os.PathLike) -> tuple[LMTrainConfig, dict[str, Any]]:
    """(training configuration, `eval_params`) of a checkpoint."""
    folder, trained = open_checkpoint(checkpoint, LMTrainConfig)
    try:
        abstract = meta.unbox(abstract_lm(trained))
    except ValueError as error:
        raise CheckpointError(f"{folder}: {error}; it was made with another version") from error
    return trained, eval_params(read_model(folder, abstract))

"""Language models out of checkpoints."""

import os
from typing import Any

from flax.linen import meta

from quarkaudio_jax.config import LMTrainConfig
from quarkaudio_jax.weights.checkpoint import CheckpointError, find_checkpoint, read_model, read_train_config
from quarkaudio_jax.weights.models import abstract_lm, eval_params


def read_lm(checkpoint: str | os.PathLike) -> tuple[LMTrainConfig, dict[str, Any]]:
    """(training configuration, parameters) of a checkpoint, averaged ones if it has them."""
    folder = find_checkpoint(checkpoint)
    trained, _ = read_train_config(folder)
    if not isinstance(trained, LMTrainConfig):
        raise CheckpointError(f"{folder} holds a codec, not a language model; name a language model's checkpoint")
    try:
        abstract = meta.unbox(abstract_lm(trained))
    except ValueError as error:
        raise CheckpointError(f"{folder}: {error}; it was made with another version") from error
    return trained, eval_params(read_model(folder, abstract))

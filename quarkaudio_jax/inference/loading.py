"""Loading of task models: a language model over an H-Codec, or UniSE."""

import os
import pathlib
from typing import Any

from quarkaudio_jax.config import UniseTrainConfig
from quarkaudio_jax.errors import UserError
from quarkaudio_jax.inference.codec import load_codec
from quarkaudio_jax.inference.task_model import TaskModel
from quarkaudio_jax.inference.unise import HUB_BICODEC, load_unise
from quarkaudio_jax.weights.checkpoint import find_checkpoint, read_train_config
from quarkaudio_jax.weights.pretrained import LM_TYPE
from quarkaudio_jax.weights.repository import folder_weights, locate, model_type, own_codec
from quarkaudio_jax.weights.saved_lm import read_lm
from quarkaudio_jax.weights.ssl import load_extractor
from quarkaudio_jax.weights.text import load_text_extractor


def load_task_model(
    source: str | os.PathLike,
    codec: str | os.PathLike = "",
    features: str | os.PathLike = "",
    text_features: str | os.PathLike = "",
    batch: int = 4,
    cross_fade: bool = False,
) -> Any:
    """Loads a language model, or UniSE.

    source: a work directory of `train`, one of its checkpoints, a folder of `save_pretrained`, UniSE's weight file, or
    one of these on the Hugging Face hub, `ORG/NAME[@REVISION][:FILE]`. codec: the codec that the training data was prepared
    with, as for `load_codec`; a folder of `save_pretrained` has its own. For UniSE the folder of BiCodec, by default
    SparkAudio/Spark-TTS-0.5B:BiCodec on the hub. features, text_features: folders or hub names of the SSL model's and the
    text encoder's weights, where they are not found automatically. batch: windows of a long recording computed at a time.
    cross_fade: UniSE with overlapping, cross-faded windows instead of the separate segments of the public code (others
    always are). Uses the EMA of the weights if the checkpoint has one. Returns a `TaskModel` or a `UniseModel`, which are used
    alike.
    """
    path = folder_weights(locate(source))
    if _is_unise(path):
        return load_unise(path, codec or HUB_BICODEC, features, batch, cross_fade)
    cfg, params = read_lm(path)
    codec = codec or own_codec(path)
    if not codec:
        raise UserError(f"{source} is a training run without a codec: name the one that its data was prepared with")
    dataset = cfg.dataset
    return TaskModel(
        cfg,
        params,
        load_codec(codec, encoding=False),
        load_extractor(dataset.features.recipe, features or dataset.features.weights),
        load_text_extractor(dataset.text.recipe, text_features or dataset.text.weights),
        batch,
    )


def _is_unise(path: pathlib.Path) -> bool:
    """Whether a located model is UniSE: a weight file of another kind than `LM_TYPE`, or a training run of it."""
    if path.is_file():
        return model_type(path) != LM_TYPE
    return isinstance(read_train_config(find_checkpoint(path))[0], UniseTrainConfig)

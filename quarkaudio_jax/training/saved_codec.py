"""Codecs out of checkpoints and weight files."""

import os
import pathlib
from typing import Any

from flax.linen import meta

from quarkaudio_jax.bridge.files import open_tensors
from quarkaudio_jax.bridge.hcodec import import_hcodec, recognise
from quarkaudio_jax.codec.hcodec import HCodecConfig
from quarkaudio_jax.codec.variants import UPSTREAM_FEATURES
from quarkaudio_jax.schema import CodecTrainConfig, FeatureConfig
from quarkaudio_jax.training.checkpoint import CheckpointError, find_checkpoint, read_config, read_model
from quarkaudio_jax.training.codec_program import abstract_model, configured_codec
from quarkaudio_jax.training.program import best


def read_any(source: str | os.PathLike) -> tuple[HCodecConfig, dict[str, Any], FeatureConfig]:
    """(configuration, variables, where its features come from) of what `load_codec` takes."""
    path = pathlib.Path(source)
    if path.is_file() and path.suffix in (".safetensors", ".pt", ".pth", ".ckpt", ".bin"):
        tensors = open_tensors(path)
        cfg = recognise(tensors)
        variables = import_hcodec(cfg, tensors, consume=True)
        return cfg, variables, FeatureConfig(UPSTREAM_FEATURES[cfg.semantic.feature_dim])
    cfg, variables, trained = read_codec(path)
    return cfg, variables, trained.features


def read_codec(checkpoint: str | os.PathLike, averaged: bool = True):
    """(codec configuration, variables, training configuration) of a checkpoint; averaged: prefer averaged weights."""
    folder = find_checkpoint(checkpoint)
    trained, _ = read_config(folder)
    if not isinstance(trained, CodecTrainConfig):
        raise CheckpointError(f"{folder} holds a language model, not a codec; name a codec's checkpoint")
    try:
        codec_cfg, abstract = configured_codec(trained.codec), meta.unbox(abstract_model(trained))
    except ValueError as error:
        raise CheckpointError(f"{folder}: {error}; it was made with another version") from error
    model = read_model(folder, abstract)
    params = best(model) if averaged else model.params
    return codec_cfg, {"params": params, "codebooks": model.codebooks}, trained

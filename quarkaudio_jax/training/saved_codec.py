"""Codecs out of checkpoints and weight files."""

import os
import pathlib
from typing import Any

from flax.linen import meta

from quarkaudio_jax.bridge.files import open_tensors, read_metadata
from quarkaudio_jax.bridge.hcodec import import_hcodec, recognise
from quarkaudio_jax.codec.hcodec import HCodecConfig
from quarkaudio_jax.codec.variants import UPSTREAM_FEATURES, get_variant
from quarkaudio_jax.schema import CodecTrainConfig, FeatureConfig
from quarkaudio_jax.training.checkpoint import CheckpointError, find_checkpoint, read_config, read_model
from quarkaudio_jax.training.codec_program import abstract_model
from quarkaudio_jax.training.program import best


def read_any(source: str | os.PathLike) -> tuple[HCodecConfig, dict[str, Any], FeatureConfig]:
    """(configuration, variables, where its features come from) of what `load_codec` takes."""
    path = pathlib.Path(source).expanduser()
    if path.is_file() and path.suffix in (".safetensors", ".pt", ".pth", ".ckpt", ".bin"):
        tensors = open_tensors(path)
        cfg = recognise(tensors, read_metadata(path).get("variant", ""))
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
    model = read_model(folder, meta.unbox(abstract_model(trained)))
    params = best(model) if averaged else model.params
    return get_variant(trained.codec.variant), {"params": params, "codebooks": model.codebooks}, trained

"""Reads codecs from checkpoints, weight files, folders of `save_pretrained`, and by hub name."""

import logging
import os
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.linen import meta

from quarkaudio_jax.codec.hcodec import HCodecConfig
from quarkaudio_jax.codec.variants import UPSTREAM_FEATURES, get_variant
from quarkaudio_jax.config import CodecConfig, CodecTrainConfig, ExperimentConfig, FeatureConfig
from quarkaudio_jax.errors import UserError
from quarkaudio_jax.ssl.features import get_recipe
from quarkaudio_jax.weights.checkpoint import CheckpointError, open_checkpoint, read_initial_model, read_model
from quarkaudio_jax.weights.files import Weights, is_weight_file, open_weights
from quarkaudio_jax.weights.hcodec import import_hcodec, match_variant
from quarkaudio_jax.weights.models import CodecModel, abstract_codec, eval_params
from quarkaudio_jax.weights.repository import folder_weights, locate
from quarkaudio_jax.weights.rules import UnmatchedError

log = logging.getLogger(__name__)


def read_any_codec(source: str | os.PathLike) -> tuple[HCodecConfig, dict[str, Any], FeatureConfig]:
    """(configuration, variables, configuration of its features) of a checkpoint, weight file or hub name."""
    path = folder_weights(locate(source))
    if not is_weight_file(path):
        cfg, variables, trained = read_codec(path)
        return cfg, variables, trained.features
    weights = open_weights(path)
    for note in weights.notes:
        log.info("%s: %s", path, note)
    cfg = identify_variant(path, weights)
    features = recorded_features(path, weights, cfg)
    return cfg, import_codec_weights(path, cfg, weights), features


def read_codec_config(source: str | os.PathLike) -> HCodecConfig:
    """The configuration of a checkpoint, weight file or hub name, without reading the weights."""
    path = folder_weights(locate(source))
    return identify_variant(path, open_weights(path)) if is_weight_file(path) else _open_codec(path)[1]


def identify_variant(path: str | os.PathLike, weights: Weights) -> HCodecConfig:
    """The variant of a weight file; UnmatchedError names the file."""
    try:
        return match_variant(weights.tensors, weights.metadata.get("variant", ""))
    except UnmatchedError as error:
        raise UnmatchedError(f"{path}: {error}") from error


def import_codec_weights(
    path: str | os.PathLike, cfg: HCodecConfig, weights: Weights, place=np.asarray
) -> dict[str, Any]:
    """The variables of a weight file; empties `weights.tensors`. UnmatchedError names the file."""
    try:
        return import_hcodec(cfg, weights.tensors, consume=True, place=place)
    except UnmatchedError as error:
        raise UnmatchedError(f"{path}: {error}") from error


def recorded_features(path: str | os.PathLike, weights: Weights, cfg: HCodecConfig) -> FeatureConfig:
    """The features recorded in a weight file; without a record, those of the published codecs, with a warning."""
    recipe = weights.metadata.get("feature_recipe")
    if recipe is not None:
        return FeatureConfig(get_recipe(recipe).name, model=weights.metadata.get("feature_model", ""))
    assumed = get_recipe(UPSTREAM_FEATURES[cfg.semantic.feature_dim])
    message = "%s does not record the features its codec was trained on; assuming %s (%s), as for the published codecs"
    log.warning(message, path, assumed.name, assumed.hub)
    return FeatureConfig(assumed.name, model=assumed.hub or "")


def feature_metadata(features: FeatureConfig) -> dict[str, str]:
    """Metadata of an exported file that records its features; read by `recorded_features`."""
    return {"feature_recipe": features.recipe, "feature_model": features.model}


def read_codec(
    checkpoint: str | os.PathLike, averaged: bool = True
) -> tuple[HCodecConfig, dict[str, Any], CodecTrainConfig]:
    """(codec configuration, variables, training configuration) of a checkpoint; averaged: use `eval_params`."""
    folder, cfg, trained = _open_codec(checkpoint)
    model = read_model(folder, meta.unbox(abstract_codec(trained)))
    params = eval_params(model) if averaged else model.params
    return cfg, {"params": params, "codebooks": model.codebooks}, trained


def read_initial_codec(
    source: str, abstract_model: CodecModel, check: Callable[[ExperimentConfig], None] = lambda cfg: None
) -> CodecModel:
    """The codec of `config.init_from`, any source of `read_any_codec`, with the shardings of `abstract_model`.

    check: called with the codec's configuration. CheckpointError if the model has another shape.
    """
    path = folder_weights(locate(source))
    if not is_weight_file(path):
        return read_initial_model(str(path), abstract_model, check)
    cfg, variables, features = read_any_codec(path)
    check(CodecTrainConfig(codec=CodecConfig(variant=cfg.name), features=features))
    model = CodecModel(variables["params"], variables["codebooks"], None)
    wanted = abstract_model.replace(ema=None)
    if jax.tree.map(np.shape, model) != jax.tree.map(np.shape, wanted):
        raise CheckpointError(f"config.init_from={source} is {cfg.name}; set config.codec.variant={cfg.name}")
    model = jax.tree.map(lambda array, leaf: jax.device_put(array, leaf.sharding), model, wanted)
    return model.replace(ema=None if abstract_model.ema is None else jax.tree.map(jnp.copy, model.params))


def _open_codec(checkpoint: str | os.PathLike) -> tuple[pathlib.Path, HCodecConfig, CodecTrainConfig]:
    """(folder of the newest step, codec configuration, training configuration)."""
    folder, trained = open_checkpoint(checkpoint, CodecTrainConfig)
    try:
        return folder, get_variant(trained.codec.variant), trained
    except UserError as error:
        raise CheckpointError(f"{folder}: {error}; it was made with another version") from error

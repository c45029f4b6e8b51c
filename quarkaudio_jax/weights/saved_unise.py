"""UniSE from its published weight file, and from checkpoints of its training; and back to a file of its names."""

import dataclasses
import os
import pathlib
from typing import Any

import jax
from flax.linen import meta

from quarkaudio_jax.config import DatasetInfo, FeatureConfig, UniseTrainConfig
from quarkaudio_jax.io import atomic
from quarkaudio_jax.lm.unise import LM_UNISE, UniseConfig
from quarkaudio_jax.lm.variants import SIZES, configured_unise
from quarkaudio_jax.tokens.unise import CODEC, SPECIAL, UNISE_TASKS
from quarkaudio_jax.weights import files, pickles
from quarkaudio_jax.weights.backbone import export_unise, read_unise
from quarkaudio_jax.weights.checkpoint import CheckpointError, open_checkpoint, read_initial_model, read_model
from quarkaudio_jax.weights.files import WeightFileError, is_weight_file, open_tensors
from quarkaudio_jax.weights.models import LMModel, abstract_lm, eval_params
from quarkaudio_jax.weights.repository import folder_weights, locate
from quarkaudio_jax.weights.saved_lm import placed_lm

LIGHTNING, STEP = ".ckpt", "current_traning_step"
"""Suffix of the published file, and its field for the step, as it is spelled there."""

_WORDS, _ADAPTER, _MLP = "codec_embedding.weight", "adapter.weight", "layers.{}.mlp.gate_proj.weight"


def is_unise(path: str | os.PathLike) -> bool:
    """Whether a weight file has UniSE's embeddings."""
    return is_weight_file(path) and {_WORDS, _ADAPTER} <= set(open_tensors(path))


def train_config(path: str | os.PathLike) -> UniseTrainConfig:
    """The training configuration that fits a weight file of UniSE; WeightFileError if no size does."""
    tensors = open_tensors(path)
    if not {_WORDS, _ADAPTER, _MLP.format(0)} <= set(tensors):
        raise WeightFileError(f"{path} is not UniSE: it lacks {_WORDS}, {_ADAPTER} or {_MLP.format(0)}")
    (vocabulary, dim), (_, width), (hidden, _) = (tensors[name].shape for name in (_WORDS, _ADAPTER, _MLP.format(0)))
    layers = sum(_MLP.format(i) in tensors for i in range(len(tensors)))
    shape = (dim, layers, hidden)
    size = next(
        (name for name, c in SIZES.items() if (c.dim, c.num_layers, c.hidden) == shape and not c.qkv_bias), None
    )
    if size is None:
        raise WeightFileError(
            f"{path} is UniSE with {layers} layers of {dim} and MLPs of {hidden}, which is no size of config.lm.size"
        )
    dataset = DatasetInfo(
        codec=CODEC,
        codebooks=(LM_UNISE.global_size, vocabulary - SPECIAL - LM_UNISE.global_size),
        features=FeatureConfig(recipe="wavlm"),
        feature_width=width,
        tasks=tuple(UNISE_TASKS),
    )
    return UniseTrainConfig(lm=dataclasses.replace(UniseTrainConfig().lm, size=size), dataset=dataset)


def read_unise_run(checkpoint: str | os.PathLike, averaged: bool = True) -> tuple[UniseTrainConfig, Any]:
    """(training configuration, parameters) of a checkpoint of UniSE. averaged: use `eval_params`."""
    folder, trained = open_checkpoint(checkpoint, UniseTrainConfig)
    model = read_model(folder, meta.unbox(abstract_lm(trained)))
    return trained, eval_params(model) if averaged else model.params


def read_any_unise(source: str | os.PathLike, cfg: UniseConfig | None = None) -> tuple[UniseConfig, Any, DatasetInfo]:
    """(configuration, parameters, data it was trained on) of a weight file, a hub name or a training run.

    cfg: of the weight file (default: that of its shapes).
    """
    path = folder_weights(locate(source))
    if path.is_dir():
        trained, params = read_unise_run(path)
        return configured_unise(trained), params, trained.dataset
    if cfg is not None:
        return cfg, read_unise(path, cfg), DatasetInfo(codec=CODEC, features=FeatureConfig(recipe="wavlm"))
    fitting = train_config(path)
    wanted = configured_unise(fitting)
    return wanted, read_unise(path, wanted), fitting.dataset


def read_initial_unise(source: str, cfg: UniseConfig, abstract_model: LMModel) -> LMModel:
    """UniSE of `config.init_from`, a weight file, a hub name or a run, with the shardings of `abstract_model`."""
    path = folder_weights(locate(source))
    if not is_weight_file(path):
        return read_initial_model(str(path), abstract_model)
    try:
        params = read_unise(path, cfg)
    except WeightFileError as error:
        raise CheckpointError(f"config.init_from={source} does not fit this configuration ({error})") from error
    return placed_lm(source, params, abstract_model)


def check_writable_unise(path: str | os.PathLike) -> pathlib.Path:
    """Returns the path; WeightFileError unless `write_unise` can write a file of that name."""
    path = pathlib.Path(path)
    if path.suffix == LIGHTNING:
        files.check_writable(path.with_suffix(".pt"))
        return path
    return files.check_writable(path)


def write_unise(path: str | os.PathLike, cfg: UniseConfig, params: Any) -> int:
    """Writes a weight file with the public names; returns the number of tensors.

    .ckpt: a checkpoint of PyTorch Lightning, as published. .safetensors, .pt, .pth: its state dict.
    """
    path = check_writable_unise(path)
    tensors = {f"dnn.{name}": x for name, x in export_unise(cfg, jax.device_get(params)).items()}
    if path.suffix == LIGHTNING:
        with atomic.atomic_write(path) as temporary:
            pickles.save_lightning(temporary, tensors, {STEP: 0})
    else:
        files.write_tensors(path, tensors, {"format": "pt"})
    return len(tensors)

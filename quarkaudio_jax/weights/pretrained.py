"""Folders of `save_pretrained`: config.json, model.safetensors and README.md (the model card).

The folder of a language model has its codec in the subfolder codec/.
"""

import dataclasses
import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import ml_dtypes  # noqa: F401  (registers bfloat16 with NumPy)
import numpy as np
from flax import traverse_util

from quarkaudio_jax.codec.hcodec import HCodecConfig
from quarkaudio_jax.config import ExperimentConfig, FeatureConfig, LMTrainConfig, from_config_dict, to_dict
from quarkaudio_jax.errors import UserError
from quarkaudio_jax.io import atomic
from quarkaudio_jax.weights import record
from quarkaudio_jax.weights.checkpoint import find_checkpoint, read_train_config
from quarkaudio_jax.weights.files import read_json, read_tensors, write_tensors
from quarkaudio_jax.weights.hcodec import export_hcodec
from quarkaudio_jax.weights.repository import (
    CARD,
    CODEC,
    CONFIG,
    WEIGHTS,
    HubError,
    describe_error,
    folder_weights,
    model_type,
    parse_hub_name,
)
from quarkaudio_jax.weights.saved_codec import feature_metadata

CODEC_TYPE, LM_TYPE = "quarkaudio_hcodec", "quarkaudio_lm"
"""`model_type` in config.json."""

UNKNOWN_LICENSE = "other"
"""License in the metadata of a card, where none is stated: the hub's word for one that it does not list."""


def write_codec(
    folder: str | os.PathLike,
    cfg: HCodecConfig,
    variables: Mapping[str, Any],
    features: FeatureConfig,
    details: Mapping[str, Any] | None = None,
    dtype: str = "float32",
) -> pathlib.Path:
    """Writes a codec; its weights have names and shapes of the public code.

    dtype: float32 or bfloat16, of the file. details: further rows of the card by title, such as data, steps and metrics;
    `license` is also its metadata.
    """
    properties = {
        "variant": cfg.name,
        "sample_rate": cfg.sample_rate,
        "frame_rate": cfg.frame_rate,
        "bitrate": cfg.bitrate,
        "channels": cfg.channels,
        "num_codebooks": [quantizer.num_codebooks for quantizer in cfg.quantizers.values()],
        "codebook_size": [quantizer.codebook_size for quantizer in cfg.quantizers.values()],
        "feature_recipe": features.recipe,
        "feature_model": features.model,
    }
    metadata = {"format": "pt", "variant": cfg.name, **feature_metadata(features)}
    about = f"H-Codec, variant `{cfg.name}`: {cfg.sample_rate} Hz, {cfg.frame_rate:g} frames per second."
    usage = 'codec = quarkaudio_jax.load_codec("ORG/NAME")\ncodes = codec.encode(wave, sample_rate)'
    card = model_card(about, usage, properties, details or {})
    tensors = {name: array.astype(np.dtype(dtype)) for name, array in export_hcodec(cfg, variables).items()}
    return _write(folder, tensors, metadata, {"model_type": CODEC_TYPE, **properties}, card)


def write_lm(
    folder: str | os.PathLike,
    cfg: LMTrainConfig,
    params: Any,
    details: Mapping[str, Any] | None = None,
    dtype: str = "float32",
    codec: str = "",
) -> pathlib.Path:
    """Writes a language model without its codec; config.json holds its training configuration.

    details, dtype: as of `write_codec`. codec: name of a built-in codec that it is loaded with (empty: the folder CODEC).
    """
    kind = np.dtype(dtype)
    flat = {"/".join(path): np.asarray(x).astype(kind) for path, x in traverse_util.flatten_dict(params).items()}
    about = f"QuarkAudio language model over codes of `{cfg.dataset.codec}`; tasks: {', '.join(cfg.dataset.tasks)}."
    task = cfg.dataset.tasks[0]
    usage = f'model = quarkaudio_jax.load_task_model("ORG/NAME")\nwave = model("{task}", wave, sample_rate)'
    properties = {"size": cfg.lm.size, "codec": cfg.dataset.codec, "features": cfg.dataset.features.recipe}
    config = {"model_type": LM_TYPE, "config": to_dict(_without_paths(cfg))} | ({CODEC: codec} if codec else {})
    return _write(folder, flat, {"format": "flax"}, config, model_card(about, usage, properties, details or {}))


def _write(
    folder: str | os.PathLike,
    tensors: dict[str, np.ndarray],
    metadata: dict[str, str],
    config: Mapping[str, Any],
    card: str,
) -> pathlib.Path:
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_tensors(folder / WEIGHTS, tensors, metadata)
    atomic.write_text(folder / CONFIG, json.dumps(config, indent=2) + "\n")
    atomic.write_text(folder / CARD, card)
    return folder


def _without_paths(cfg: LMTrainConfig) -> LMTrainConfig:
    """The configuration without paths of the machine it was trained on."""
    features = dataclasses.replace(cfg.dataset.features, weights="")
    text = dataclasses.replace(cfg.dataset.text, weights="")
    dataset = dataclasses.replace(cfg.dataset, features=features, text=text)
    return dataclasses.replace(cfg, dataset=dataset, data=dataclasses.replace(cfg.data, folder=""), init_from="")


def read_lm_folder(folder: str | os.PathLike) -> tuple[LMTrainConfig, Any]:
    """(training configuration, parameters) of a folder of `write_lm`; UserError if it is not one."""
    weights = pathlib.Path(folder) / WEIGHTS
    if model_type(weights) != LM_TYPE:
        raise UserError(f"{folder} has no language model: its {CONFIG} has no model_type {LM_TYPE!r}")
    cfg = from_config_dict(read_json(weights.with_name(CONFIG)).get("config", {}), LMTrainConfig)
    flat = {tuple(name.split("/")): np.asarray(x, np.float32) for name, x in read_tensors(weights).items()}
    return cfg, traverse_util.unflatten_dict(flat)


def training_details(checkpoint: str | os.PathLike) -> dict[str, Any]:
    """What is known of a checkpoint, for its card: steps, data, held-out metrics; source and license of converted ones."""
    folder = find_checkpoint(checkpoint)
    cfg, step = read_train_config(folder)
    workdir = folder.parent.parent
    about = read_json(workdir / record.NAME) if (workdir / record.NAME).is_file() else {}
    details = {name: about[name] for name in ("source", "license") if about.get(name) not in (None, record.NO_LICENSE)}
    if not step:
        return details
    details |= {"steps": step, "data": _data_names(cfg)}
    return details | _heldout_metrics(workdir / "metrics.jsonl", step)


def _data_names(cfg: ExperimentConfig) -> str:
    """The training data; of local paths only the last part."""
    if isinstance(cfg, LMTrainConfig):
        return pathlib.Path(cfg.data.folder).name
    paths = [path for domain in ("speech", "music", "events") for path in getattr(cfg.data, domain).paths.split(",")]
    return ", ".join(path if ":" in path else pathlib.Path(path).name for path in paths if path)


def _heldout_metrics(file: pathlib.Path, step: int) -> dict[str, float]:
    """The held-out metrics of a step in the log of a run."""
    try:
        rows = [json.loads(line) for line in file.read_text().splitlines()]
    except (OSError, ValueError):
        return {}
    found = {name: value for row in rows if row.get("step") == step for name, value in row.items()}
    return {name: round(value, 4) for name, value in found.items() if name.startswith("heldout/")}


def model_card(about: str, usage: str, properties: Mapping[str, Any], details: Mapping[str, Any]) -> str:
    """A model card: metadata for the hub, a description, how to load the model, and a table of what is known of it."""
    license = details.get("license") or UNKNOWN_LICENSE
    lines = [
        "---",
        "library_name: quarkaudio_jax",
        f"license: {license}",
        "tags:",
        "- audio",
        "- audio-codec",
        "---",
        "",
    ]
    lines += [about, "", "```python", "import quarkaudio_jax", "", usage, "```", "", "| | |", "| --- | --- |"]
    rows = {**properties, **details, "license": details.get("license") or "not stated"}
    lines += [f"| {name.replace('_', ' ')} | {value} |" for name, value in rows.items() if value not in ("", None)]
    return "\n".join(lines) + "\n"


def push(folder: str | os.PathLike, name: str, private: bool = False) -> str:
    """Uploads a folder of `save_pretrained` to ORG/NAME[@REVISION], creating the repository; returns its address.

    Needs a token of the hub (HF_TOKEN, or `hf auth login`). HubError says why the upload failed.
    """
    import huggingface_hub

    target = parse_hub_name(name)
    if target is None or target.path:
        raise UserError(f"{name} is not the name of a hub model: ORG/NAME or ORG/NAME@REVISION")
    if model_type(folder_weights(pathlib.Path(folder))) not in (CODEC_TYPE, LM_TYPE):
        raise UserError(f"{os.fspath(folder)} is not a folder of `convert export --format=hub` or save_pretrained")
    api = huggingface_hub.HfApi()
    try:
        url = api.create_repo(target.repo, private=private, exist_ok=True)
        if target.revision:
            api.create_branch(target.repo, branch=target.revision, exist_ok=True)
        api.upload_folder(
            repo_id=target.repo,
            folder_path=os.fspath(folder),
            revision=target.revision or None,
            allow_patterns=[f"{inner}{file}" for inner in ("", f"{CODEC}/") for file in (CONFIG, WEIGHTS, CARD)],
            commit_message="Upload with quarkaudio_jax",
        )
    except Exception as error:  # whatever the library, its HTTP client or the network raises
        raise HubError(f"{target.repo}: the upload failed ({describe_error(error)})") from error
    return str(url)

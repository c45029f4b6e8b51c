"""Folders of BiCodec: config.yaml and model.safetensors, as published with Spark-TTS."""

import logging
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from quarkaudio_jax.codec.bicodec.model import BiCodecConfig
from quarkaudio_jax.io import atomic
from quarkaudio_jax.weights.bicodec import config_from_yaml, config_to_yaml, export_bicodec, import_bicodec
from quarkaudio_jax.weights.files import WeightFileError, open_tensors, write_tensors
from quarkaudio_jax.weights.repository import WEIGHTS, locate
from quarkaudio_jax.weights.rules import UnmatchedError

log = logging.getLogger(__name__)

SETTINGS, FOLDER, SSL_FOLDER = "config.yaml", "BiCodec", "wav2vec2-large-xlsr-53"
"""Names in the published folder: BiCodec's configuration, its folder, and its SSL model's beside that."""

LICENSE = "CC BY-NC-SA 4.0"
"""License of the weights published with Spark-TTS; it forbids commercial use."""


def bicodec_folder(source: str | os.PathLike) -> pathlib.Path | None:
    """The folder of BiCodec, from it, the folder with it in a subfolder, or its weight file; None for other paths.

    Another file beside BiCodec is not BiCodec.
    """
    path = pathlib.Path(source)
    places = (path / FOLDER, path) if path.is_dir() else (path.parent,) if path.name == WEIGHTS else ()
    return next((p for p in places if (p / SETTINGS).is_file() and (p / WEIGHTS).is_file()), None)


def ssl_folder(source: str | os.PathLike, features: str | os.PathLike = "") -> str | os.PathLike:
    """Where the SSL model is: `features`, else the folder beside BiCodec, else "" for the default of its recipe."""
    folder = bicodec_folder(source)
    beside = None if folder is None else folder.parent / SSL_FOLDER
    return features or (beside if beside is not None and beside.is_dir() else "")


def read_bicodec(source: str | os.PathLike) -> tuple[BiCodecConfig, dict[str, Any]]:
    """(configuration, parameters) of a folder with config.yaml and model.safetensors, of its subfolder BiCodec, or by name."""
    path = locate(source)
    folder = path.parent if path.is_file() else path
    folder = folder / FOLDER if (folder / FOLDER).is_dir() else folder
    try:
        text = (folder / SETTINGS).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise WeightFileError(f"{folder}: not a folder of BiCodec, {SETTINGS} can't be read ({error})") from error
    cfg = config_from_yaml(text, str(folder / SETTINGS))
    weights = folder / WEIGHTS
    log.info("%s: BiCodec; the weights published with Spark-TTS are %s, no commercial use", folder, LICENSE)
    try:
        return cfg, import_bicodec(cfg, open_tensors(weights))
    except UnmatchedError as error:
        raise WeightFileError(f"{weights} is not the BiCodec of its {SETTINGS}: {error}") from error


def write_bicodec(folder: str | os.PathLike, cfg: BiCodecConfig, params: Mapping[str, Any]) -> pathlib.Path:
    """Writes a folder that the public code and `read_bicodec` read; returns it."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: np.asarray(x, order="C") for name, x in export_bicodec(cfg, params).items()}
    write_tensors(folder / WEIGHTS, tensors, {"format": "pt"})
    atomic.write_text(folder / SETTINGS, config_to_yaml(cfg))
    return folder

"""Safe reading and writing of weight files: safetensors and PyTorch state dicts."""

import dataclasses
import importlib.util
import json
import logging
import os
import pathlib
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from quarkaudio_jax.io import atomic
from quarkaudio_jax.weights import pickles
from quarkaudio_jax.weights.names import WeightFileError, canonical

log = logging.getLogger(__name__)

PICKLES = (".pt", ".pth", ".ckpt", ".bin")
SUFFIXES = (".safetensors", *PICKLES)
INDEX = ".index.json"
"""Suffix of the index of a model in several files (shards)."""

FOLDER_NAMES = tuple(n + end for end in ("", INDEX) for n in ("model.safetensors", "pytorch_model.bin"))
"""File names of a Hugging Face model's weights, in order of preference."""


@dataclasses.dataclass(frozen=True)
class Weights:
    """Contents of a weight file.

    tensors: by the names of the public classes. They have a shape and the file's dtype and are read lazily, by
    np.asarray as float32, so that a large file need not be in memory at once. notes: messages on ignored tensors.
    """

    tensors: dict[str, Any]
    metadata: dict[str, str]
    notes: list[str]


def is_weight_file(path: str | os.PathLike) -> bool:
    """Whether `open_weights` supports the file's name."""
    path = pathlib.Path(path)
    return path.is_file() and (path.suffix in SUFFIXES or path.name.endswith(INDEX))


def open_weights(path: str | os.PathLike) -> Weights:
    """Opens a .safetensors file, a PyTorch pickle (.bin, .pt, .pth, .ckpt; weights only) or the index of several.

    Unwraps the state dict of Lightning and other checkpoints, and removes prefixes of wrappers (`names.canonical`).
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise WeightFileError(f"{path}: no such file")
    tensors, metadata = _open_index(path) if path.name.endswith(INDEX) else _open_one(path)
    try:
        tensors, notes = canonical(tensors)
    except WeightFileError as error:
        raise WeightFileError(f"{path}: {error}") from error
    return Weights(tensors, metadata, notes)


def open_tensors(path: str | os.PathLike) -> dict[str, Any]:
    """The tensors of a weight file; logs which are ignored. See `open_weights`."""
    weights = open_weights(path)
    for note in weights.notes:
        log.info("%s: %s", path, note)
    return weights.tensors


def read_tensors(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """The tensors of a weight file in memory; see `open_weights`."""
    return {name: np.asarray(tensor) for name, tensor in open_tensors(path).items()}


def _open_one(path: pathlib.Path) -> tuple[dict[str, Any], dict[str, str]]:
    with open(path, "rb") as file:
        start = file.read(512).lstrip()
    if start.startswith(b"version https://git-lfs"):
        size = re.search(rb"\nsize (\d+)", start)
        mib = f" of {int(size[1]) / 2**20:.1f} MiB" if size else ""
        raise WeightFileError(
            f"{path}: a Git LFS pointer, not the weights{mib}; fetch them with `git lfs pull`, or "
            "download the file itself"
        )
    if not start or start.startswith(b"<"):
        reason = "a web page, not weights" if start else "empty"
        raise WeightFileError(f"{path}: {reason}; download the file again")
    return _open_safetensors(path) if path.suffix == ".safetensors" else pickles.load(path)


def _open_index(path: pathlib.Path) -> tuple[dict[str, Any], dict[str, str]]:
    """(tensors, metadata) of all shards of an index; WeightFileError if a shard lacks a tensor."""
    places = read_json(path).get("weight_map")
    if not isinstance(places, dict) or not places:
        raise WeightFileError(f"{path}: not an index of weights: it has no weight_map")
    tensors: dict[str, Any] = {}
    metadata: dict[str, str] = {}
    for shard in sorted({str(name) for name in places.values()}):
        if pathlib.PurePath(shard).name != shard or pathlib.PurePath(shard).suffix not in SUFFIXES:
            raise WeightFileError(f"{path}: names {shard!r}, which is no weight file beside it")
        if not (path.parent / shard).is_file():
            raise WeightFileError(f"{path}: {shard} is not beside it; download all shards")
        found, about = _open_one(path.parent / shard)
        metadata |= about
        names = [name for name, place in places.items() if place == shard]
        if missing := [name for name in names if name not in found]:
            raise WeightFileError(f"{path}: {shard} does not hold {missing[0]}; the shards are not of one model")
        tensors |= {name: found[name] for name in names}
    return tensors, metadata


DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}


@dataclasses.dataclass(frozen=True)
class _StoredTensor:
    """A tensor in a .safetensors file, read by np.asarray."""

    path: pathlib.Path
    name: str
    shape: tuple[int, ...]
    dtype: str

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        from safetensors import SafetensorError, safe_open

        try:
            # Opened each time: an open file keeps its read pages in memory.
            with safe_open(self.path, framework="numpy") as file:
                array = _float32(file.get_tensor(self.name))
        except (SafetensorError, OSError, ValueError, TypeError, AttributeError) as error:
            raise WeightFileError(f"{self.path}: {self.name} of type {self.dtype} can't be read ({error})") from error
        return array if dtype is None else array.astype(dtype)


def _open_safetensors(path: pathlib.Path) -> tuple[dict[str, Any], dict[str, str]]:
    import ml_dtypes  # noqa: F401  (registers bfloat16 with NumPy)
    from safetensors import SafetensorError, safe_open

    tensors = {}
    try:
        with safe_open(path, framework="numpy") as file:
            for name in file.keys():  # noqa: SIM118  (not a mapping)
                piece = file.get_slice(name)
                dtype = DTYPES.get(piece.get_dtype(), piece.get_dtype())
                tensors[name] = _StoredTensor(path, name, tuple(piece.get_shape()), dtype)
            return tensors, dict(file.metadata() or {})
    except (SafetensorError, OSError, ValueError) as error:
        raise WeightFileError(f"{path}: can't be read as safetensors ({error})") from error


def _float32(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float32) if array.dtype.name in ("float16", "bfloat16", "float64") else array


def read_json(path: pathlib.Path) -> dict[str, Any]:
    """Reads a JSON object; WeightFileError if it is something else."""
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise WeightFileError(f"{path}: not JSON ({error})") from error
    if not isinstance(found, dict):
        raise WeightFileError(f"{path}: holds a {type(found).__name__}, not an object of settings")
    return found


def check_writable(path: str | os.PathLike) -> pathlib.Path:
    """Returns the path; WeightFileError unless `write_tensors` can write a file of that name."""
    path = pathlib.Path(path)
    if path.suffix not in (".safetensors", ".pt", ".pth"):
        raise WeightFileError(f"{path}: the name should end in .safetensors, .pt or .pth")
    if path.suffix != ".safetensors" and importlib.util.find_spec("torch") is None:
        raise WeightFileError(
            f"{path}: writing {path.suffix} needs PyTorch (pip install torch); or name it .safetensors"
        )
    return path


def write_tensors(path: str | os.PathLike, tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str] = {}) -> None:
    """Atomically writes a .safetensors file, or for .pt and .pth a PyTorch state dict."""
    path = check_writable(path)
    with atomic.atomic_write(path) as temporary:
        if path.suffix == ".safetensors":
            from safetensors.numpy import save_file

            temporary.touch()
            mode = temporary.stat().st_mode
            save_file(dict(tensors), temporary, metadata=dict(metadata))
            temporary.chmod(mode)  # safetensors creates files that only their owner can read
        else:
            pickles.save(temporary, tensors, metadata)

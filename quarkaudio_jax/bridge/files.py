"""Weight files of other stacks, read and written without trusting them."""

import dataclasses
import json
import os
import pathlib
import pickle
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from quarkaudio_jax import atomic
from quarkaudio_jax.errors import QuarkAudioError


class WeightFileError(QuarkAudioError, ValueError):
    """A weight file that can't be read, or that can't be trusted."""


def read_tensors(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """The tensors of a weight file in memory; see `open_tensors`."""
    return {name: np.asarray(tensor) for name, tensor in open_tensors(path).items()}


def open_tensors(path: str | os.PathLike) -> dict[str, Any]:
    """The tensors of a .safetensors file, or of a PyTorch pickle (.bin, .pt, .pth, .ckpt; weights only).

    Values have a shape and are read by np.asarray, so that a large file need not be in memory
    at once. Lightning checkpoints and other wrappers are opened at `state_dict`, and a
    `generator.` or `module.` prefix that hides the model is taken off. Half-precision values
    become float32.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise WeightFileError(f"{path}: no such file")
    if path.suffix == ".safetensors":
        return _from_safetensors(path)
    return _named(_from_pickle(path), path)


def read_metadata(path: str | os.PathLike) -> dict[str, str]:
    """What a .safetensors file says of itself; empty for other files."""
    path = pathlib.Path(path)
    if path.suffix != ".safetensors":
        return {}
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            return file.metadata() or {}
    except (SafetensorError, OSError, ValueError) as error:
        raise WeightFileError(f"{path}: can't be read as safetensors ({error})") from error


@dataclasses.dataclass(frozen=True)
class _StoredTensor:
    """A tensor that stays in its .safetensors file until it is asked for."""

    path: pathlib.Path
    name: str
    shape: tuple[int, ...]

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        from safetensors import safe_open

        # Opened anew each time: an open file keeps the pages that were read in memory.
        with safe_open(self.path, framework="numpy") as file:
            array = _float32(file.get_tensor(self.name))
        return array if dtype is None else array.astype(dtype)


def _from_safetensors(path: pathlib.Path) -> dict[str, _StoredTensor]:
    import ml_dtypes  # noqa: F401  (registers bfloat16 with NumPy)
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            names = file.keys()
            return _stripped({k: _StoredTensor(path, k, tuple(file.get_slice(k).get_shape())) for k in names})
    except (SafetensorError, OSError, ValueError) as error:
        raise WeightFileError(f"{path}: can't be read as safetensors ({error})") from error


def _from_pickle(path: pathlib.Path):
    try:
        import torch
    except ImportError as error:
        raise WeightFileError(
            f"{path}: reading a PyTorch pickle needs PyTorch (pip install torch), or convert the file to .safetensors"
        ) from error
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=_is_zip(path))
    except pickle.UnpicklingError as error:
        raise WeightFileError(
            f"{path}: refused, the pickle asks for more than weights ({str(error).splitlines()[0]}); "
            "get the weights as .safetensors from someone you trust"
        ) from error
    except (RuntimeError, EOFError, OSError) as error:
        raise WeightFileError(f"{path}: can't be read as a PyTorch file ({str(error).splitlines()[0]})") from error


def _is_zip(path: pathlib.Path) -> bool:
    with open(path, "rb") as file:
        return file.read(2) == b"PK"


def _named(loaded, path: pathlib.Path) -> dict[str, np.ndarray]:
    for wrapper in ("state_dict", "model", "generator"):
        if isinstance(loaded, Mapping) and isinstance(loaded.get(wrapper), Mapping):
            loaded = loaded[wrapper]
    if not isinstance(loaded, Mapping):
        raise WeightFileError(f"{path}: holds a {type(loaded).__name__}, not a state dict")
    tensors = {k: v for k, v in loaded.items() if hasattr(v, "detach")}
    if not tensors:
        raise WeightFileError(f"{path}: holds no tensors")
    return _stripped({k: _from_torch(v) for k, v in tensors.items()})


def _from_torch(tensor) -> np.ndarray:
    tensor = tensor.detach()
    return (tensor.float() if tensor.is_floating_point() else tensor).numpy()


def _float32(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float32) if array.dtype.name in ("float16", "bfloat16", "float64") else array


def _stripped(tensors: dict[str, Any]) -> dict[str, Any]:
    """Without the prefix of a wrapper; what stands beside a `generator.` (discriminators) is training state."""
    for prefix in ("generator.", "module.", "model."):
        inside = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
        if inside and (prefix == "generator." or len(inside) == len(tensors)):
            return _stripped(inside)
    return tensors


def write_tensors(path: str | os.PathLike, tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str] = {}) -> None:
    """Writes .safetensors, or for .pt and .pth a PyTorch state dict; whole or not at all."""
    path = pathlib.Path(path)
    if path.suffix not in (".safetensors", ".pt", ".pth"):
        raise WeightFileError(f"{path}: the name should end in .safetensors, .pt or .pth")
    with atomic.written(path) as temporary:
        if path.suffix == ".safetensors":
            from safetensors.numpy import save_file

            save_file(dict(tensors), temporary, metadata=dict(metadata))
        else:
            import torch

            torch.save({k: torch.from_numpy(v) for k, v in tensors.items()}, temporary)


def hub_snapshot(name: str, wanted: Sequence[str]) -> pathlib.Path | None:
    """The folder of a hub model in the Hugging Face cache, downloaded if it is not there yet; None if impossible."""
    try:
        import huggingface_hub
    except ImportError:
        return None
    for offline in (True, False):
        try:
            return pathlib.Path(
                huggingface_hub.snapshot_download(name, allow_patterns=list(wanted), local_files_only=offline)
            )
        except Exception:  # the library raises network, cache and validation errors of many kinds
            continue
    return None


WEIGHTS = ("model.safetensors", "pytorch_model.bin")
"""Names of a Hugging Face model's weights, the first that is there."""


@dataclasses.dataclass(frozen=True)
class ModelFolder:
    """A Hugging Face model on disk: its folder and its file of weights."""

    folder: pathlib.Path
    weights: pathlib.Path

    def json(self, name: str = "config.json") -> dict[str, Any]:
        """A file of settings; WeightFileError if it is not JSON."""
        try:
            return json.loads((self.folder / name).read_text())
        except ValueError as error:
            raise WeightFileError(f"{self.folder / name}: not JSON ({error})") from error

    def tensors(self) -> dict[str, np.ndarray]:
        """The weights, see `read_tensors`."""
        return read_tensors(self.weights)


class MissingWeightsError(QuarkAudioError, FileNotFoundError):
    """The weights of a model are not at hand."""


def find_model(source: str, beside: Sequence[str], wanted: str, hub: str, how: str) -> ModelFolder:
    """A Hugging Face model in a folder, or by hub name in the cache or from the network.

    beside: files that must lie beside the weights; of those in one entry, `a|b`, one is enough. MissingWeightsError says
    what to download and where to, with what wants the weights (wanted), the usual model (hub) and how to name a folder
    (how).
    """
    either = [entry.split("|") for entry in (*beside, "|".join(WEIGHTS))]
    folder: pathlib.Path | None = pathlib.Path(source).expanduser()
    if not folder.is_dir():
        folder = hub_snapshot(source, [name for names in either for name in names])
    found = [next((name for name in names if folder and (folder / name).is_file()), "") for names in either]
    if all(found):
        return ModelFolder(folder, folder / found[-1])
    needed = [f"{names[0]} (or {names[1]})" if names[1:] else names[0] for names in either]
    listed = f"{', '.join(needed[:-1])} and {needed[-1]}"
    raise MissingWeightsError(
        f"{wanted} need the weights of {hub}, and {source} is neither a folder with {listed} nor in the Hugging Face "
        f"cache. Download them from https://huggingface.co/{hub} into a folder, and name it by {how}"
    )

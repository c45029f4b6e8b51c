"""PyTorch's pickles (.pt, .pth, .ckpt, .bin), of which nothing but tensors and harmless settings is read."""

import dataclasses
import pathlib
import pickle
import re
import struct
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import numpy as np

from quarkaudio_jax.weights.names import WeightFileError

OURS = "quarkaudio_jax"
"""The key under which a state dict's `_metadata`, which PyTorch keeps beside the tensors, holds what we say of it."""

STATE_DICTS = ("state_dict", "model_state_dict", "model", "generator", "module", "params")
"""Keys under which checkpoints of training keep the state dict."""

DAMAGE = (
    *(RuntimeError, EOFError, OSError, ValueError, LookupError, TypeError, AttributeError),
    *(AssertionError, ArithmeticError, MemoryError, RecursionError, struct.error),
)
"""What PyTorch's reader raises on bytes that it does not understand."""

PATHS = ("PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath")
SETTINGS = (
    "argparse.Namespace",
    "collections.defaultdict",
    "easydict.EasyDict",
    "omegaconf.base.ContainerMetadata",
    "omegaconf.base.Metadata",
    "omegaconf.dictconfig.DictConfig",
    "omegaconf.listconfig.ListConfig",
    "omegaconf.nodes.AnyNode",
    "typing.Any",
    *(f"{p}.utilities.data.AttributeDict" for p in ("lightning.fabric", "lightning_fabric")),
    *(f"{p}.utilities.parsing.AttributeDict" for p in ("lightning.pytorch", "pytorch_lightning")),
    *("builtins.dict", "builtins.list", "builtins.int", "builtins.str", "builtins.float", "builtins.bool"),
)
"""Classes that hold the settings of a run. None of them is imported: `Ignored` takes the place of each."""


class Ignored:
    """Takes the place of a class of settings: an empty dict, one of the few types that weights-only loading fills."""

    def __new__(cls, *_, **__):
        return OrderedDict()


def load(path: pathlib.Path) -> tuple[dict[str, Any], dict[str, str]]:
    """(tensors, metadata) of a PyTorch pickle, read by weights-only loading; WeightFileError if it can't be."""
    try:
        import torch
    except ImportError as error:
        raise WeightFileError(
            f"{path}: reading a PyTorch pickle needs PyTorch (pip install torch), or convert the file to .safetensors"
        ) from error
    harmless = [(Ignored, name) for name in SETTINGS]
    harmless += [
        (pathlib.PurePosixPath, f"{module}.{name}") for module in ("pathlib", "pathlib._local") for name in PATHS
    ]
    try:
        with torch.serialization.safe_globals(harmless):
            loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=_is_zip(path))
    except pickle.UnpicklingError as error:
        raise WeightFileError(f"{path}: {_refusal(error)}") from error
    except DAMAGE as error:
        raise WeightFileError(
            f"{path}: damaged, or no PyTorch file: it can't be read as a PyTorch file ({_one_line(error)}); get it again"
        ) from error
    return _state_dict(loaded, path)


def save(path: pathlib.Path, tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> None:
    """Writes a state dict that load_state_dict takes as it is, with the metadata beside the tensors."""
    import torch

    state = OrderedDict((name, torch.from_numpy(value)) for name, value in tensors.items())
    state._metadata = OrderedDict({OURS: dict(metadata)})
    torch.save(state, path)


@dataclasses.dataclass(frozen=True)
class TorchTensor:
    """A tensor of a pickle, read by np.asarray; half precision becomes float32."""

    tensor: Any
    name: str

    @property
    def shape(self) -> tuple[int, ...]:
        """As in the file."""
        return tuple(self.tensor.shape)

    @property
    def dtype(self) -> str:
        """As in the file."""
        return str(self.tensor.dtype).removeprefix("torch.")

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        try:
            array = (self.tensor.float() if self.tensor.is_floating_point() else self.tensor).numpy()
        except DAMAGE as error:
            raise WeightFileError(f"{self.name}: can't be read ({_one_line(error)})") from error
        return array if dtype is None else array.astype(dtype)


def _is_zip(path: pathlib.Path) -> bool:
    with open(path, "rb") as file:
        return file.read(2) == b"PK"


def _one_line(error: BaseException) -> str:
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error)).strip()
    return text.splitlines()[0][:200] if text else type(error).__name__


def _refusal(error: pickle.UnpicklingError) -> str:
    """Why weights-only loading refused a pickle, with the class or function that it would have called."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error))
    if asked := re.search(r"GLOBAL `?([\w.]+)|unrecognized function ([^\n]+)", text):
        return (
            f"refused, the pickle asks for more than weights ({asked[1] or asked[2]}); get the weights as .safetensors "
            "from someone you trust"
        )
    reason = re.search(r"WeightsUnpickler error:\s*([^\n]+)", text)
    told = reason[1].strip()[:200] if reason else _one_line(error)
    return f"refused, it can't be read as a PyTorch file of weights ({told}); get it again, or as .safetensors"


def _state_dict(loaded: Any, path: pathlib.Path) -> tuple[dict[str, Any], dict[str, str]]:
    for wrapper in STATE_DICTS:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(wrapper), Mapping):
            loaded = loaded[wrapper]
    if not isinstance(loaded, Mapping):
        raise WeightFileError(f"{path}: holds a {type(loaded).__name__}, not a state dict")
    tensors = {k: v for k, v in loaded.items() if isinstance(k, str) and hasattr(v, "is_floating_point")}
    if not tensors:
        raise WeightFileError(f"{path}: holds no tensors")
    beside = getattr(loaded, "_metadata", None)
    told = beside.get(OURS) if isinstance(beside, Mapping) else None
    metadata = {k: v for k, v in told.items() if isinstance(v, str)} if isinstance(told, Mapping) else {}
    return {k: TorchTensor(v.detach(), k) for k, v in tensors.items()}, metadata

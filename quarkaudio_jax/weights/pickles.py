"""Safe reading of PyTorch pickles (.pt, .pth, .ckpt, .bin): tensors and settings only, no code."""

import dataclasses
import pathlib
import pickle
import re
import struct
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from quarkaudio_jax.weights.names import WeightFileError

OURS = "quarkaudio_jax"
"""Key of our metadata in a state dict's `_metadata`, which PyTorch keeps beside the tensors."""

STATE_DICTS = ("state_dict", "model_state_dict", "model", "generator", "module", "params")
"""Keys of the state dict in training checkpoints."""

DAMAGE = (
    *(RuntimeError, EOFError, OSError, ValueError, LookupError, TypeError, AttributeError),
    *(AssertionError, ArithmeticError, MemoryError, RecursionError, struct.error),
)
"""Errors that PyTorch raises for damaged files."""

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
"""Classes of settings in training checkpoints, each replaced by `Ignored` without importing it."""


class Ignored:
    """Replaces a class of settings by an empty OrderedDict, one of the types that weights-only loading can fill."""

    def __new__(cls, *_: Any, **__: Any) -> OrderedDict:  # type: ignore[misc]  # not an instance, on purpose
        """Returns an empty OrderedDict."""
        return OrderedDict()


def load(path: pathlib.Path) -> tuple[dict[str, Any], dict[str, str]]:
    """(tensors, metadata) of a PyTorch pickle by weights-only loading; WeightFileError if it is refused."""
    try:
        import torch
    except ImportError as error:
        raise WeightFileError(
            f"{path}: reading a PyTorch pickle needs PyTorch (pip install torch), or convert the file to .safetensors"
        ) from error
    allowed: list[Callable | tuple[Callable, str]] = [(Ignored, name) for name in SETTINGS]
    allowed += [
        (pathlib.PurePosixPath, f"{module}.{name}") for module in ("pathlib", "pathlib._local") for name in PATHS
    ]
    try:
        with torch.serialization.safe_globals(allowed):
            loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=_is_zip(path))
    except pickle.UnpicklingError as error:
        raise WeightFileError(f"{path}: {_refusal(error)}") from error
    except DAMAGE as error:
        raise WeightFileError(
            f"{path}: damaged, or no PyTorch file: it can't be read as a PyTorch file ({_one_line(error)}); get it again"
        ) from error
    return _state_dict(loaded, path)


def _tensor(value: np.ndarray) -> Any:
    """A PyTorch tensor of the same memory, or of a copy where that is read-only."""
    import torch

    return torch.from_numpy(value if value.flags.writeable else value.copy())


def save(path: pathlib.Path, tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> None:
    """Writes a state dict for load_state_dict, with the metadata beside the tensors."""
    import torch

    state = OrderedDict((name, _tensor(value)) for name, value in tensors.items())
    state._metadata = OrderedDict({OURS: dict(metadata)})  # type: ignore[attr-defined]  # PyTorch's own convention
    torch.save(state, path)


def save_lightning(path: pathlib.Path, tensors: Mapping[str, np.ndarray], fields: Mapping[str, Any]) -> None:
    """Writes a checkpoint of PyTorch Lightning: the weights and further fields, without the state of an optimizer."""
    import torch

    state = {name: _tensor(value) for name, value in tensors.items()}
    begun = {"epoch": 0, "global_step": 0, "pytorch-lightning_version": "2.0.0"}
    torch.save({**begun, **fields, "state_dict": state}, path)


@dataclasses.dataclass(frozen=True)
class TorchTensor:
    """A tensor of a pickle, read by np.asarray, half precision as float32."""

    tensor: Any
    name: str

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape in the file."""
        return tuple(self.tensor.shape)

    @property
    def dtype(self) -> str:
        """The dtype in the file."""
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
    """Why weights-only loading refused a pickle, with the class or function that the pickle calls."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error))
    if call := re.search(r"GLOBAL `?([\w.]+)|unrecognized function ([^\n]+)", text):
        return (
            f"refused, the pickle contains more than weights ({call[1] or call[2]}); get the weights as .safetensors "
            "from someone you trust"
        )
    reason = re.search(r"WeightsUnpickler error:\s*([^\n]+)", text)
    message = reason[1].strip()[:200] if reason else _one_line(error)
    return f"refused, it can't be read as a PyTorch file of weights ({message}); get it again, or as .safetensors"


def _state_dict(loaded: Any, path: pathlib.Path) -> tuple[dict[str, Any], dict[str, str]]:
    for wrapper in STATE_DICTS:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(wrapper), Mapping):
            loaded = loaded[wrapper]
    if not isinstance(loaded, Mapping):
        raise WeightFileError(f"{path}: holds a {type(loaded).__name__}, not a state dict")
    tensors = {k: v for k, v in loaded.items() if isinstance(k, str) and hasattr(v, "is_floating_point")}
    if not tensors:
        raise WeightFileError(f"{path}: holds no tensors")
    modules = getattr(loaded, "_metadata", None)
    ours = modules.get(OURS) if isinstance(modules, Mapping) else None
    metadata = {k: v for k, v in ours.items() if isinstance(v, str)} if isinstance(ours, Mapping) else {}
    return {k: TorchTensor(v.detach(), k) for k, v in tensors.items()}, metadata

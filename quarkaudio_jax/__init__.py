"""quarkaudio_jax: H-Codec and the QuarkAudio language model in JAX."""

import importlib
import importlib.metadata
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from quarkaudio_jax.inference.codec import Codec, load_codec
    from quarkaudio_jax.inference.task_model import TaskModel, load_task_model
    from quarkaudio_jax.types import Codes, Wave

__all__ = ["Codec", "Codes", "TaskModel", "Wave", "load_codec", "load_task_model"]
__version__ = "0.1.0"

_LIBRARY = {
    "Codec": "inference.codec",
    "load_codec": "inference.codec",
    "TaskModel": "inference.task_model",
    "load_task_model": "inference.task_model",
    "Wave": "types",
    "Codes": "types",
}
"""Public name -> its module."""

_HANGING = ("0.11.1", "0.11.2")
"""Versions of jaxlib that may hang on a CPU while several FFTs of a program run at once, the more so the fewer cores."""


def _keep_from_hanging() -> None:
    """Has XLA use one core for each operation of a CPU where `_HANGING` versions would wait for ever.

    Works until JAX first asks for its devices. If XLA_FLAGS says how many to use, that holds.
    """
    flag, given = "--xla_cpu_multi_thread_eigen", os.environ.get("XLA_FLAGS", "")
    try:
        hangs = importlib.metadata.version("jaxlib") in _HANGING
    except importlib.metadata.PackageNotFoundError:
        return
    if hangs and flag not in given:
        os.environ["XLA_FLAGS"] = f"{given} {flag}=false".strip()


_keep_from_hanging()


def __getattr__(name: str) -> Any:
    """The library API, imported on first use: data workers import this package without JAX."""
    if name in _LIBRARY:
        return getattr(importlib.import_module(f"quarkaudio_jax.{_LIBRARY[name]}"), name)
    raise AttributeError(f"module 'quarkaudio_jax' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

"""quarkaudio_jax: H-Codec and the QuarkAudio language model in JAX."""

import importlib
import importlib.metadata
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from quarkaudio_jax.inference.bicodec import BiCodecModel, load_bicodec
    from quarkaudio_jax.inference.codec import Codec, load_codec
    from quarkaudio_jax.inference.loading import load_task_model
    from quarkaudio_jax.inference.task_model import TaskModel
    from quarkaudio_jax.types import Codes, Wave

__all__ = ["BiCodecModel", "Codec", "Codes", "TaskModel", "Wave", "load_bicodec", "load_codec", "load_task_model"]
__version__ = "0.2.0"

_LIBRARY = {
    "BiCodecModel": "inference.bicodec",
    "load_bicodec": "inference.bicodec",
    "Codec": "inference.codec",
    "load_codec": "inference.codec",
    "TaskModel": "inference.task_model",
    "load_task_model": "inference.loading",
    "Wave": "types",
    "Codes": "types",
}
"""Public name -> its module."""

_HANGING = ("0.11.1", "0.11.2")
"""Versions of jaxlib that may hang on a CPU when a program runs several FFTs at once, most often with few cores."""


def _avoid_hanging() -> None:
    """Makes XLA run each CPU operation on one thread, with `_HANGING` versions of jaxlib.

    Has no effect after JAX has initialized its backends, or if XLA_FLAGS sets the option.
    """
    flag, given = "--xla_cpu_multi_thread_eigen", os.environ.get("XLA_FLAGS", "")
    try:
        hangs = importlib.metadata.version("jaxlib") in _HANGING
    except importlib.metadata.PackageNotFoundError:
        return
    if hangs and flag not in given:
        os.environ["XLA_FLAGS"] = f"{given} {flag}=false".strip()


_avoid_hanging()


def __getattr__(name: str) -> Any:
    """The public API, imported on first use, so that data workers import this package without JAX."""
    if name in _LIBRARY:
        return getattr(importlib.import_module(f"quarkaudio_jax.{_LIBRARY[name]}"), name)
    raise AttributeError(f"module 'quarkaudio_jax' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

"""quarkaudio_jax: H-Codec and the QuarkAudio language model in JAX."""

import importlib
from typing import Any

__version__ = "0.1.0"

_LIBRARY = {
    "Codec": "api",
    "load_codec": "api",
    "TaskModel": "task_model",
    "load_task_model": "task_model",
}
"""Public name -> its module."""


def __getattr__(name: str) -> Any:
    """The library API, imported on first use: data workers import this package without JAX."""
    if name in _LIBRARY:
        return getattr(importlib.import_module(f"quarkaudio_jax.{_LIBRARY[name]}"), name)
    raise AttributeError(f"module 'quarkaudio_jax' has no attribute {name!r}")

"""quarkaudio_jax: H-Codec and the QuarkAudio language model in JAX."""

from typing import Any

__version__ = "0.1.0"

_LIBRARY = ("Codec", "load_codec")


def __getattr__(name: str) -> Any:
    """The library API, imported on first use: data workers import this package without JAX."""
    if name in _LIBRARY:
        from quarkaudio_jax import api

        return getattr(api, name)
    raise AttributeError(f"module 'quarkaudio_jax' has no attribute {name!r}")

"""Sources that are synthesized when read, by the prefix of their specifications."""

from collections.abc import Callable

from quarkaudio_jax.data.source import Source
from quarkaudio_jax.data.synthetic.source import EmbeddedSource
from quarkaudio_jax.data.synthetic.voices_source import VoicesSource

GENERATED: dict[str, Callable[[str], Source]] = {"embedded:": EmbeddedSource, "voices:": VoicesSource}
"""Prefix -> source of what follows it."""


def generated_prefix(spec: str) -> str:
    """The prefix of a synthesized source or clip; '' if it is another one."""
    return next((prefix for prefix in GENERATED if spec.startswith(prefix)), "")


def open_generated(spec: str) -> Source:
    """The source PREFIX:NAME; SourceError if there is none of that name."""
    prefix = generated_prefix(spec)
    return GENERATED[prefix](spec.removeprefix(prefix))

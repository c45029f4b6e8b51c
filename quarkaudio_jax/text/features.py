"""Recipes of text features, and their extraction."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from quarkaudio_jax.errors import UserError
from quarkaudio_jax.text.clap import ClapTextConfig, ClapTextEncoder
from quarkaudio_jax.text.t5 import T5Config, T5Encoder

MAX_TOKENS = 128
"""Tokens of a text; longer texts are truncated."""

BATCH = 16
"""Texts encoded together."""


@dataclasses.dataclass(frozen=True)
class TextRecipe:
    """How text features are computed. hub: name of the model, or None for the bytes of the text."""

    name: str
    about: str
    hub: str | None = None


RECIPES = {
    r.name: r
    for r in (
        TextRecipe("bytes", "bytes of the text, whose embedding is trained with the language model"),
        TextRecipe("t5", "last hidden states of the T5 encoder, one per token", "google-t5/t5-base"),
        TextRecipe("clap", "CLAP's embedding of the text, one frame", "laion/clap-htsat-unfused"),
    )
}


def get_recipe(name: str) -> TextRecipe:
    """The recipe of that name; UserError lists the known names."""
    if name not in RECIPES:
        raise UserError(f"text recipe {name!r} is not known; choose one of {', '.join(RECIPES)}")
    return RECIPES[name]


@dataclasses.dataclass(frozen=True)
class TextExtractor:
    """A recipe with its text encoder, if it has one. tokenize: text -> ids."""

    recipe: TextRecipe
    cfg: T5Config | ClapTextConfig | None = None
    params: Any = None
    tokenize: Callable[[str], Sequence[int]] | None = None

    @property
    def width(self) -> int:
        """Width of the features; 0 without an encoder."""
        if self.cfg is None:
            return 0
        return self.cfg.projected if isinstance(self.cfg, ClapTextConfig) else self.cfg.dim

    def __call__(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Features (L, width) float32 of each text; L = 0 for an empty text and for a recipe without encoder."""
        out = [np.zeros((0, max(self.width, 1)), np.float32)] * len(texts)
        if self.cfg is None:
            return out
        assert self.tokenize is not None
        groups: dict[int, list[tuple[int, list[int]]]] = {}
        for index, text in enumerate(texts):
            if text:
                ids = list(self.tokenize(text))
                ids = ids if len(ids) <= MAX_TOKENS else [*ids[: MAX_TOKENS - 1], ids[-1]]
                groups.setdefault(1 << max(len(ids) - 1, 7).bit_length(), []).append((index, ids))
        for size, members in sorted(groups.items()):
            for begin in range(0, len(members), BATCH):
                self._batch(members[begin : begin + BATCH], size, out)
        return out

    def _batch(self, members: list[tuple[int, list[int]]], size: int, out: list[np.ndarray]) -> None:
        """Computes the features of (index, ids) of at most `size` tokens, and writes them to `out`."""
        padded, lengths = np.zeros((BATCH, size), np.int32), np.ones(BATCH, np.int32)
        for row, (_, ids) in enumerate(members):
            padded[row, : len(ids)], lengths[row] = ids, len(ids)
        features = np.asarray(_encode(self.cfg, self.params, padded, lengths))
        for row, (index, ids) in enumerate(members):
            out[index] = features[row, : 1 if isinstance(self.cfg, ClapTextConfig) else len(ids)]


@jax.jit(static_argnums=0)
def _encode(cfg, params, ids_BxL, lengths_B):
    if isinstance(cfg, ClapTextConfig):
        embedding = ClapTextEncoder(cfg).apply({"params": params}, ids_BxL, lengths_B)[1]
        return (embedding / jnp.linalg.norm(embedding, axis=-1, keepdims=True))[:, None]
    return T5Encoder(cfg).apply({"params": params}, ids_BxL, lengths_B)

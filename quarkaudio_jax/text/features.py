"""Recipes of text features, as data, and what computes them."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from quarkaudio_jax.errors import UserError
from quarkaudio_jax.text.clap import ClapTextConfig, ClapTextEncoder
from quarkaudio_jax.text.t5 import T5Config, T5Encoder

LONGEST = 128
"""Tokens of a text; what lies behind is cut off."""

BATCH = 16
"""Texts that are encoded at once."""


@dataclasses.dataclass(frozen=True)
class TextRecipe:
    """hub: the model's hub name, None where the text goes in as its bytes."""

    name: str
    about: str
    hub: str | None = None


RECIPES = {
    r.name: r
    for r in (
        TextRecipe("bytes", "the bytes of the text, for an encoder that is trained with the language model"),
        TextRecipe("t5", "last hidden states of the T5 encoder, one a token", "google-t5/t5-base"),
        TextRecipe("clap", "CLAP's embedding of the whole text, one frame", "laion/clap-htsat-unfused"),
    )
}


def get_recipe(name: str) -> TextRecipe:
    """The recipe of that name; ValueError lists the known names."""
    if name not in RECIPES:
        raise UserError(f"text recipe {name!r} is not known; choose one of {', '.join(RECIPES)}")
    return RECIPES[name]


@dataclasses.dataclass(frozen=True)
class TextExtractor:
    """A recipe ready to compute. tokenize: text -> ids."""

    recipe: TextRecipe
    cfg: T5Config | ClapTextConfig | None = None
    params: Any = None
    tokenize: Callable[[str], Sequence[int]] | None = None

    @property
    def width(self) -> int:
        """Of a feature; 0 where there are none."""
        if self.cfg is None:
            return 0
        return self.cfg.projected if isinstance(self.cfg, ClapTextConfig) else self.cfg.dim

    def __call__(self, texts: Sequence[str]) -> list[np.ndarray]:
        """(L, width) float32 of each text; L = 0 for an empty text and for a recipe without features."""
        out = [np.zeros((0, max(self.width, 1)), np.float32)] * len(texts)
        if self.cfg is None:
            return out
        groups: dict[int, list[tuple[int, list[int]]]] = {}
        for index, text in enumerate(texts):
            if text:
                ids = list(self.tokenize(text))
                ids = ids if len(ids) <= LONGEST else [*ids[: LONGEST - 1], ids[-1]]
                groups.setdefault(1 << max(len(ids) - 1, 7).bit_length(), []).append((index, ids))
        for size, members in sorted(groups.items()):
            for begin in range(0, len(members), BATCH):
                self._batch(members[begin : begin + BATCH], size, out)
        return out

    def _batch(self, members: list[tuple[int, list[int]]], size: int, out: list[np.ndarray]) -> None:
        """Fills in the features of texts of at most `size` tokens."""
        padded, lengths = np.zeros((BATCH, size), np.int32), np.ones(BATCH, np.int32)
        for row, (_, ids) in enumerate(members):
            padded[row, : len(ids)], lengths[row] = ids, len(ids)
        found = np.asarray(_encode(self.cfg, self.params, padded, lengths))
        for row, (index, ids) in enumerate(members):
            out[index] = found[row, : 1 if isinstance(self.cfg, ClapTextConfig) else len(ids)]


@jax.jit(static_argnums=0)
def _encode(cfg, params, ids_BxL, lengths_B):
    if isinstance(cfg, ClapTextConfig):
        embedding = ClapTextEncoder(cfg).apply({"params": params}, ids_BxL, lengths_B)[1]
        return (embedding / jnp.linalg.norm(embedding, axis=-1, keepdims=True))[:, None]
    return T5Encoder(cfg).apply({"params": params}, ids_BxL, lengths_B)

"""Phonemes to read, in the alphabet of the Kokoro voices: those of English sentences, and made-up words."""

import functools
import importlib
from collections.abc import Callable

import numpy as np

from quarkaudio_jax.errors import UserError


def _letters(text: str) -> tuple[str, ...]:
    return tuple(text.split())


CONSONANTS = _letters("p b t d k ɡ f v s z ʃ ʒ ʧ ʤ θ ð m n ŋ l ɹ w j h")
CLUSTERS = _letters("pl pɹ bl bɹ tɹ dɹ kl kɹ ɡl ɡɹ fl fɹ st sp sk sl sn sm stɹ spɹ skɹ θɹ kw tw sw")
ONSETS = (*(c for c in CONSONANTS if c != "ŋ"), *CLUSTERS, "")
CODAS = (
    *(c for c in CONSONANTS if c not in "wjh"),
    *_letters("st nt nd mp ŋk lt ld ks ps ts ft kt"),
    *[""] * 7,
)
VOWELS = _letters("i ɪ A ɛ æ ɑ ɔ O ʊ u ʌ I W Y ə ɜɹ")

FOREIGN_VOWELS = _letters("a e o y ø œ")
FOREIGN_ONSETS = _letters("x ʁ ɲ ɾ ɣ ç β ʦ r")
"""Sounds of other languages, for voices that were not trained on English alone."""

STRESS = "ˈ"


def import_voices(module: str, package: str):
    """The module of a voice's package; UserError says what to install."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UserError(
            f"natural voices need the package {package}: pip install 'quarkaudio_jax[voices]', "
            "or choose embedded:speech or audio of your own"
        ) from error


@functools.cache
def _dictionary() -> Callable[[str], str]:
    return import_voices("hibari.g2p", "hibari-tts").G2P()


def pronounce(sentence: str) -> str:
    """The phonemes of an English sentence, with spaces between words and its punctuation."""
    return _dictionary()(sentence)


def invent_word(rng: np.random.Generator, foreign: bool = False) -> str:
    """A made-up word of one to three syllables. foreign: with sounds of other languages too."""
    count = int(rng.integers(1, 4))
    stressed = int(rng.integers(count))
    onsets, vowels = ONSETS, VOWELS
    if foreign:
        onsets, vowels = ONSETS + FOREIGN_ONSETS, VOWELS + FOREIGN_VOWELS
    word = ""
    for i in range(count):
        word += onsets[rng.integers(len(onsets))] + STRESS * (i == stressed) + vowels[rng.integers(len(vowels))]
        word += CODAS[rng.integers(len(CODAS))] if rng.random() < 0.5 else ""
    return word


def replace_words(phonemes: str, share: float, rng: np.random.Generator, foreign: bool = False) -> str:
    """Replaces a share of the words by made-up ones."""
    words = phonemes.rstrip(".").split(" ")
    return " ".join(invent_word(rng, foreign) if rng.random() < share else word for word in words) + "."

"""The three things this library passes around, and the names of their axes.

Wave -> Codes -> Tokens -> Codes -> Wave: every folder is an arrow between two of
these, or a tool for making one.

Axis glossary (the suffix of a variable says its shape, ``x_BxTxD``):

    B  batch            S  samples           T  frames
    D  model width      C  channels          F  frequency bins
    K  codebooks        V  vocabulary        H  heads
    L  sequence         G  groups of frames

This module holds no JAX, so that data workers can import it.
"""

import dataclasses
from typing import Any

Array = Any  # numpy.ndarray or jax.Array


@dataclasses.dataclass(frozen=True)
class Wave:
    """Audio in [-1, 1].

    samples_BxS: float32. sample_rate: Hz. lengths_B: valid samples of each item
    (int32), or None when every item is S long.
    """

    samples_BxS: Array
    sample_rate: int
    lengths_B: Array | None = None


@dataclasses.dataclass(frozen=True)
class Codes:
    """Discrete codes of an H-Codec, counted from 0.

    acoustic_BxTxK, semantic_BxTxK: int32. frame_rate: Hz. lengths_B: valid frames
    of each item (int32), or None when every item is T long. durations_BxT: frames
    each code stands for, only for a codec with an adaptive frame rate.
    """

    acoustic_BxTxK: Array
    semantic_BxTxK: Array
    frame_rate: float
    lengths_B: Array | None = None
    durations_BxT: Array | None = None


@dataclasses.dataclass(frozen=True)
class Tokens:
    """What the language model reads and writes: int32 ids with delay pattern applied.

    tokens_BxLxK: int32. lengths_B: valid positions of each item, or None.
    """

    tokens_BxLxK: Array
    lengths_B: Array | None = None


def ceil_div(numerator, denominator: int):
    """Integer division rounded up; works on ints and integer arrays."""
    return -(-numerator // denominator)


def round_up(length, multiple: int):
    """The smallest multiple of `multiple` that is at least `length`."""
    return ceil_div(length, multiple) * multiple

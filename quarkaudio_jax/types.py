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
import math
from typing import Any, Literal

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
    """Ids that the language model reads and writes: codes in the delay pattern with special ids (`tokens.delay`).

    tokens_BxLxK: int32. durations_BxL: frames that the code of codebook 0 at a position stands for (0 without a
    code), only for a codec with an adaptive frame rate.
    """

    tokens_BxLxK: Array
    durations_BxL: Array | None = None


def ceil_div(numerator, denominator: int):
    """Integer division rounded up; works on ints and integer arrays."""
    return -(-numerator // denominator)


def round_up(length, multiple: int):
    """The smallest multiple of `multiple` that is at least `length`."""
    return ceil_div(length, multiple) * multiple


def rescale(length, rate: int, new_rate: int, rounding: Literal["down", "nearest", "up"] = "down"):
    """`length` steps at `rate` as steps at `new_rate`, length * new_rate / rate without rounding errors.

    Works on ints and integer arrays. No intermediate is larger than the result or the product of the two rates
    in lowest terms, so an int32 array is right up to results of 2^31 - 1 (3 h at 192 kHz, 37 h at 16 kHz).
    "nearest" rounds halves up.
    """
    common = math.gcd(rate, new_rate)
    down, up = rate // common, new_rate // common
    if down * up + down > 2**31 and not isinstance(length, int):
        raise ValueError(
            f"lengths at {rate} Hz can't be counted at {new_rate} Hz in 32 bits: the rates share no factor"
        )
    carry = {"down": 0, "nearest": down // 2, "up": down - 1}[rounding]
    blocks = length // down
    return blocks * up + ((length - blocks * down) * up + carry) // down


def resampled_length(length: int, rate: int, new_rate: int) -> int:
    """Samples that a recording of `length` samples has at another rate: the nearest, and of any recording one at least."""
    return max(rescale(length, rate, new_rate, "nearest"), min(length, 1))

"""The data types of this library, names of axes, and length arithmetic.

Wave -> Codes -> Tokens -> Codes -> Wave.

Axes, which variables have as suffixes (``x_BxTxD``):

    B  batch            S  samples           T  frames
    D  model width      C  channels          F  frequency bins
    K  codebooks        V  vocabulary        H  heads
    L  sequence         G  groups of frames

This module does not import JAX, so that data workers start quickly.
"""

import dataclasses
import math
from typing import Any, Literal

import numpy as np

Array = Any  # numpy.ndarray or jax.Array


@dataclasses.dataclass(frozen=True)
class Wave:
    """Audio in [-1, 1].

    samples_BxS: float32; of a stereo codec (B, S, 2), left and right. sample_rate: Hz. lengths_B: valid samples of each item
    (int32), or None if all are S long.
    """

    samples_BxS: Array
    sample_rate: int
    lengths_B: Array | None = None


STREAMS = ("acoustic", "semantic", "spatial")
"""Names of the streams of codes, in the order in which they are stored; a mono codec has the first two."""


@dataclasses.dataclass(frozen=True)
class Codes:
    """Codes of an H-Codec, from 0.

    acoustic_BxTxK, semantic_BxTxK: int32. frame_rate: Hz. lengths_B: valid frames of each item (int32), or None if all are
    T long. durations_BxT: frames per code of a codec with an adaptive frame rate, else None. spatial_BxTxK: the third
    stream, of a stereo codec, else None; streams may differ in K.
    """

    acoustic_BxTxK: Array
    semantic_BxTxK: Array
    frame_rate: float
    lengths_B: Array | None = None
    durations_BxT: Array | None = None
    spatial_BxTxK: Array | None = None

    @property
    def streams(self) -> tuple[Array, ...]:
        """The streams that there are, in the order of `STREAMS`."""
        found = (self.acoustic_BxTxK, self.semantic_BxTxK, self.spatial_BxTxK)
        return tuple(codes for codes in found if codes is not None)

    def to_array(self, layout: Literal["btk", "bkt"] = "btk") -> np.ndarray:
        """All streams, acoustic first, as one int32 array: (B, T, K), or (B, K, T) as other codecs have it.

        Without lengths and durations. ValueError for another layout.
        """
        if layout not in ("btk", "bkt"):
            raise ValueError(f"layout is {layout!r}; it should be 'btk' or 'bkt'")
        codes_BxTxK = np.concatenate([np.asarray(stream, np.int32) for stream in self.streams], axis=-1)
        return codes_BxTxK if layout == "btk" else codes_BxTxK.swapaxes(1, 2)


@dataclasses.dataclass(frozen=True)
class Tokens:
    """Ids that the language model reads and writes: codes in the delay pattern with special ids (`tokens.delay`).

    tokens_BxLxK: int32. durations_BxL: duration in frames of codebook 0's code at each position (0 without one) of a codec
    with an adaptive frame rate, else None.
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
    """Converts a length between rates, length * new_rate / rate, in integer arithmetic.

    Works on ints and integer arrays. No intermediate value exceeds the result or the product of the two rates in lowest
    terms, so that int32 arrays are exact up to results of 2^31 - 1 (3 h at 192 kHz, 37 h at 16 kHz). "nearest" rounds
    halves up.
    """
    common = math.gcd(rate, new_rate)
    down, up = rate // common, new_rate // common
    if down * up + down > 2**31 and not isinstance(length, int):
        raise ValueError(
            f"lengths at {rate} Hz can't be counted at {new_rate} Hz in 32 bits: the rates share no factor"
        )
    carry = {"down": 0, "nearest": down // 2, "up": down - 1}[rounding]
    periods = length // down
    return periods * up + ((length - periods * down) * up + carry) // down


def resampled_length(length: int, rate: int, new_rate: int) -> int:
    """Length of a resampled recording, rounded to the nearest sample; at least 1 unless `length` is 0."""
    return max(rescale(length, rate, new_rate, "nearest"), min(length, 1))

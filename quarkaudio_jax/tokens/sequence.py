"""Where everything of a request stands in the language model's sequence.

    [task] [text ...] [reference start] [reference ...] [source start] [source ...] [codes ...] [tail]

Text and reference are left out, with their start, where the task has none. One position holds
one byte (or feature) of text, one frame of SSL features, or one frame of codes (all codebooks). `tail`
positions follow the codes for what the model adds to them: a start, the delay of the codebooks.
"""

import dataclasses
import enum
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import ml_dtypes
import numpy as np


class Kind(enum.IntEnum):
    """What stands at a position."""

    PADDING = 0
    TASK = 1
    TEXT = 2
    REFERENCE_START = 3
    REFERENCE = 4
    SOURCE_START = 5
    SOURCE = 6
    CODES = 7
    TAIL = 8


NO_CODE = -1
"""In `codes` at positions that hold none."""


def lay_out(
    task: int, text: bytes | int, reference: int, source: int, codes_TxK: np.ndarray, tail: int, durations_T=None
) -> dict[str, np.ndarray]:
    """The sequence of one request and its answer, as long as all its parts together (L).

    text: its bytes, or how many features of text there are; reference, source: how many frames of
    SSL features. Features themselves are put in by `place_features`. durations_T: of an adaptive
    codec's codes.

    kind (L,) int8: `Kind`. value (L,) int32: the task's number, bytes of text, durations of
    codes (1 where they are not given), 0 elsewhere. codes (L, K) int32: `NO_CODE` where there are
    none.
    """
    letters = np.zeros(text, np.uint8) if isinstance(text, int) else np.frombuffer(text, np.uint8)
    parts = [(Kind.TASK, 1), (Kind.TEXT, len(letters))]
    if reference:
        parts += [(Kind.REFERENCE_START, 1), (Kind.REFERENCE, reference)]
    parts += [(Kind.SOURCE_START, 1), (Kind.SOURCE, source), (Kind.CODES, len(codes_TxK)), (Kind.TAIL, tail)]
    kind = np.repeat(np.array([k for k, _ in parts], np.int8), [n for _, n in parts])
    value = np.zeros(len(kind), np.int32)
    codes = np.full((len(kind), codes_TxK.shape[1]), NO_CODE, np.int32)
    answer = len(kind) - tail - len(codes_TxK)
    value[0] = task
    value[1 : 1 + len(letters)] = letters
    codes[answer : answer + len(codes_TxK)] = codes_TxK
    value[answer : answer + len(codes_TxK)] = 1 if durations_T is None or not len(durations_T) else durations_T
    return {"kind": kind, "value": value, "codes": codes}


AUDIO_KINDS = (Kind.REFERENCE, Kind.SOURCE)


def place_features(
    blocks: Iterable[np.ndarray], kind_L: np.ndarray, kinds: Iterable[Kind], out_LxD: np.ndarray
) -> None:
    """Writes blocks of features (T, D), in the order of the sequence, to the positions of `kinds` in out_LxD."""
    places = np.flatnonzero(np.isin(kind_L, list(kinds)))
    done = 0
    for block in blocks:
        if len(block):
            start = places[done]
            out_LxD[start : start + len(block)] = block
            done += len(block)


FEATURE_DTYPES = {"float16": np.float16, "bfloat16": ml_dtypes.bfloat16}


PACKED = ("kind", "value", "codes")
"""Arrays of a sequence that Grain packs; features follow them to their places."""


BLOCKS = ("features", "text_features")


@dataclasses.dataclass(frozen=True)
class Blocks:
    """Features (T, D) that belong to a sequence, on their way to their places in a batch: copied only once."""

    arrays: tuple[np.ndarray, ...]


def assembled(rows: Sequence[Mapping[str, Any]], length: int, with_text: bool) -> dict[str, np.ndarray]:
    """A batch of sequences, one a row of `length` positions.

    rows: what `lay_out` gives, and the blocks (T, D) of `features` and `text_features`.
    """
    packed = []
    for row in rows:
        here = np.arange(length) < len(row["kind"])
        filled = {key: _padded(row[key], length, NO_CODE if key == "codes" else 0) for key in PACKED}
        filled |= {"kind_segment_ids": here.astype(np.int32), "kind_positions": np.where(here, np.arange(length), 0)}
        packed.append({**filled, **{key: [Blocks(tuple(row[key]))] for key in BLOCKS}})
    return _arrays(with_text, packed)


def _padded(array: np.ndarray, length: int, value: int) -> np.ndarray:
    return np.pad(array, ((0, length - len(array)), *[(0, 0)] * (array.ndim - 1)), constant_values=value)


def _arrays(with_text: bool, rows: Sequence[dict[str, Any]]) -> dict[str, np.ndarray]:
    """Packed rows as one batch, features at their places."""
    batch = {name: np.stack([row[name] for row in rows]) for name in PACKED}
    batch["segment"] = np.stack([row["kind_segment_ids"] for row in rows])
    batch["position"] = np.stack([row["kind_positions"] for row in rows]).astype(np.int32)
    kinds = {"features": AUDIO_KINDS, "text_features": (Kind.TEXT,)}
    for name in BLOCKS if with_text else BLOCKS[:1]:
        like = rows[0][name][0].arrays[-1]
        batch[name] = np.zeros((*batch["kind"].shape, like.shape[1]), like.dtype)
        for number, row in enumerate(rows):
            blocks = (array for element in row[name] for array in element.arrays)
            place_features(blocks, batch["kind"][number], kinds[name], batch[name][number])
    return batch

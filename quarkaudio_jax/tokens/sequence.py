"""Layout of a request and its answer in the language model's sequence, and batches of such sequences.

    [task] [text ...] [reference start] [reference ...] [source start] [source ...] [codes ...] [delay padding]

Text and reference, with its start, are present only where the task has them. A position holds one byte (or feature)
of text, one frame of SSL features, or one frame of codes (all codebooks). The delay padding makes room for what the
delay pattern adds to the codes: BOS, EOS and the delay.
"""

import dataclasses
import enum
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import ml_dtypes
import numpy as np


class Kind(enum.IntEnum):
    """What a position of the sequence holds."""

    PADDING = 0
    TASK = 1
    TEXT = 2
    REFERENCE_START = 3
    REFERENCE = 4
    SOURCE_START = 5
    SOURCE = 6
    CODES = 7
    DELAY_PADDING = 8


AUDIO_KINDS = (Kind.REFERENCE, Kind.SOURCE)
"""Positions that hold SSL features."""

NO_CODE = -1
"""Value of `codes` at positions without codes."""

FEATURE_DTYPES = {"float16": np.float16, "bfloat16": ml_dtypes.bfloat16}
"""Types in which features are stored."""

PACKED_KEYS = ("kind", "value", "codes")
"""Arrays of a sequence that are packed position by position."""

FEATURE_KEYS = ("features", "text_features")
"""Arrays of features, which `scatter_features` puts at their positions."""


@dataclasses.dataclass(frozen=True)
class FeatureBlocks:
    """Feature arrays (T, D) of one sequence, copied only once, into their batch."""

    arrays: tuple[np.ndarray, ...]


def build_sequence(
    task: int,
    text: bytes | int,
    reference: int,
    source: int,
    codes_TxK: np.ndarray,
    delay_padding: int,
    durations_T: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """The sequence of one request and its answer, L positions.

    Args:
        task: the task's number.
        text: bytes of the text, or the number of its features.
        reference: frames of SSL features of the reference audio.
        source: frames of SSL features of the source.
        codes_TxK: codes of the answer.
        delay_padding: positions after the codes.
        durations_T: durations of the codes, for an adaptive codec.

    Returns:
        kind (L,) int8: `Kind`. value (L,) int32: the task's number, bytes of text, durations of codes (1 by default),
        0 elsewhere. codes (L, K) int32: `NO_CODE` at positions without codes. Features are added by `collate`.
    """
    text_bytes = np.zeros(text, np.uint8) if isinstance(text, int) else np.frombuffer(text, np.uint8)
    parts = [(Kind.TASK, 1), (Kind.TEXT, len(text_bytes))]
    if reference:
        parts += [(Kind.REFERENCE_START, 1), (Kind.REFERENCE, reference)]
    parts += [
        (Kind.SOURCE_START, 1),
        (Kind.SOURCE, source),
        (Kind.CODES, len(codes_TxK)),
        (Kind.DELAY_PADDING, delay_padding),
    ]
    kind = np.repeat(np.array([k for k, _ in parts], np.int8), [n for _, n in parts])
    value = np.zeros(len(kind), np.int32)
    codes = np.full((len(kind), codes_TxK.shape[1]), NO_CODE, np.int32)
    start = len(kind) - delay_padding - len(codes_TxK)
    value[0] = task
    value[1 : 1 + len(text_bytes)] = text_bytes
    codes[start : start + len(codes_TxK)] = codes_TxK
    value[start : start + len(codes_TxK)] = 1 if durations_T is None or not len(durations_T) else durations_T
    return {"kind": kind, "value": value, "codes": codes}


def stack_frames(features_TxD: np.ndarray, count: int) -> np.ndarray:
    """Groups of `count` frames joined to one, (ceil(T / count), count * D); zeros complete the last group."""
    frames, width = features_TxD.shape
    padded = np.pad(features_TxD, ((0, -frames % count), (0, 0)))
    return padded.reshape(-1, count * width)


def scatter_features(
    blocks: Iterable[np.ndarray], kind_L: np.ndarray, kinds: Iterable[Kind], out_LxD: np.ndarray
) -> None:
    """Writes feature blocks (T, D), in the order of the sequence, to the positions of `kinds` in out_LxD."""
    positions = np.flatnonzero(np.isin(kind_L, list(kinds)))
    done = 0
    for block in blocks:
        if len(block):
            start = positions[done]
            out_LxD[start : start + len(block)] = block
            done += len(block)


def collate(rows: Sequence[Mapping[str, Any]], length: int, with_text: bool) -> dict[str, np.ndarray]:
    """A batch of one sequence a row, padded to `length` positions.

    Args:
        rows: sequences of `build_sequence` with tuples of feature arrays (T, D) under `FEATURE_KEYS`.
        length: L of the batch.
        with_text: whether the batch has text features.

    Returns:
        The arrays of `collate_packed`.
    """
    packed = []
    for row in rows:
        valid = np.arange(length) < len(row["kind"])
        padded = {key: _padded(row[key], length, NO_CODE if key == "codes" else 0) for key in PACKED_KEYS}
        padded |= {"kind_segment_ids": valid.astype(np.int32), "kind_positions": np.where(valid, np.arange(length), 0)}
        packed.append({**padded, **{key: [FeatureBlocks(tuple(row[key]))] for key in FEATURE_KEYS}})
    return collate_packed(with_text, packed)


def _padded(array: np.ndarray, length: int, value: int) -> np.ndarray:
    return np.pad(array, ((0, length - len(array)), *[(0, 0)] * (array.ndim - 1)), constant_values=value)


def collate_packed(with_text: bool, rows: Sequence[dict[str, Any]]) -> dict[str, np.ndarray]:
    """A batch of rows that Grain packed: `PACKED_KEYS`, segment, position (B, L) and features (B, L, D).

    segment counts the sequences of a row from 1 (0: padding), position counts within each. text_features (B, L, D)
    are present if `with_text`.
    """
    batch = {name: np.stack([row[name] for row in rows]) for name in PACKED_KEYS}
    batch["segment"] = np.stack([row["kind_segment_ids"] for row in rows])
    batch["position"] = np.stack([row["kind_positions"] for row in rows]).astype(np.int32)
    kinds = {"features": AUDIO_KINDS, "text_features": (Kind.TEXT,)}
    for name in FEATURE_KEYS if with_text else FEATURE_KEYS[:1]:
        like = rows[0][name][0].arrays[-1]
        batch[name] = np.zeros((*batch["kind"].shape, like.shape[1]), like.dtype)
        for index, row in enumerate(rows):
            blocks = (array for element in row[name] for array in element.arrays)
            scatter_features(blocks, batch["kind"][index], kinds[name], batch[name][index])
    return batch

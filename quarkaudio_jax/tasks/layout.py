"""Where everything of a request stands in the language model's sequence.

    [task] [text ...] [reference start] [reference ...] [source start] [source ...] [codes ...] [tail]

Text and reference are left out, with their start, where the task has none. One position holds
one byte (or feature) of text, one frame of SSL features, or one frame of codes (all codebooks). `tail`
positions follow the codes for what the model adds to them: a start, the delay of the codebooks.
"""

import enum
from collections.abc import Iterable

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

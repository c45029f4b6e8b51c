"""Where everything of a request stands in the language model's sequence.

    [task] [text ...] [reference start] [reference ...] [source start] [source ...] [codes ...] [tail]

Text and reference are left out, with their start, where the task has none. One position holds
one byte of text, one frame of SSL features, or one frame of codes (all codebooks). `tail`
positions follow the codes for what the model adds to them: a start, the delay of the codebooks.
"""

import enum

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


def sequence_length(text: int, reference: int, source: int, codes: int, tail: int) -> int:
    """Positions of a request with so many bytes, reference frames, source frames and code frames."""
    return 1 + text + (reference + 1 if reference else 0) + source + 1 + codes + tail


def lay_out(
    task: int,
    text: bytes,
    reference_TxD: np.ndarray,
    source_TxD: np.ndarray,
    codes_TxK: np.ndarray,
    tail: int,
    durations_T: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """The sequence of one request and its answer, L = `sequence_length(...)`.

    kind (L,) int8: `Kind`. value (L,) int32: the task's number, bytes of text, durations of
    codes (1 where they are not given), 0 elsewhere. features (L, D), of the type given, and codes
    (L, K) int32 are 0 and `NO_CODE` where there are none.
    """
    letters = np.frombuffer(text, np.uint8)
    parts = [(Kind.TASK, 1), (Kind.TEXT, len(letters))]
    if len(reference_TxD):
        parts += [(Kind.REFERENCE_START, 1), (Kind.REFERENCE, len(reference_TxD))]
    parts += [(Kind.SOURCE_START, 1), (Kind.SOURCE, len(source_TxD)), (Kind.CODES, len(codes_TxK)), (Kind.TAIL, tail)]
    kind = np.repeat(np.array([k for k, _ in parts], np.int8), [n for _, n in parts])
    value = np.zeros(len(kind), np.int32)
    features = np.zeros((len(kind), source_TxD.shape[1]), source_TxD.dtype)
    codes = np.full((len(kind), codes_TxK.shape[1]), NO_CODE, np.int32)
    value[0] = task
    value[1 : 1 + len(letters)] = letters
    source = 1 + len(letters)
    if len(reference_TxD):
        features[source + 1 : source + 1 + len(reference_TxD)] = reference_TxD
        source += 1 + len(reference_TxD)
    source += 1
    answer = source + len(source_TxD)
    features[source:answer] = source_TxD
    codes[answer : answer + len(codes_TxK)] = codes_TxK
    value[answer : answer + len(codes_TxK)] = 1 if durations_T is None or not len(durations_T) else durations_T
    return {"kind": kind, "value": value, "features": features, "codes": codes}

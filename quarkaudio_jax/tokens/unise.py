"""The vocabulary and the answers of UniSE: special ids, global tokens of a voice, semantic tokens of what is said."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from quarkaudio_jax.tokens.tasks import TASKS

GLOBAL_START, SEMANTIC_START, SEMANTIC_END, SPECIAL = 0, 1, 2, 3
"""Special ids, and their number: the first id of a global token."""

NUM_GLOBALS = 32
"""Global tokens of an answer."""

UNISE_TASKS = {name: TASKS[name].number for name in ("restoration", "extraction", "reverse_extraction")}
"""Name of a task -> its number in UniSE (0, 1, 2), which is that of `tokens.tasks`."""

CODEC = "bicodec"
"""Name of BiCodec in prepared data: `acoustic` holds the global tokens (N, 1) and `semantic` the semantic ones (T, 1)."""


def answer_ids(globals_N: np.ndarray, semantic_T: np.ndarray, global_size: int) -> np.ndarray:
    """The ids (N + T + 3,) of an answer, from GLOBAL_START to SEMANTIC_END. global_size: of the global codebook."""
    parts = (
        [GLOBAL_START],
        globals_N.astype(np.int32) + SPECIAL,
        [SEMANTIC_START],
        semantic_T.astype(np.int32) + SPECIAL + global_size,
        [SEMANTIC_END],
    )
    return np.concatenate(parts).astype(np.int32)


def answer_of_record(global_size: int, record: Mapping[str, Any]) -> np.ndarray:
    """`answer_ids` (L, 1) of a prepared record."""
    return answer_ids(record["acoustic"][:, 0], record["semantic"][:, 0], global_size)[:, None]

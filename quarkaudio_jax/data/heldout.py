"""Held-out examples of prepared data."""

import json
import logging
from typing import Any

from quarkaudio_jax.config import LMDataConfig
from quarkaudio_jax.data.prepared import SequenceBuilder, SequenceLayout, open_tasks
from quarkaudio_jax.data.records import Records
from quarkaudio_jax.data.skipping import DataError
from quarkaudio_jax.io.audio import AudioError
from quarkaudio_jax.tokens.sequence import FEATURE_KEYS, collate
from quarkaudio_jax.types import round_up

log = logging.getLogger(__name__)


def heldout_count(total: int, share: float) -> int:
    """Number of records of a task, the first ones, that are kept out of training."""
    return min(max(round(total * share), 1), total - 1) if share > 0 else 0


def heldout_end(records: Records, share: float) -> int:
    """`heldout_count` of a task's records, and the further mixtures of the last target (`PrepareConfig.draws`)."""
    count = heldout_count(len(records), share)
    while 0 < count < len(records) and json.loads(records[count]["meta"]).get("draw"):
        count += 1
    return count


def heldout_rows(cfg: LMDataConfig, layout: SequenceLayout, count: int) -> list[dict[str, Any]]:
    """Reads up to `count` held-out examples of each task, padded to the longest, with `name` and `group` (the task).

    The arrays are those of `data.packing.packed_batches`, without the batch axis.
    """
    found: list[tuple[str, dict[str, Any]]] = []
    for task, (records, _) in open_tasks(cfg).items():
        builder = SequenceBuilder(records, cfg.length, layout)
        for index in range(min(count, heldout_end(records, cfg.heldout))):
            try:
                found.append((f"{task}/{index}", builder.sequence(index)))
            except AudioError as error:
                if cfg.strict:
                    raise DataError(f"{error} (config.data.strict is on)") from error
                log.warning("held-out example skipped: %s", error)
    if not found:
        return []
    length = round_up(max(len(sequence["kind"]) for _, sequence in found), 64)
    with_text = all(sequence["text_features"].arrays[0].shape[1] > 1 for _, sequence in found)
    out = []
    for name, sequence in found:
        row = {**sequence, **{key: sequence[key].arrays for key in FEATURE_KEYS}}
        example = {key: array[0] for key, array in collate([row], length, with_text).items()}
        out.append({**example, "name": name, "group": name.split("/")[0]})
    return out

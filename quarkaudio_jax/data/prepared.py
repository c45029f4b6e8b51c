"""Prepared examples for the language model: opening a folder of `prepare`, and building sequences of its records."""

import dataclasses
import json
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from quarkaudio_jax.config import DatasetInfo, LMDataConfig, from_config_dict, to_dict
from quarkaudio_jax.data.records import Records, parts_of
from quarkaudio_jax.data.shards import PLAN
from quarkaudio_jax.data.skipping import DataError
from quarkaudio_jax.io.audio import AudioError
from quarkaudio_jax.tokens.sequence import FeatureBlocks, build_sequence, stack_frames
from quarkaudio_jax.tokens.tasks import TASKS


@dataclasses.dataclass(frozen=True)
class ExampleId:
    """A record of a task, and its position in the task's shuffled order."""

    task: str
    position: int
    index: int

    def __str__(self) -> str:
        return f"{self.task}/{self.index}"


def frame_codes(record: Mapping[str, Any]) -> np.ndarray:
    """The codes (T, K) of a record, acoustic first."""
    return np.concatenate([record["acoustic"], record["semantic"]], axis=1)


@dataclasses.dataclass(frozen=True)
class SequenceLayout:
    """What a model reads of a record; see `tokens.sequence.build_sequence`.

    delay_padding: positions after the codes. condition_stack: frames of SSL features per position. codes_of: what the
    sequence holds of a record's codes, (L, K); picklable.
    """

    delay_padding: int
    condition_stack: int = 1
    codes_of: Callable[[Mapping[str, Any]], np.ndarray] = frame_codes


@dataclasses.dataclass(frozen=True)
class SequenceBuilder:
    """Builds the sequences of records; length: the longest that is allowed."""

    records: Records
    length: int
    layout: SequenceLayout

    def __call__(self, example: ExampleId) -> dict[str, Any]:
        """The sequence of an example with `example` and `problem`; for an unusable record, these two alone."""
        try:
            return {**self.sequence(example.index), "problem": "", "example": example}
        except AudioError as error:
            return {"problem": str(error), "example": example}

    def sequence(self, index: int) -> dict[str, Any]:
        """The sequence of record `index`; AudioError if it is corrupt or longer than `length`."""
        record = self.records[index]
        layout = self.layout
        codes = layout.codes_of(record)
        text = len(record["text_features"]) if self.records.width("text_features") > 1 else record["text"].encode()
        reference, source = (stack_frames(record[name], layout.condition_stack) for name in ("reference", "source"))
        found: dict[str, Any] = build_sequence(
            TASKS[record["task"]].number,
            text,
            len(reference),
            len(source),
            codes,
            layout.delay_padding,
            record["durations"],
        )
        found["features"] = FeatureBlocks((reference, source))
        found["text_features"] = FeatureBlocks((record["text_features"],))
        if len(found["kind"]) > self.length:
            raise AudioError(
                f"{record['id']}: {len(found['kind'])} positions, more than config.data.length ({self.length})"
            )
        return found


def _weights(cfg: LMDataConfig) -> dict[str, float]:
    """{task: weight} of the finished tasks with a positive weight; DataError if there are none."""
    if not cfg.folder:
        raise DataError("config.data.folder is empty: name the output folder of prepare")
    finished = parts_of(cfg.folder)
    wanted = {task: weight for task, weight in to_dict(cfg.weights).items() if weight > 0 and task in finished}
    if not wanted:
        raise DataError(
            f"{cfg.folder} holds no finished task with a weight (finished: {', '.join(finished) or 'none'})"
        )
    return wanted


def open_tasks(cfg: LMDataConfig) -> dict[str, tuple[Records, float]]:
    """Opens the finished tasks with a positive weight: {task: (records, weight)}; DataError if there are none."""
    return {task: (Records(f"{cfg.folder}/{task}"), weight) for task, weight in _weights(cfg).items()}


def read_dataset_info(cfg: LMDataConfig) -> DatasetInfo:
    """Reads the properties of prepared data, with the tasks to train; DataError if `prepare` did not write them."""
    tasks = tuple(_weights(cfg))
    path = pathlib.Path(cfg.folder) / PLAN
    try:
        dataset = from_config_dict(json.loads(path.read_text())["facts"], DatasetInfo)
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{path}: can't be read ({error}); prepare the data with this version") from error
    return dataclasses.replace(dataset, tasks=tasks)

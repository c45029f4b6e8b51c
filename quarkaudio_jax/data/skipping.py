"""Skipping of unusable examples: counted, logged, and an error when too many are."""

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np

from quarkaudio_jax.errors import QuarkAudioError
from quarkaudio_jax.io.levels import SILENT_PEAK

log = logging.getLogger(__name__)

MAX_CONSECUTIVE_FAILURES = 1000
"""Unusable examples in a row that end a run, however many files there are: a disk is gone, say."""

SILENT_CROPS = 100
"""Silent crops at the beginning of a run that give a warning."""


class DataError(QuarkAudioError, RuntimeError):
    """Training data that can't be used; the message names the file or the setting."""


class SkipMonitor:
    """Filters out examples that carry a problem, counts them and logs each file once.

    strict: a problem is an error. files: how many there are. DataError: each of them has failed since the last usable
    example (and at least 10 examples), or `MAX_CONSECUTIVE_FAILURES` examples have.
    """

    def __init__(self, strict: bool, files: int):
        self._strict, self._files = strict, files
        self._consecutive = 0
        self._failing: set[str] = set()
        self._silent: int | None = 0
        self.count = 0
        self.problems: set[str] = set()
        self._named: set[str] = set()

    def __call__(self, example: Mapping[str, Any]) -> bool:
        """Whether an example can be used: its `problem` is empty."""
        problem = example["problem"]
        if not problem:
            self._consecutive, self._failing = 0, set()
            self._warn_of_silence(example)
            return True
        if self._strict:
            raise DataError(f"{problem} (config.data.strict is on; turn it off to skip such files)")
        name = problem.partition(": ")[0]
        self.count += 1
        self._consecutive += 1
        self._failing.add(name)
        self.problems.add(problem)
        if name not in self._named:
            self._named.add(name)
            log.warning("skipped %s (%d files skipped so far)", problem, len(self._named))
        if len(self._failing) >= self._files and self._consecutive >= 10:
            raise DataError(f"none of the {self._files} files can be used, the last: {problem}")
        if self._consecutive >= MAX_CONSECUTIVE_FAILURES:
            raise DataError(f"{self._consecutive} examples in a row can't be used, the last: {problem}")
        return False

    def _warn_of_silence(self, example: Mapping[str, Any]) -> None:
        """Logs a warning, once, if all crops so far are silent."""
        if self._silent is None or "wave" not in example:
            return
        if np.abs(example["wave"]).max() >= SILENT_PEAK:
            self._silent = None
            return
        self._silent += 1
        if self._silent == min(SILENT_CROPS, self._files):
            log.warning("the first %d crops are all silent: are these the right recordings?", self._silent)

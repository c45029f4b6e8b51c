"""Profiling of selected steps, for TensorBoard's profile page or xprof."""

import logging
import pathlib
import re
from typing import Any

import jax

from quarkaudio_jax.config import ConfigError

log = logging.getLogger(__name__)


def parse_windows(text: str) -> list[tuple[int, int]]:
    """Parses '10-14,500-504' into (first, last) steps; ConfigError unless they are increasing and do not overlap."""
    out: list[tuple[int, int]] = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        found = re.fullmatch(r"(\d+)-(\d+)", part)
        first, last = map(int, found.groups()) if found else (0, -1)
        if not (out[-1][1] if out else 0) < first <= last:
            raise ConfigError(
                f"config.profile.steps is {text!r}: {part!r} is not FIRST-LAST, from step 1 on and after the previous window"
            )
        out.append((first, last))
    return out


class Profiler:
    """Records the windows of `config.profile.steps` to FOLDER/plugins/profile, one file per host."""

    def __init__(self, steps: str, folder: pathlib.Path):
        self._first = {first: last for first, last in parse_windows(steps)}
        self._folder, self._last = folder, 0

    def step(self, number: int) -> jax.profiler.StepTraceAnnotation:
        """Starts a window that begins at step `number`; returns the context for the dispatch of the step."""
        if number in self._first:
            self._last = self._first[number]
            jax.profiler.start_trace(self._folder)
        return jax.profiler.StepTraceAnnotation("train", step_num=number)

    def after(self, number: int, results: Any) -> None:
        """Ends a window after the dispatch of its last step, once its results are ready."""
        if number == self._last:
            jax.block_until_ready(results)
            self.close()
            log.info("profile up to step %d in %s (TensorBoard's profile page, or xprof)", number, self._folder)

    def close(self) -> None:
        """Ends the current window, if any."""
        if self._last:
            self._last = 0
            jax.profiler.stop_trace()

"""The simulator of every task, and examples by task and index."""

from collections.abc import Callable

import numpy as np

from quarkaudio_jax.data.simulation.audio_editing import audio_editing
from quarkaudio_jax.data.simulation.conversion import conversion
from quarkaudio_jax.data.simulation.example import Example, Inputs, RejectedSample
from quarkaudio_jax.data.simulation.rng import RecordedRNG
from quarkaudio_jax.data.simulation.sounds import lass
from quarkaudio_jax.data.simulation.speech_editing import speech_editing
from quarkaudio_jax.data.simulation.speech_tasks import extraction, restoration, reverse_extraction, separation
from quarkaudio_jax.io.audio import AudioError, UnreadableError
from quarkaudio_jax.tokens.tasks import TASKS

SIMULATORS: dict[str, Callable[[Inputs, RecordedRNG], Example]] = {
    simulator.__name__: simulator
    for simulator in (
        *(restoration, extraction, reverse_extraction, separation),
        *(conversion, lass, speech_editing, audio_editing),
    )
}
"""Name of the task -> its simulator."""

MAX_ATTEMPTS = 20

REDRAWN = ("restoration", "extraction", "separation")
"""Tasks in which the same target can be mixed in several ways: it is drawn first."""


def simulate(task: str, inputs: Inputs, seed: int, index: int, draw: int = 0) -> tuple[Example, list[str]]:
    """Simulates example `index` of a task: (example, reasons for rejected attempts). Deterministic in its arguments.

    draw: for tasks of REDRAWN, number of the mixture with that example's talker, cut and level.

    An attempt that meets unusable audio is rejected and drawn again. AudioError: all attempts failed. UnreadableError:
    a file can't be opened (drawing again would give another example than on a machine that can open it). SourceError:
    the sources lack what the task needs.
    """
    problems: list[str] = []
    last = ""
    for attempt in range(MAX_ATTEMPTS):
        seeds = [seed, TASKS[task].number, index, attempt]
        other = np.random.default_rng([*seeds, draw]) if draw else None
        rng = RecordedRNG(np.random.default_rng(seeds), after_target=other)
        rng.log("index", index)
        rng.log("attempt", attempt)
        if draw:
            rng.log("draw", draw)
        try:
            return SIMULATORS[task](inputs, rng), problems
        except UnreadableError:
            raise
        except AudioError as error:
            last = str(error)
            if not isinstance(error, RejectedSample):
                problems.append(last)
    raise AudioError(f"{task} {index}: {MAX_ATTEMPTS} attempts failed, the last: {last}")

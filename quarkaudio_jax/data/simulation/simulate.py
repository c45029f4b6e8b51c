"""One example of any task, by its number."""

from collections.abc import Callable

import numpy as np

from quarkaudio_jax.data.simulation.audio_editing import audio_editing
from quarkaudio_jax.data.simulation.conversion import conversion
from quarkaudio_jax.data.simulation.example import Example, Inputs, Redraw
from quarkaudio_jax.data.simulation.rng import Draws
from quarkaudio_jax.data.simulation.sounds import lass
from quarkaudio_jax.data.simulation.speech_editing import speech_editing
from quarkaudio_jax.data.simulation.speech_tasks import extraction, restoration, reverse_extraction, separation
from quarkaudio_jax.io.audio import AudioError, UnreadableError
from quarkaudio_jax.tokens.tasks import TASKS

SIMULATORS: dict[str, Callable[[Inputs, Draws], Example]] = {
    simulator.__name__: simulator
    for simulator in (
        *(restoration, extraction, reverse_extraction, separation),
        *(conversion, lass, speech_editing, audio_editing),
    )
}
"""By the task's name."""

ATTEMPTS = 20


def simulate(task: str, inputs: Inputs, seed: int, index: int) -> tuple[Example, list[str]]:
    """(example `index` of a task, what could not be used on the way to it); the same for the same arguments.

    Where a draw meets audio that can't be used, the next attempt draws anew; AudioError if all
    fail. UnreadableError for a file that can't be opened: drawing anew would give other examples
    than a machine that can. SourceError if the pools lack what the task needs.
    """
    problems: list[str] = []
    last = ""
    for attempt in range(ATTEMPTS):
        draws = Draws(np.random.default_rng([seed, TASKS[task].number, index, attempt]))
        draws.note("index", index)
        draws.note("attempt", attempt)
        try:
            return SIMULATORS[task](inputs, draws), problems
        except UnreadableError:
            raise
        except AudioError as error:
            last = str(error)
            if not isinstance(error, Redraw):
                problems.append(last)
    raise AudioError(f"{task} {index}: {ATTEMPTS} attempts failed, the last: {last}")

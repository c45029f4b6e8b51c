"""What a request means: one file a task; `TASKS` holds them by name."""

from quarkaudio_jax.tasks.conversion import CONVERSION
from quarkaudio_jax.tasks.editing import AUDIO_EDITING, SPEECH_EDITING
from quarkaudio_jax.tasks.extraction import EXTRACTION, REVERSE_EXTRACTION
from quarkaudio_jax.tasks.lass import LASS
from quarkaudio_jax.tasks.restoration import RESTORATION
from quarkaudio_jax.tasks.separation import SEPARATION
from quarkaudio_jax.tasks.task import Task

TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        *(RESTORATION, EXTRACTION, REVERSE_EXTRACTION, SEPARATION),
        *(CONVERSION, LASS, SPEECH_EDITING, AUDIO_EDITING),
    )
}

__all__ = ["TASKS", "Task"]

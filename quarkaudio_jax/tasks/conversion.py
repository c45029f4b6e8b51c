"""Voice conversion (VC): the source's words, in time, in the reference's voice."""

from quarkaudio_jax.tasks.task import Task

CONVERSION = Task(
    "conversion",
    4,
    "the same words in the reference's voice",
    "convert-voice",
    reference=True,
    asks="a sample of the voice to speak with",
)

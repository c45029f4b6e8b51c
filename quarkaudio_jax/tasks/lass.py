"""Language-queried audio source separation (LASS): the sound that a text describes."""

from quarkaudio_jax.tasks.task import Task

LASS = Task("lass", 5, "the sound that the text describes", "query", text=True, asks="a description of the sound")

"""Speech separation (SS): the louder of two talkers; the other one follows by reverse extraction."""

from quarkaudio_jax.tasks.task import Task

SEPARATION = Task("separation", 3, "the louder of two talkers")

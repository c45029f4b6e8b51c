"""Target speaker extraction (TSE) and its reverse (rTSE): one of two talkers, by a sample of a voice."""

from quarkaudio_jax.tasks.task import Task

EXTRACTION = Task("extraction", 1, "the talker whose voice the reference is", reference=True)
REVERSE_EXTRACTION = Task("reverse_extraction", 2, "the talker whose voice the reference is not", reference=True)

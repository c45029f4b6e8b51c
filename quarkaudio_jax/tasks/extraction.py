"""Target speaker extraction (TSE) and its reverse (rTSE): one of two talkers, by a sample of a voice."""

from quarkaudio_jax.tasks.task import Task

_SAMPLE = dict(verb="extract", reference=True, asks="a sample of the voice")
EXTRACTION = Task("extraction", 1, "the talker whose voice the reference is", **_SAMPLE)
REVERSE_EXTRACTION = Task("reverse_extraction", 2, "the talker whose voice the reference is not", **_SAMPLE)

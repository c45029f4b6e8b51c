"""Speech separation (SS): the louder of two talkers; the other one follows by reverse extraction.

The published way to separate needs no task of its own: restoration finds one of the talkers, who
is then extracted, and excluded, by that as a sample of the voice.
"""

from quarkaudio_jax.tasks.task import Task

CHAIN = ("restoration", "extraction", "reverse_extraction")
"""Tasks that separate two talkers, in order (UniSE)."""

SEPARATION = Task("separation", 3, "the louder of two talkers", "separate")

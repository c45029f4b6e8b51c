"""Speech restoration (SR): clean speech out of a noisy, reverberant, clipped, narrow or broken recording."""

from quarkaudio_jax.tasks.task import Task

RESTORATION = Task("restoration", 0, "clean speech out of a bad recording", "restore")

"""Editing by instruction: words of speech, or sounds of a scene."""

from quarkaudio_jax.tasks.task import Task

SPEECH_EDITING = Task("speech_editing", 6, "speech with words changed as instructed", text=True, aligned=False)
AUDIO_EDITING = Task("audio_editing", 7, "a scene with sounds changed as instructed", text=True, aligned=False)

"""Editing by instruction: words of speech, or sounds of a scene."""

from quarkaudio_jax.tasks.task import Task

_INSTRUCTION = dict(verb="edit", text=True, aligned=False, asks="an instruction")
SPEECH_EDITING = Task("speech_editing", 6, "speech with words changed as instructed", **_INSTRUCTION)
AUDIO_EDITING = Task("audio_editing", 7, "a scene with sounds changed as instructed", **_INSTRUCTION)

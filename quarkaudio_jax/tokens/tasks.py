"""The tasks of the language model: one row each in `TASKS`.

A new task takes a row here, a simulator (`data.simulation.registry.SIMULATORS`) and a test.
"""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Task:
    """A task: its name in the API, in data and in configs, and the parts of its requests.

    number: its row in the model's task embedding, never reused. verb: the `quarkaudio` command that runs it. text,
    reference: whether a request has a text, or reference audio; requires: their description. aligned: the target is
    aligned with the source frame by frame.
    """

    name: str
    number: int
    about: str
    verb: str
    text: bool = False
    reference: bool = False
    aligned: bool = True
    requires: str = ""


TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task("restoration", 0, "clean speech from a noisy or degraded recording", "restore"),
        Task(
            *("extraction", 1, "the speech of the enrolled speaker", "extract"),
            reference=True,
            requires="an enrollment recording of the speaker",
        ),
        Task(
            *("reverse_extraction", 2, "the speech of everyone but the enrolled speaker", "extract --reverse"),
            reference=True,
            requires="an enrollment recording of the speaker",
        ),
        Task("separation", 3, "the louder of two speakers", "separate"),
        Task(
            *("conversion", 4, "the same words in the reference's voice", "convert-voice"),
            reference=True,
            requires="a reference recording of the voice",
        ),
        Task("lass", 5, "the sound that the text describes", "lass", text=True, requires="a description of the sound"),
        Task(
            *("speech_editing", 6, "speech with words changed as instructed", "edit-speech"),
            text=True,
            aligned=False,
            requires="an instruction",
        ),
        Task(
            *("audio_editing", 7, "a scene with sounds changed as instructed", "edit-audio"),
            text=True,
            aligned=False,
            requires="an instruction",
        ),
    )
}
"""Name -> task."""

SEPARATION_STEPS = ("restoration", "extraction", "reverse_extraction")
"""The tasks that separate two speakers, in order (UniSE): restoration finds one of them, and its result is the
enrollment by which that speaker is extracted, and then excluded."""

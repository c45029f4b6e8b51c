"""Manifests: lines of JSON changed field by field, and mutated as bytes; read to the last clip."""

import functools
import io
import pathlib
import random

import numpy as np
import soundfile

from quarkaudio_jax.data.sources import open_source
from quarkaudio_jax.errors import QuarkAudioError
from tests.fuzz.mutations import damaged, edited, json_bytes

LINES = (
    {"id": "a", "audio": "a.wav", "duration": 0.1, "speaker": "s", "transcript": "one two", "start": 0.05},
    {"id": "b", "audio": "a.wav", "words": [["one", 0.0, 0.1], ["two", 0.1, 0.25]], "transcript": "one two"},
    {"id": "c", "audio": "a.wav", "domain": "events", "caption": "a bell", "paraphrases": ["bell", "a bell rings"]},
    {"id": "d", "audio": "embedded:events#3", "domain": "events", "duration": 0.5},
    {"id": "e", "audio": "gone.wav", "domain": "rir", "duration": 1},
)


@functools.cache
def wav() -> bytes:
    """What the lines name."""
    memory = io.BytesIO()
    soundfile.write(memory, 0.1 * np.random.default_rng(0).standard_normal(4000), 16000, format="WAV")
    return memory.getvalue()


def make(rng: random.Random) -> dict[str, bytes]:
    """A manifest beside the audio that it names."""
    lines = [dict(line) for line in LINES]
    if rng.random() < 0.75:
        number = rng.randrange(len(lines))
        lines[number] = edited(rng, lines[number])
    data = b"\n".join(json_bytes(rng, line, ensure_ascii=rng.random() < 0.5) for line in lines) + b"\n"
    return {"m.jsonl": damaged(rng, data) if rng.random() < 0.35 else data, "a.wav": wav()}


def read(path: pathlib.Path) -> None:
    """Opens it and reads every clip; one that can't be read leaves the others."""
    source = open_source(str(path))
    refused = []
    for index in range(len(source)):
        source.same_speaker(index)
        try:
            clip = source.clip(index, 16000)
            assert len(clip.samples_S) and np.isfinite(clip.samples_S).all()
            source.read(index, 0.1, 0.5)
        except QuarkAudioError as error:
            refused.append(error)
    if len(refused) == len(source):
        raise refused[0]


READERS = (read,)

"""Description of a segment of audio: speaker, words and their times, or a caption."""

import dataclasses
from typing import Any

DOMAINS = ("speech", "music", "events", "noise", "rir")
"""Kinds of audio; noise and rir (room impulse responses) are for simulation alone."""


@dataclasses.dataclass(frozen=True)
class Word:
    """A word, or several spoken as one ("on the"), with its start and end in seconds."""

    text: str
    start: float
    end: float


@dataclasses.dataclass(frozen=True)
class Utterance:
    """A segment of audio and its description: one line of a manifest.

    audio: a path, `tfds:NAME:SPLIT#INDEX`, `embedded:KIND#INDEX` or `voices:KIND#INDEX`. start: seconds from its
    beginning. duration: seconds (0: up to its end). words: with times relative to `start`. caption: description of a
    sound. paraphrases: of the caption, the first one a noun phrase.
    """

    id: str
    audio: str
    domain: str = "speech"
    start: float = 0.0
    duration: float = 0.0
    speaker: str = ""
    transcript: str = ""
    words: tuple[Word, ...] = ()
    caption: str = ""
    paraphrases: tuple[str, ...] = ()


def to_json(utterance: Utterance) -> dict[str, Any]:
    """Encodes an utterance as JSON for a manifest, without fields that have their default."""
    out = {}
    for field in dataclasses.fields(Utterance):
        value = getattr(utterance, field.name)
        if field.default is dataclasses.MISSING or value != field.default:
            out[field.name] = value
    if "words" in out:
        out["words"] = [[w.text, w.start, w.end] for w in utterance.words]
    if "paraphrases" in out:
        out["paraphrases"] = list(utterance.paraphrases)
    return out


MOST_SECONDS = 1e9
"""Longest time that is accepted."""


def _number(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MOST_SECONDS:
        raise ValueError(f"{name} is {value!r}, but should be a number of seconds, 0 or more")
    return float(value)


def _words(value: Any) -> tuple[Word, ...]:
    if not isinstance(value, list):
        raise ValueError(f"words is {value!r}, but should be a list of [word, start, end]")
    out: list[Word] = []
    for item in value:
        if not (isinstance(item, list) and len(item) == 3 and isinstance(item[0], str)):
            raise ValueError(f"words holds {item!r}, but should hold [word, start, end]")
        word = Word(item[0], _number(item[1], "a word's start"), _number(item[2], "a word's end"))
        if word.end < word.start or (out and word.start < out[-1].start):
            raise ValueError(f"words: {item!r} ends before it starts, or starts before the word in front of it")
        out.append(word)
    return tuple(out)


def from_json(line: Any) -> Utterance:
    """Decodes a manifest line; ValueError names the wrong field."""
    if not isinstance(line, dict):
        raise ValueError(f"{str(line)[:40]!r} is not an object")
    fields = {f.name: f for f in dataclasses.fields(Utterance)}
    if unknown := sorted(set(line) - set(fields)):
        raise ValueError(f"unknown field {unknown[0]!r}; known are {', '.join(fields)}")
    if missing := [n for n in ("id", "audio") if not line.get(n)]:
        raise ValueError(f"field {missing[0]!r} is missing or empty")
    values: dict[str, Any] = {}
    for name, value in line.items():
        if name in ("start", "duration"):
            values[name] = _number(value, name)
        elif name == "words":
            values[name] = _words(value)
        elif name == "paraphrases":
            if not (isinstance(value, list) and all(isinstance(v, str) for v in value)):
                raise ValueError(f"paraphrases is {value!r}, but should be a list of texts")
            values[name] = tuple(value)
        elif not isinstance(value, str):
            raise ValueError(f"{name} is {value!r}, but should be text")
        else:
            values[name] = value
    utterance = Utterance(**values)
    if utterance.domain not in DOMAINS:
        raise ValueError(f"domain is {utterance.domain!r}, but should be one of {', '.join(DOMAINS)}")
    if utterance.duration and utterance.words and utterance.words[-1].end > utterance.duration + 0.5:
        raise ValueError(
            f"the last word ends at {utterance.words[-1].end} s, after the utterance of {utterance.duration} s"
        )
    return utterance

"""The embedded corpus: speech, music and sound events that are synthesized when read.

Every clip is a pure function of its index: 48 kHz mono, with its transcript or caption.
"""

import dataclasses
import zlib
from collections.abc import Callable, Sequence

import numpy as np

from quarkaudio_jax.data.crops import SourceError
from quarkaudio_jax.data.synthetic import espeak, events, grammar, music
from quarkaudio_jax.data.utterance import Utterance
from quarkaudio_jax.io.transforms import resample

SAMPLE_RATE = 48000


@dataclasses.dataclass(frozen=True)
class Item:
    """A clip, samples_S: float32 at `SAMPLE_RATE`, and its utterance."""

    samples_S: np.ndarray
    utterance: Utterance


# Without the variants with breath, whose noise eSpeak computes from uninitialized memory.
VARIANTS = (
    *(f"m{i}" for i in range(1, 9)),
    "f1",
    "f4",
    *("Alex", "Andrea", "Andy", "Annie", "David", "Gene", "Henrique", "Hugo", "Jacky"),
    *("Lee", "Marco", "Mario", "Michael", "Mike", "Nguyen", "adam", "anika"),
    *("antonio", "belinda", "benjamin", "boris", "ed", "edward", "grandma", "grandpa"),
    *("gustave", "ian", "linda", "marcelo", "max", "michel", "miguel", "norbert", "pablo", "paul"),
    *("pedro", "quincy", "rob", "robert", "shelby", "steph", "travis", "zac"),
)
ACCENTS = {
    **dict.fromkeys(("en-us", "en", "en-gb-scotland", "en-gb-x-rp", "en-gb-x-gbclan", "en-029"), "en"),
    "de": "de",
    **dict.fromkeys(("fr", "fr-ch"), "fr"),
    **dict.fromkeys(("es", "es-419"), "es"),
    "it": "it",
    **dict.fromkeys(("pt", "pt-br"), "pt"),
}
"""Accent -> language."""

SPEAKERS = tuple(f"{accent}+{variant}" for variant in VARIANTS for accent in ACCENTS)
"""Speakers ACCENT+VARIANT; neighbors in the list have different accents."""


def language(speaker: str) -> str:
    """The language of a speaker."""
    return ACCENTS[speaker.partition("+")[0]]


def spoken(text: str, speaker: str, number: int = 0, audio: str = "") -> Item:
    """Synthesizes a text in a speaker's voice; `number` varies the speed slightly. ValueError: an unknown speaker."""
    rng = np.random.default_rng([4, zlib.crc32(speaker.encode())])
    speed, pitch, pitch_range = (int(rng.integers(*r)) for r in ((135, 185), (25, 75), (30, 70)))
    speed += int(np.random.default_rng([5, number]).integers(-15, 16))
    samples, rate, words = espeak.speak(text, espeak.Voice(speaker, speed, pitch, pitch_range))
    samples = resample(samples, rate, SAMPLE_RATE)
    utterance = Utterance(
        id=audio, audio=audio, duration=len(samples) / SAMPLE_RATE, speaker=speaker, transcript=text, words=words
    )
    return Item(samples, utterance)


def script(index: int) -> tuple[str, list[grammar.Sentence]]:
    """(speaker, one or two sentences) of utterance `index`; no sentence occurs twice."""
    speaker = SPEAKERS[index % len(SPEAKERS)]
    spoken_in = language(speaker)
    sentences = [grammar.sentence(spoken_in, index)]
    if np.random.default_rng([1, index]).random() < 0.5:
        sentences.append(grammar.sentence(spoken_in, grammar.size(spoken_in) - 1 - index))
    return speaker, sentences


def speech(index: int) -> Item:
    """Speech, one or two sentences; utterances index, index + len(SPEAKERS), ... have the same speaker."""
    speaker, sentences = script(index)
    return spoken(" ".join(s.text for s in sentences), speaker, index, f"embedded:speech#{index}")


def parallel(index: int, speakers: Sequence[str] = SPEAKERS) -> tuple[Item, Item]:
    """Utterance `index`, and the same words at the same speed by another speaker of `speakers`."""
    item = speech(index)
    others = [s for s in speakers if language(s) == language(item.utterance.speaker) and s != item.utterance.speaker]
    other = others[np.random.default_rng([6, index]).integers(len(others))]
    return item, spoken(item.utterance.transcript, other, index, f"embedded:speech#{index}/{other}")


def music_piece(index: int) -> Item:
    """Music: eight seconds of chords, bass, melody and drums."""
    samples, caption = music.make(np.random.default_rng([2, index]), SAMPLE_RATE)
    name = f"embedded:music#{index}"
    return Item(samples, Utterance(name, name, "music", duration=len(samples) / SAMPLE_RATE, caption=caption))


def event(index: int) -> Item:
    """A sound event of four to eight seconds; kinds alternate."""
    samples, (caption, *paraphrases) = events.make(np.random.default_rng([3, index]), SAMPLE_RATE, index)
    name = f"embedded:events#{index}"
    seconds = len(samples) / SAMPLE_RATE
    return Item(samples, Utterance(name, name, "events", 0.0, seconds, "", "", (), caption, tuple(paraphrases)))


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of clip: make(index) for 0 <= index < size."""

    make: Callable[[int], Item]
    size: int


KINDS = {"speech": Kind(speech, 200_000), "music": Kind(music_piece, 20_000), "events": Kind(event, 20_000)}


SPLITS = ("train", "test")


def members(name: str, split: str) -> tuple[int, list[int]]:
    """(period, indices in each period that belong to a split; '': all of them).

    Test voices are every tenth variant, in all accents. No sentence is in both splits, since none occurs twice.
    """
    if split not in ("", *SPLITS):
        raise SourceError(f"embedded:{name}/{split} does not exist; its splits are {' and '.join(SPLITS)}")
    period, run = (len(SPEAKERS), len(ACCENTS)) if name == "speech" else (10, 1)
    return period, [i for i in range(period) if not split or (i // run % 10 == 9) == (split == "test")]


def kind(name: str) -> Kind:
    """The kind of that name; SourceError lists the known names."""
    if name not in KINDS:
        raise SourceError(f"embedded:{name} does not exist; choose one of {', '.join(KINDS)}")
    return KINDS[name]

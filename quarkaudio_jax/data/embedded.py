"""The embedded corpus: speech, music and sound events made on the spot, no download.

Every item is a pure function of its index, 48 kHz mono, with the text that describes it.
"""

import dataclasses
from collections.abc import Callable

import numpy as np

from quarkaudio_jax.data import espeak, synthesis
from quarkaudio_jax.data.transforms import resample

SAMPLE_RATE = 48000


@dataclasses.dataclass(frozen=True)
class Item:
    """samples_S: float32 at `SAMPLE_RATE`. caption: what is heard; for speech the transcript, with words and speaker."""

    samples_S: np.ndarray
    caption: str
    words: tuple[espeak.Word, ...] = ()
    speaker: str = ""


# Variants with breath are left out: eSpeak computes their noise from memory it never set.
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
ACCENTS = ("en-us", "en", "en-gb-scotland", "en-gb-x-rp", "en-gb-x-gbclan", "en-029")

_WHO = (
    *("the teacher", "my neighbour", "a young doctor", "the old captain", "our guide", "the new student"),
    *("her brother", "the baker", "an engineer", "the tall girl", "his grandmother", "the driver"),
)
_DID = (
    *("found", "carried", "remembered", "painted", "borrowed", "described", "repaired", "forgot", "opened"),
    *("measured", "followed", "sold", "noticed", "collected", "cleaned"),
)
_WHAT = (
    *("a small wooden box", "the yellow bicycle", "seven letters", "the broken clock", "a map of the island"),
    *("the kitchen window", "three silver coins", "an empty bottle", "the longest song", "a quiet river"),
    *("the village church", "some warm bread", "the red umbrella", "a box of matches"),
)
_WHERE = (
    *("near the harbour", "behind the station", "in the garden", "on the second floor", "at the market"),
    *("under the bridge", "by the fire", "along the coast", "outside the museum", "across the valley"),
)
_WHEN = (
    *("early this morning", "last winter", "after the concert", "before sunrise", "on Thursday"),
    *("during the storm", "a week ago", "at half past nine", "when it was raining", "as usual"),
)


def sentence(rng: np.random.Generator) -> str:
    """A sentence of a small grammar."""

    def pick(options):
        return options[rng.integers(len(options))]

    text = f"{pick(_WHO)} {pick(_DID)} {pick(_WHAT)} {pick(_WHERE)} {pick(_WHEN)}."
    return text[0].upper() + text[1:]


def speech(index: int) -> Item:
    """One or two sentences in one of several thousand voices (accent, variant, pitch, speed)."""
    rng = np.random.default_rng([1, index])
    name = f"{ACCENTS[rng.integers(len(ACCENTS))]}+{VARIANTS[rng.integers(len(VARIANTS))]}"
    voice = espeak.Voice(name, *(int(rng.integers(*r)) for r in ((130, 200), (25, 75), (30, 70))))
    text = " ".join(sentence(rng) for _ in range(rng.integers(1, 3)))
    samples, rate, words = espeak.speak(text, voice)
    samples = resample(samples[:, None], rate, SAMPLE_RATE)[:, 0]
    return Item(samples, text, words, f"{name}/{voice.speed}/{voice.pitch}/{voice.pitch_range}")


def music(index: int) -> Item:
    """A few bars of chords, bass and melody with drums, eight seconds."""
    samples, caption = synthesis.music(np.random.default_rng([2, index]), SAMPLE_RATE)
    return Item(samples, caption)


def event(index: int) -> Item:
    """A scene of one kind of sound, four to eight seconds."""
    samples, caption = synthesis.event(np.random.default_rng([3, index]), SAMPLE_RATE)
    return Item(samples, caption)


@dataclasses.dataclass(frozen=True)
class Kind:
    """make(index) for 0 <= index < size."""

    make: Callable[[int], Item]
    size: int


KINDS = {"speech": Kind(speech, 20_000), "music": Kind(music, 5_000), "events": Kind(event, 5_000)}

"""Natural voices as an audio source."""

import functools
from collections.abc import Sequence

import numpy as np

from quarkaudio_jax.data.clip import Clip
from quarkaudio_jax.data.crops import Crop, SourceError, cut
from quarkaudio_jax.data.source import Source
from quarkaudio_jax.data.synthetic import grammar, neural
from quarkaudio_jax.data.synthetic.pronunciation import pronounce, replace_words
from quarkaudio_jax.data.synthetic.recording import record
from quarkaudio_jax.data.utterance import Utterance

KINDS = ("clean", "varied")
SPLITS = ("train", "test")
SIZE = 200_000
"""Utterances of a kind; the same number is the same sentence in both kinds."""

FIRST_SENTENCE = 1_000_000
"""Number in the English grammar of the first utterance's sentence, apart from those of the embedded corpus."""


class VoicesSource(Source):
    """Utterances by the voices of `neural.VOICES`: KIND, or KIND/train and KIND/test, which share no voice and no sentence.

    clean: English sentences with their transcripts. varied: for codecs, some words made up, under the conditions of
    `recording.record`, without transcripts. Every utterance is a pure function of its number.
    """

    def __init__(self, name: str):
        self._kind, _, split = name.partition("/")
        if self._kind not in KINDS:
            raise SourceError(f"voices:{self._kind} does not exist; choose one of {', '.join(KINDS)}")
        if split not in ("", *SPLITS):
            raise SourceError(f"voices:{name} does not exist; its splits are {' and '.join(SPLITS)}")
        wanted = {"": (True, False), "train": (False,), "test": (True,)}[split]
        self._members = [i for i, voice in enumerate(neural.VOICES) if neural.is_test_voice(voice) in wanted]

    def __len__(self) -> int:
        return SIZE // len(neural.VOICES) * len(self._members)

    def _number(self, index: int) -> int:
        period, inner = divmod(index, len(self._members))
        return period * len(neural.VOICES) + self._members[inner]

    def name(self, index: int) -> str:
        """See `Source.name`; the same in a split as in all of a kind."""
        return f"voices:{self._kind}#{self._number(index)}"

    def read(self, index: int, seconds: float | None, position: float) -> Crop:
        """See `Source.read`."""
        samples, _ = synthesize(self._kind, self._number(index))
        return cut(samples[:, None].copy(), neural.SAMPLE_RATE, seconds, position)

    def clip(self, index: int, rate: int) -> Clip:
        """See `Source.clip`."""
        samples, utterance = synthesize(self._kind, self._number(index))
        return Clip.resampled(utterance, samples[:, None].copy(), neural.SAMPLE_RATE, rate)

    def utterance(self, index: int) -> Utterance:
        """See `Source.utterance`."""
        return synthesize(self._kind, self._number(index))[1]

    def speaker(self, index: int) -> str:
        """See `Source.speaker`."""
        return neural.VOICES[self._members[index % len(self._members)]].name

    def speakers(self) -> Sequence[str]:
        """See `Source.speakers`."""
        return [self.speaker(i) for i in range(len(self))]

    def same_speaker(self, index: int) -> Sequence[int]:
        """See `Source.same_speaker`."""
        return range(index % len(self._members), len(self), len(self._members))


@functools.lru_cache(maxsize=16)
def synthesize(kind: str, number: int) -> tuple[np.ndarray, Utterance]:
    """(samples (S,) float32 at `neural.SAMPLE_RATE`, utterance) of utterance `number` of a kind."""
    rng = np.random.default_rng([8, number])
    voice = neural.VOICES[number % len(neural.VOICES)]
    text = grammar.sentence("en", FIRST_SENTENCE + number).text
    phonemes, speed = pronounce(text), float(rng.uniform(0.85, 1.2))
    if kind == "varied":
        phonemes = replace_words(phonemes, float(rng.choice([0.0, 0.3, 0.9])), rng, foreign=voice.engine == "kokoro")
        samples, text = record(neural.speak(phonemes, voice, speed, rng), neural.SAMPLE_RATE, rng), ""
    else:
        samples = neural.speak(phonemes, voice, speed, rng)
    samples = samples * np.float32(0.9 / max(float(np.abs(samples).max()), 1e-9))
    name, seconds = f"voices:{kind}#{number}", len(samples) / neural.SAMPLE_RATE
    return samples, Utterance(name, name, "speech", duration=seconds, speaker=voice.name, transcript=text)

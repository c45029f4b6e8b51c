"""The embedded corpus as an audio source."""

import bisect
from collections.abc import Sequence

from quarkaudio_jax.data.clip import Clip
from quarkaudio_jax.data.crops import Crop, cut
from quarkaudio_jax.data.source import Source
from quarkaudio_jax.data.synthetic import embedded, grammar
from quarkaudio_jax.data.utterance import Utterance


class EmbeddedSource(Source):
    """A part of the embedded corpus: KIND, or KIND/train and KIND/test, which share no voice and no sentence."""

    def __init__(self, name: str):
        self._name, _, split = name.partition("/")
        self._kind, self._speech = embedded.kind(self._name), self._name == "speech"
        self._period, self._members = embedded.members(self._name, split)
        self._voices = [embedded.SPEAKERS[i] for i in self._members] if self._speech else []

    def __len__(self) -> int:
        periods, rest = divmod(self._kind.size, self._period)
        return periods * len(self._members) + bisect.bisect_left(self._members, rest)

    def _number(self, index: int) -> int:
        """The clip's number in all of the corpus."""
        period, inner = divmod(index, len(self._members))
        return period * self._period + self._members[inner]

    def name(self, index: int) -> str:
        """See `Source.name`; the same in a split as in all of the corpus."""
        return f"embedded:{self._name}/{self._number(index)}"

    def read(self, index: int, seconds: float | None, position: float) -> Crop:
        """See `Source.read`."""
        item = self._kind.make(self._number(index))
        return cut(item.samples_S[:, None], embedded.SAMPLE_RATE, seconds, position)

    def clip(self, index: int, rate: int) -> Clip:
        """See `Source.clip`."""
        return _clip(self._kind.make(self._number(index)), rate)

    def utterance(self, index: int) -> Utterance:
        """See `Source.utterance`."""
        return self._kind.make(self._number(index)).utterance

    def speaker(self, index: int) -> str:
        """See `Source.speaker`."""
        return self._voices[index % len(self._voices)] if self._speech else ""

    def same_speaker(self, index: int) -> Sequence[int]:
        """See `Source.same_speaker`."""
        step = len(self._members)
        return range(index % step, len(self), step) if self._speech else ()

    def first_of(self, speaker: str) -> int:
        """The first utterance of a speaker."""
        return self._voices.index(speaker)

    def parallel(self, index: int, rate: int) -> tuple[Clip, Clip]:
        """An utterance, and the same words by another speaker."""
        first, second = embedded.parallel(self._number(index), self._voices)
        return _clip(first, rate), _clip(second, rate)

    def script(self, index: int) -> tuple[str, list[grammar.Sentence]]:
        """(speaker, sentences) of an utterance."""
        return embedded.script(self._number(index))

    def say(self, text: str, index: int, rate: int) -> Clip:
        """Synthesizes any text with the voice and speed of an utterance."""
        return _clip(embedded.spoken(text, self.speaker(index), self._number(index)), rate)


def _clip(item: embedded.Item, rate: int) -> Clip:
    return Clip.resampled(item.utterance, item.samples_S[:, None], embedded.SAMPLE_RATE, rate)

"""The interface of audio sources, and sources made of other sources."""

import abc
import bisect
import functools
import itertools
from collections.abc import Sequence

from quarkaudio_jax.data.clip import Clip
from quarkaudio_jax.data.crops import Crop
from quarkaudio_jax.data.utterance import Utterance


class Source(abc.ABC):
    """A list of audio clips. Opening one decodes nothing; sources can be pickled.

    Codec training reads crops (`read`), simulation reads clips with what is known about them (`clip`, `utterance`).
    """

    @abc.abstractmethod
    def __len__(self) -> int: ...

    @abc.abstractmethod
    def name(self, index: int) -> str:
        """Name of a clip in logs; the same on every machine that holds the same data."""

    @abc.abstractmethod
    def read(self, index: int, seconds: float | None, position: float) -> Crop:
        """Reads a crop of at most `seconds` (None: the entire clip), from `position` in [0, 1) of the possible starts.

        AudioError: the clip can't be used.
        """

    @abc.abstractmethod
    def clip(self, index: int, rate: int) -> Clip:
        """Reads an entire clip as mono at `rate` Hz; AudioError if it can't be used."""

    @abc.abstractmethod
    def utterance(self, index: int) -> Utterance:
        """Speaker, transcript, caption etc. of a clip, empty where unknown; AudioError if the clip is damaged."""

    def speakers(self) -> Sequence[str]:
        """The speaker of every clip, '' where unknown."""
        return [self.utterance(i).speaker for i in range(len(self))]

    def speaker(self, index: int) -> str:
        """The speaker of a clip, '' if unknown."""
        return self._speakers[index]

    def same_speaker(self, index: int) -> Sequence[int]:
        """All clips of the speaker of a clip, itself included; none if the speaker is unknown."""
        return self._by_speaker.get(self.speaker(index), ())

    def locate(self, index: int) -> tuple["Source", int]:
        """The source that holds a clip itself, not as a part of other sources, and the clip's index there."""
        return self, index

    @functools.cached_property
    def _speakers(self) -> Sequence[str]:
        return self.speakers()

    @functools.cached_property
    def _by_speaker(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for index, speaker in enumerate(self._speakers):
            if speaker:
                found.setdefault(speaker, []).append(index)
        return found


class Subset(Source):
    """Some clips of a source. speakers: of these clips, if they are known already."""

    def __init__(self, source: Source, indices: Sequence[int], speakers: Sequence[str] | None = None):
        self._source, self._indices, self._given = source, list(indices), speakers

    def __len__(self) -> int:
        return len(self._indices)

    def name(self, index: int) -> str:
        """See `Source.name`."""
        return self._source.name(self._indices[index])

    def read(self, index: int, seconds: float | None, position: float) -> Crop:
        """See `Source.read`."""
        return self._source.read(self._indices[index], seconds, position)

    def clip(self, index: int, rate: int) -> Clip:
        """See `Source.clip`."""
        return self._source.clip(self._indices[index], rate)

    def utterance(self, index: int) -> Utterance:
        """See `Source.utterance`."""
        return self._source.utterance(self._indices[index])

    def speakers(self) -> Sequence[str]:
        """See `Source.speakers`."""
        return [self._source.speaker(i) for i in self._indices] if self._given is None else self._given

    def locate(self, index: int) -> tuple[Source, int]:
        """See `Source.locate`."""
        return self._source.locate(self._indices[index])


class Joined(Source):
    """Several sources one after the other; speakers of different sources are different."""

    def __init__(self, sources: Sequence[Source]):
        self._sources = list(sources)
        self._starts = [0, *itertools.accumulate(len(s) for s in self._sources)]

    def __len__(self) -> int:
        return self._starts[-1]

    def _part(self, index: int) -> tuple[Source, int, int]:
        """(source, index in it, index of its first clip here)."""
        which = bisect.bisect_right(self._starts, index) - 1
        return self._sources[which], index - self._starts[which], self._starts[which]

    def name(self, index: int) -> str:
        """See `Source.name`."""
        source, inner, _ = self._part(index)
        return source.name(inner)

    def read(self, index: int, seconds: float | None, position: float) -> Crop:
        """See `Source.read`."""
        source, inner, _ = self._part(index)
        return source.read(inner, seconds, position)

    def clip(self, index: int, rate: int) -> Clip:
        """See `Source.clip`."""
        source, inner, _ = self._part(index)
        return source.clip(inner, rate)

    def utterance(self, index: int) -> Utterance:
        """See `Source.utterance`."""
        source, inner, _ = self._part(index)
        return source.utterance(inner)

    def speaker(self, index: int) -> str:
        """See `Source.speaker`; prefixed by a number of the source."""
        source, inner, start = self._part(index)
        speaker = source.speaker(inner)
        return f"{start}/{speaker}" if speaker else ""

    def same_speaker(self, index: int) -> Sequence[int]:
        """See `Source.same_speaker`."""
        source, inner, start = self._part(index)
        return [start + i for i in source.same_speaker(inner)]

    def locate(self, index: int) -> tuple[Source, int]:
        """See `Source.locate`."""
        source, inner, _ = self._part(index)
        return source.locate(inner)

"""Pools: what simulation draws its speech, sounds, noise and room responses from."""

import bisect
import dataclasses
import functools
import pathlib
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from quarkaudio_jax.data import manifest
from quarkaudio_jax.data.crops import SourceError
from quarkaudio_jax.data.lists import split_specs
from quarkaudio_jax.data.synthetic import embedded, grammar
from quarkaudio_jax.data.tfds_source import TfdsSource
from quarkaudio_jax.data.utterance import Utterance, Word
from quarkaudio_jax.io import audio
from quarkaudio_jax.io.transforms import resample, to_mono


@dataclasses.dataclass(frozen=True)
class Clip:
    """Sound with what is known of it. samples_S: float32 mono at `rate` Hz; times of `utterance` start with it."""

    utterance: Utterance
    samples_S: np.ndarray
    rate: int

    @property
    def seconds(self) -> float:
        """Its length."""
        return len(self.samples_S) / self.rate

    def cut(self, start: float, seconds: float) -> "Clip":
        """A part of it; words that are not wholly inside are dropped, and then the transcript says those left."""
        begin = round(start * self.rate)
        samples = self.samples_S[begin : begin + round(seconds * self.rate)]
        if len(samples) == len(self.samples_S):
            return self
        words = tuple(
            Word(w.text, max(w.start - start, 0.0), w.end - start)
            for w in self.utterance.words
            if w.start >= start and w.end <= start + len(samples) / self.rate
        )
        utterance = dataclasses.replace(
            self.utterance,
            start=self.utterance.start + start,
            duration=len(samples) / self.rate,
            words=words,
            transcript=" ".join(w.text for w in words),
        )
        return Clip(utterance, samples, self.rate)


class Pool(Protocol):
    """Clips by index; how many can be told without reading any."""

    def __len__(self) -> int: ...

    def clip(self, index: int, rate: int) -> Clip:
        """A whole clip as mono at `rate` Hz; AudioError if it can't be read."""
        ...

    def speaker(self, index: int) -> str:
        """Who speaks, '' if that is not known."""
        ...

    def same_speaker(self, index: int) -> Sequence[int]:
        """All clips of that speaker, itself included; none if the speaker is not known."""
        ...


class EmbeddedPool:
    """A part of the embedded corpus: KIND, or KIND/train and KIND/test, which share no voice and no sentence."""

    def __init__(self, name: str):
        kind, _, split = name.partition("/")
        self._kind, self._speech = embedded.kind(kind), kind == "speech"
        self._period, self._members = embedded.members(kind, split)
        self._speakers = [embedded.SPEAKERS[i] for i in self._members] if self._speech else []

    def __len__(self) -> int:
        whole, rest = divmod(self._kind.size, self._period)
        return whole * len(self._members) + bisect.bisect_left(self._members, rest)

    def _number(self, index: int) -> int:
        """The index in the whole corpus."""
        period, inner = divmod(index, len(self._members))
        return period * self._period + self._members[inner]

    def clip(self, index: int, rate: int) -> Clip:
        return _clip(self._kind.make(self._number(index)), rate)

    def speaker(self, index: int) -> str:
        return self._speakers[index % len(self._speakers)] if self._speech else ""

    def same_speaker(self, index: int) -> Sequence[int]:
        step = len(self._members)
        return range(index % step, len(self), step) if self._speech else ()

    def first_of(self, speaker: str) -> int:
        """The first utterance of a speaker."""
        return self._speakers.index(speaker)

    def parallel(self, index: int, rate: int) -> tuple[Clip, Clip]:
        """Utterance `index`, and another speaker saying the same."""
        first, second = embedded.parallel(self._number(index), self._speakers)
        return _clip(first, rate), _clip(second, rate)

    def script(self, index: int) -> tuple[str, list[grammar.Sentence]]:
        """(speaker, sentences) of utterance `index`."""
        return embedded.script(self._number(index))

    def say(self, text: str, index: int, rate: int) -> Clip:
        """Any text in the voice and at the speed of utterance `index`."""
        return _clip(embedded.spoken(text, self.speaker(index), self._number(index)), rate)


def _clip(item: embedded.Item, rate: int) -> Clip:
    return Clip(item.utterance, resample(item.samples_S, embedded.SAMPLE_RATE, rate), rate)


class ManifestPool:
    """The utterances of a manifest; or of a folder, taken as a manifest without speakers and words."""

    def __init__(self, utterances, resolve, tfds_dir: str = ""):
        self._utterances, self._resolve, self._tfds_dir = utterances, resolve, tfds_dir
        speakers = getattr(utterances, "speakers", None) or [u.speaker for u in utterances]
        self._speakers = speakers
        self._by_speaker: dict[str, list[int]] = {}
        for index, speaker in enumerate(speakers):
            if speaker:
                self._by_speaker.setdefault(speaker, []).append(index)

    def __len__(self) -> int:
        return len(self._utterances)

    def clip(self, index: int, rate: int) -> Clip:
        utterance = self._utterances[index]
        name = self._resolve(utterance)
        if name.startswith("tfds:"):
            spec, number = _numbered(name, "tfds:")
            samples, stored, _ = _tfds(spec, self._tfds_dir).record(number)
            begin = round(utterance.start * stored)
            samples = samples[begin : begin + round(utterance.duration * stored) or None]
        elif name.startswith("embedded:"):
            kind, number = _numbered(name, "embedded:")
            return EmbeddedPool(kind).clip(number, rate)
        else:
            _, stored, _ = audio.info(name)
            count = round(utterance.duration * stored) if utterance.duration else -1
            samples, stored = audio.read(name, round(utterance.start * stored), count)
        if not len(samples):
            raise audio.AudioError(f"{name}: no samples at {utterance.start} s")
        return Clip(utterance, resample(to_mono(samples), stored, rate), rate)

    def speaker(self, index: int) -> str:
        return self._speakers[index]

    def same_speaker(self, index: int) -> Sequence[int]:
        return self._by_speaker.get(self._speakers[index], ())


def _numbered(name: str, prefix: str) -> tuple[str, int]:
    """(what stands before the #, the number behind it) of the name of a clip."""
    source, _, number = name.removeprefix(prefix).partition("#")
    if not number.isdecimal() or len(number) > 18:
        raise audio.AudioError(f"{name}: not {prefix}NAME#NUMBER")
    return source, int(number)


@functools.lru_cache(maxsize=16)
def _tfds(spec: str, data_dir: str) -> TfdsSource:
    return TfdsSource(spec, data_dir)


class JoinedPool:
    """Several pools one after the other; speakers of different pools are different."""

    def __init__(self, pools: Sequence[Pool]):
        self._pools = list(pools)
        self._starts = [0]
        for pool in pools:
            self._starts.append(self._starts[-1] + len(pool))

    def __len__(self) -> int:
        return self._starts[-1]

    def locate(self, index: int) -> tuple[Pool, int, int]:
        """(pool, index in it, index of its first clip here)."""
        which = bisect.bisect_right(self._starts, index) - 1
        return self._pools[which], index - self._starts[which], self._starts[which]

    def clip(self, index: int, rate: int) -> Clip:
        pool, inner, _ = self.locate(index)
        return pool.clip(inner, rate)

    def speaker(self, index: int) -> str:
        pool, inner, start = self.locate(index)
        speaker = pool.speaker(inner)
        return f"{start}/{speaker}" if speaker else ""

    def same_speaker(self, index: int) -> Sequence[int]:
        pool, inner, start = self.locate(index)
        return [start + i for i in pool.same_speaker(inner)]


def located(pool: Pool, index: int) -> tuple[Pool, int]:
    """The pool that itself holds clip `index`, and its index there."""
    while isinstance(pool, JoinedPool):
        pool, index, _ = pool.locate(index)
    return pool, index


def open_pool(specs: str, domain: str, tfds_dir: str = "") -> Pool | None:
    """Manifests (.jsonl), folders, embedded:KIND and tfds: sets, by commas, as one; None for an empty text."""
    pools: list[Pool] = []
    for spec in split_specs(specs):
        if spec.startswith("embedded:"):
            pools.append(EmbeddedPool(spec.removeprefix("embedded:")))
        elif spec.endswith(manifest.SUFFIX):
            lines = manifest.Manifest(pathlib.Path(spec).expanduser())
            pools.append(ManifestPool(lines, lines.resolve, tfds_dir))
        else:
            skipped: list[str] = []
            found = list(manifest.make(spec, domain, skipped, tfds_dir))
            if not found:
                reason = f" ({skipped[0]})" if skipped else ""
                raise SourceError(f"{spec}: no audio that can be read{reason}")
            pools.append(ManifestPool(found, _audio_of, tfds_dir))
    if len(pools) > 1:
        return JoinedPool(pools)
    return pools[0] if pools else None


def _audio_of(utterance: Utterance) -> str:
    return utterance.audio

"""Inputs and outputs of simulators, and random choices that they share."""

import copy
import dataclasses
import time
from typing import Any

import numpy as np

from quarkaudio_jax.config import SimulationConfig, SourcesConfig
from quarkaudio_jax.data.clip import Clip
from quarkaudio_jax.data.crops import SourceError
from quarkaudio_jax.data.lists import split_specs
from quarkaudio_jax.data.simulation.degradations import CODECS
from quarkaudio_jax.data.simulation.rng import RecordedRNG
from quarkaudio_jax.data.source import Joined, Source
from quarkaudio_jax.data.sources import open_source
from quarkaudio_jax.io.audio import AudioError
from quarkaudio_jax.io.levels import rms

MIN_RMS = 10 ** (-55 / 20)
"""-55 dBFS, below which a segment is rejected as silent."""


class RejectedSample(AudioError):
    """The drawn values don't fit together, through no fault of the audio; the example is drawn again."""


EMPTY = np.zeros(0, np.float32)
MAX_TRIES = 30
"""Clips drawn before giving up."""


@dataclasses.dataclass(frozen=True)
class Example:
    """An example of a task: source_S -> target_S at `rate` Hz, float32; reference_S and text are empty if unused.

    other_S: the remaining signal, such as the second talker, for evaluation. meta: every drawn value and the ids of
    the clips, plain JSON.
    """

    task: str
    rate: int
    source_S: np.ndarray
    target_S: np.ndarray
    reference_S: np.ndarray = dataclasses.field(default_factory=lambda: EMPTY)
    other_S: np.ndarray = dataclasses.field(default_factory=lambda: EMPTY)
    text: str = ""
    meta: dict[str, Any] = dataclasses.field(default_factory=dict)


DOMAINS_OF_SOURCES = {"speech": "speech", "events": "events", "music": "music", "rirs": "rir", "noise": "noise"}
"""Field of `SourcesConfig` -> domain of its clips."""


class Inputs:
    """Audio sources, configuration and sample rate (Hz) of a simulation.

    reading: seconds spent so far on reading or synthesizing clips.
    """

    def __init__(self, sources: SourcesConfig, cfg: SimulationConfig, rate: int):
        if unknown := set(cfg.degrade.codecs) - set(CODECS):
            raise SourceError(
                f"config.simulation.degrade.codecs has {unknown.pop()!r}; choose among {', '.join(CODECS)}"
            )
        self.cfg, self.rate = cfg, rate
        self.reading = 0.0
        self._sources: dict[str, Source] = {}
        for name, domain in DOMAINS_OF_SOURCES.items():
            if split_specs(specs := getattr(sources, name)):
                self._sources[name] = open_source(specs, sources.tfds_dir, domain, check=True)
        instead = [self._sources[name] for name in ("events", "music") if name in self._sources]
        if "noise" not in self._sources and instead:
            self._sources["noise"] = Joined(instead)

    def at_rate(self, rate: int) -> "Inputs":
        """Returns the same inputs at another sample rate, with a separate count of the seconds spent reading."""
        other = copy.copy(self)
        other.rate, other.reading = rate, 0.0
        return other

    def has(self, kind: str) -> bool:
        """Whether a source of that kind is configured."""
        return kind in self._sources

    def source(self, kind: str) -> Source:
        """The source of that kind; SourceError if none is configured."""
        if kind not in self._sources:
            raise SourceError(f"this needs sound in config.sources.{kind}, which is empty")
        return self._sources[kind]

    def clip(self, kind: str, index: int) -> Clip:
        """Reads a clip in full, at the simulation's rate."""
        begun = time.perf_counter()
        clip = self.source(kind).clip(index, self.rate)
        self.reading += time.perf_counter() - begun
        return clip


def random_segment(clip: Clip, seconds: float, rng: RecordedRNG) -> Clip:
    """Cuts at most `seconds` at a random position out of a clip; AudioError if that segment is silent."""
    spare = clip.seconds - seconds
    part = clip.cut(rng.uniform("start", (0.0, spare)), seconds) if spare > 0 else clip
    if rms(part.samples_S) < MIN_RMS:
        raise AudioError(f"{clip.utterance.id}: silent where it was cut ({part.utterance.start:.2f} s)")
    return part


def other_speaker(source: Source, index: int, rng: RecordedRNG, name: str) -> int:
    """Draws a clip of another speaker, or any other clip if speakers are unknown."""
    for _ in range(MAX_TRIES):
        other = rng.index(name, len(source))
        if other != index and (not source.speaker(index) or source.speaker(other) != source.speaker(index)):
            return other
    raise SourceError("the speech has one speaker only; a second one is needed")


def same_speaker(source: Source, index: int, rng: RecordedRNG, name: str) -> int:
    """Draws another clip of the same speaker; AudioError if there is none, SourceError if speakers are unknown."""
    if not source.speaker(index):
        raise SourceError("this task needs speech with known speakers: give a manifest with the field `speaker`")
    same = source.same_speaker(index)
    if len(same) < 2:
        raise AudioError(f"speaker {source.speaker(index)!r} has one utterance only, so there is no reference")
    which = rng.index(name, len(same) - 1)
    return same[which] if same[which] != index else same[-1]

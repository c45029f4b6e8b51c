"""What a simulator takes and gives."""

import copy
import dataclasses
import time
from typing import Any

import numpy as np

from quarkaudio_jax.config import SimulationConfig, SourcesConfig
from quarkaudio_jax.data.crops import SourceError
from quarkaudio_jax.data.pools import Clip, JoinedPool, Pool, open_pool
from quarkaudio_jax.data.simulation.degradations import CODECS
from quarkaudio_jax.data.simulation.rng import Draws
from quarkaudio_jax.io.audio import AudioError
from quarkaudio_jax.io.levels import rms

QUIET = 10 ** (-55 / 20)
"""Root mean square below which a stretch holds nothing to work with."""


class Redraw(AudioError):
    """The draws do not fit together, through no fault of the audio; others will."""


NONE = np.zeros(0, np.float32)
TRIES = 30
"""Draws of another clip before giving up."""


@dataclasses.dataclass(frozen=True)
class Example:
    """source_S -> target_S at `rate` Hz, float32; reference_S and text are empty where the task has none.

    other_S: what is left over, for those who evaluate (the second talker). meta: every draw and
    where the sound came from, plain JSON values.
    """

    task: str
    rate: int
    source_S: np.ndarray
    target_S: np.ndarray
    reference_S: np.ndarray = dataclasses.field(default_factory=lambda: NONE)
    other_S: np.ndarray = dataclasses.field(default_factory=lambda: NONE)
    text: str = ""
    meta: dict[str, Any] = dataclasses.field(default_factory=dict)


class Inputs:
    """The pools of a simulation, its configuration, and the rate in Hz at which it works.

    reading: seconds spent so far on reading or making clips.
    """

    def __init__(self, pools: SourcesConfig, cfg: SimulationConfig, rate: int):
        if unknown := set(cfg.degrade.codecs) - set(CODECS):
            raise SourceError(
                f"config.simulation.degrade.codecs has {unknown.pop()!r}; choose among {', '.join(CODECS)}"
            )
        self.cfg, self.rate = cfg, rate
        self.reading = 0.0
        domains = {"speech": "speech", "events": "events", "music": "music", "rirs": "rir", "noise": "noise"}
        self._pools = {
            name: open_pool(getattr(pools, name), domain, pools.tfds_dir) for name, domain in domains.items()
        }
        if self._pools["noise"] is None:
            instead = [pool for name in ("events", "music") if (pool := self._pools[name]) is not None]
            self._pools["noise"] = JoinedPool(instead) if instead else None

    def at_rate(self, rate: int) -> "Inputs":
        """The same pools at another rate, with a count of its own of the seconds spent reading."""
        other = copy.copy(self)
        other.rate, other.reading = rate, 0.0
        return other

    def has(self, kind: str) -> bool:
        """Whether there is a pool of that kind."""
        return self._pools[kind] is not None

    def pool(self, kind: str) -> Pool:
        """The pool of that kind; SourceError if none was given."""
        pool = self._pools[kind]
        if pool is None:
            raise SourceError(f"this needs sound in config.sources.{kind}, which is empty")
        return pool

    def clip(self, kind: str, index: int) -> Clip:
        """A whole clip at the simulation's rate."""
        begun = time.perf_counter()
        clip = self.pool(kind).clip(index, self.rate)
        self.reading += time.perf_counter() - begun
        return clip


def part_of(clip: Clip, seconds: float, draws: Draws) -> Clip:
    """At most `seconds` of a clip, from a random place where there is sound; AudioError if it is silent there."""
    spare = clip.seconds - seconds
    part = clip.cut(draws.uniform("start", (0.0, spare)), seconds) if spare > 0 else clip
    if rms(part.samples_S) < QUIET:
        raise AudioError(f"{clip.utterance.id}: silent where it was cut ({part.utterance.start:.2f} s)")
    return part


def other_speaker(pool: Pool, index: int, draws: Draws, name: str) -> int:
    """A clip of somebody else; where speakers are not known, any other clip."""
    for _ in range(TRIES):
        other = draws.index(name, len(pool))
        if other != index and (not pool.speaker(index) or pool.speaker(other) != pool.speaker(index)):
            return other
    raise SourceError("the speech has one speaker only; a second one is needed")


def same_speaker(pool: Pool, index: int, draws: Draws, name: str) -> int:
    """Another clip of the same speaker; AudioError if there is none, SourceError if speakers are not known."""
    if not pool.speaker(index):
        raise SourceError("this task needs speech with known speakers: give a manifest with the field `speaker`")
    mine = pool.same_speaker(index)
    if len(mine) < 2:
        raise AudioError(f"speaker {pool.speaker(index)!r} has one utterance only, so there is no reference")
    which = draws.index(name, len(mine) - 1)
    return mine[which] if mine[which] != index else mine[-1]

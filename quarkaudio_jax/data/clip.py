"""Clips for simulation: audio with its utterance."""

import dataclasses

import numpy as np

from quarkaudio_jax.data.utterance import Utterance, Word
from quarkaudio_jax.io.transforms import resample, to_mono


@dataclasses.dataclass(frozen=True)
class Clip:
    """A recording, samples_S: float32 mono at `rate` Hz; times of `utterance` are relative to its beginning."""

    utterance: Utterance
    samples_S: np.ndarray
    rate: int

    @classmethod
    def resampled(cls, utterance: Utterance, samples_SxC: np.ndarray, rate: int, target_rate: int) -> "Clip":
        """Builds a clip at `target_rate` from samples at `rate`, channels averaged."""
        return cls(utterance, resample(to_mono(samples_SxC), rate, target_rate), target_rate)

    @property
    def seconds(self) -> float:
        """Duration."""
        return len(self.samples_S) / self.rate

    def cut(self, start: float, seconds: float) -> "Clip":
        """Cuts out a segment; words that are partly outside are dropped, and the transcript becomes the other words."""
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

"""Captioned sounds, and mixtures of them for language-queried audio source separation (LASS)."""

import dataclasses

import numpy as np

from quarkaudio_jax.data.clip import Clip
from quarkaudio_jax.data.simulation.example import MAX_TRIES, MIN_RMS, Example, Inputs, random_segment
from quarkaudio_jax.data.simulation.rng import RecordedRNG
from quarkaudio_jax.io.audio import AudioError
from quarkaudio_jax.io.levels import limit_peak, ratio_gain, rms, scale_rms
from quarkaudio_jax.io.transforms import fit_length


def pick_sounds(inputs: Inputs, count: int, rng: RecordedRNG) -> list[Clip]:
    """Draws `count` clips with different captions; AudioError if too few are found."""
    source = inputs.source("events")
    found: list[Clip] = []
    for attempt in range(MAX_TRIES):
        clip = inputs.clip("events", rng.index(f"pick{attempt}", len(source)))
        if not clip.utterance.caption:
            raise AudioError(f"{clip.utterance.id}: has no caption, which this task needs")
        if clip.utterance.caption not in {c.utterance.caption for c in found} and rms(clip.samples_S) >= MIN_RMS:
            rng.log(f"sound{len(found)}.id", clip.utterance.id)
            found.append(clip)
        if len(found) == count:
            return found
    raise AudioError(f"{MAX_TRIES} clips of config.sources.events do not hold {count} different sounds")


def loudest_segment(clip: Clip, seconds: float) -> Clip:
    """Cuts out the segment of `seconds` with the most energy."""
    size = round(seconds * clip.rate)
    if size >= len(clip.samples_S):
        return clip
    energy = np.concatenate([[0.0], np.cumsum(np.square(clip.samples_S, dtype=np.float64))])
    step = max(clip.rate // 50, 1)
    starts = np.arange(0, len(clip.samples_S) - size + 1, step)
    best = int(starts[np.argmax(energy[starts + size] - energy[starts])])
    utterance = dataclasses.replace(clip.utterance, start=clip.utterance.start + best / clip.rate, duration=seconds)
    return Clip(utterance, clip.samples_S[best : best + size], clip.rate)


def caption_variant(clip: Clip, rng: RecordedRNG, name: str) -> str:
    """Draws the caption or one of its paraphrases."""
    return rng.choice(name, (clip.utterance.caption, *clip.utterance.paraphrases))


def lass(inputs: Inputs, rng: RecordedRNG) -> Example:
    """A mixture of sounds as the source, one of them as the target, and its description as the text."""
    cfg = inputs.cfg
    clips = pick_sounds(inputs, rng.integer("sounds", *cfg.lass.sounds), rng)
    first = random_segment(clips[0], cfg.seconds, rng.scope("target"))
    target = scale_rms(first.samples_S, rng.uniform("target.level_db", cfg.level))
    rest = np.zeros(len(target))
    for number, clip in enumerate(clips[1:], start=1):
        inner = rng.scope(f"sound{number}")
        fitted = fit_length(clip.samples_S, len(target), inner.uniform("position", (0.0, 1.0)))
        rest += fitted * ratio_gain(target, fitted, inner.uniform("snr_db", cfg.lass.snr))
    (source, target, rest), gain = limit_peak(cfg.peak, target + rest, target, rest)
    rng.log("gain", gain)
    return Example(
        "lass", inputs.rate, source, target, other_S=rest, text=caption_variant(clips[0], rng, "query"), meta=rng.record
    )

"""Captioned sounds: picking them, and mixtures of which a text asks for one."""

import dataclasses

import numpy as np

from quarkaudio_jax.data.pools import Clip
from quarkaudio_jax.data.simulation.example import QUIET, TRIES, Example, Inputs, part_of
from quarkaudio_jax.data.simulation.rng import Draws
from quarkaudio_jax.io.audio import AudioError
from quarkaudio_jax.io.levels import limit_peak, ratio_gain, rms, scale_rms
from quarkaudio_jax.io.transforms import fit_length


def pick_sounds(inputs: Inputs, count: int, draws: Draws) -> list[Clip]:
    """`count` captioned clips with different captions; AudioError if so many are not found."""
    pool = inputs.pool("events")
    found: list[Clip] = []
    for attempt in range(TRIES):
        clip = inputs.clip("events", draws.index(f"pick{attempt}", len(pool)))
        if not clip.utterance.caption:
            raise AudioError(f"{clip.utterance.id}: has no caption, which this task needs")
        if clip.utterance.caption not in {c.utterance.caption for c in found} and rms(clip.samples_S) >= QUIET:
            draws.note(f"sound{len(found)}.id", clip.utterance.id)
            found.append(clip)
        if len(found) == count:
            return found
    raise AudioError(f"{TRIES} clips of config.sources.events do not hold {count} different sounds")


def loudest(clip: Clip, seconds: float) -> Clip:
    """The stretch of `seconds` that holds most energy."""
    size = round(seconds * clip.rate)
    if size >= len(clip.samples_S):
        return clip
    energy = np.concatenate([[0.0], np.cumsum(np.square(clip.samples_S, dtype=np.float64))])
    step = max(clip.rate // 50, 1)
    starts = np.arange(0, len(clip.samples_S) - size + 1, step)
    best = int(starts[np.argmax(energy[starts + size] - energy[starts])])
    utterance = dataclasses.replace(clip.utterance, start=clip.utterance.start + best / clip.rate, duration=seconds)
    return Clip(utterance, clip.samples_S[best : best + size], clip.rate)


def wording(clip: Clip, draws: Draws, name: str) -> str:
    """The caption, or another way of saying it."""
    return draws.choice(name, (clip.utterance.caption, *clip.utterance.paraphrases))


def lass(inputs: Inputs, draws: Draws) -> Example:
    """Several sounds at once, and a text that describes one of them."""
    cfg = inputs.cfg
    clips = pick_sounds(inputs, draws.integer("sounds", *cfg.lass.sounds), draws)
    first = part_of(clips[0], cfg.seconds, draws.scope("target"))
    target = scale_rms(first.samples_S, draws.uniform("target.level_db", cfg.level))
    rest = np.zeros(len(target))
    for number, clip in enumerate(clips[1:], start=1):
        inner = draws.scope(f"sound{number}")
        fitted = fit_length(clip.samples_S, len(target), inner.uniform("position", (0.0, 1.0)))
        rest += fitted * ratio_gain(target, fitted, inner.uniform("snr_db", cfg.lass.snr))
    (source, target, rest), gain = limit_peak(cfg.peak, target + rest, target, rest)
    draws.note("gain", gain)
    return Example(
        "lass", inputs.rate, source, target, other_S=rest, text=wording(clips[0], draws, "query"), meta=draws.record
    )

"""Editing of sound scenes: add, remove, replace, louder or softer, faster or slower, reorder."""

import dataclasses

import numpy as np
from scipy import signal

from quarkaudio_jax.data.clip import Clip
from quarkaudio_jax.data.simulation import instructions
from quarkaudio_jax.data.simulation.example import Example, Inputs
from quarkaudio_jax.data.simulation.rng import RecordedRNG
from quarkaudio_jax.data.simulation.sounds import loudest_segment, pick_sounds
from quarkaudio_jax.data.simulation.voice_perturbation import change_speed
from quarkaudio_jax.io.levels import limit_peak, scale_rms

FADE_SECONDS = 0.01


@dataclasses.dataclass(frozen=True)
class Event:
    """A sound in a scene. name: its name in the instruction; slot: its position in the order, from 0."""

    samples_S: np.ndarray
    name: str
    slot: int


def _pieces(inputs: Inputs, count: int, slot_seconds: float, rng: RecordedRNG) -> list[Event]:
    """Draws `count` sounds, each shorter than a slot of `slot_seconds`."""
    cfg, rate = inputs.cfg.audio_editing, inputs.rate
    level = rng.uniform("level_db", inputs.cfg.level)
    out = []
    for number, clip in enumerate(pick_sounds(inputs, count, rng)):
        inner = rng.scope(f"sound{number}")
        seconds = min(inner.uniform("seconds", cfg.length), 0.95 * slot_seconds)
        samples = scale_rms(loudest_segment(clip, seconds).samples_S, level + inner.uniform("level_db", cfg.level))
        fade = min(round(FADE_SECONDS * rate), len(samples) // 2)
        ramp = np.ones(len(samples), np.float32)
        ramp[:fade], ramp[len(ramp) - fade :] = np.linspace(0, 1, fade), np.linspace(1, 0, fade)
        out.append(Event(samples * ramp, _name(clip, inner), number))
    return out


def _name(clip: Clip, rng: RecordedRNG) -> str:
    """Draws a name for a sound: its first paraphrase, which is a noun phrase, or any description in quotes."""
    options = [f'the sound "{text}"' for text in (clip.utterance.caption, *clip.utterance.paraphrases[1:])]
    return rng.choice("name", options + list(clip.utterance.paraphrases[:1]) * len(options))


def _background(inputs: Inputs, seconds: float, rng: RecordedRNG) -> np.ndarray:
    """Faint room tone, falling with frequency, so that pauses are not digital silence."""
    noise = rng.generator("seed").standard_normal(round(seconds * inputs.rate))
    tone = signal.lfilter([1.0], [1.0, -0.95], noise).astype(np.float32)
    return scale_rms(tone, rng.uniform("level_db", inputs.cfg.audio_editing.background))


def _render(events: list[Event], slots: int, background_S: np.ndarray) -> np.ndarray:
    """Adds each sound to the background, at the start of its slot."""
    out = background_S.copy()
    slot_size = len(out) // slots
    for event in events:
        start = event.slot * slot_size
        size = min(len(event.samples_S), len(out) - start)
        out[start : start + size] += event.samples_S[:size]
    return out


def audio_editing(inputs: Inputs, rng: RecordedRNG) -> Example:
    """A sequence of sounds before an edit as the source, after it as the target."""
    cfg = inputs.cfg.audio_editing
    names = ("add", "remove", "replace", "loudness", "speed", "reorder")
    kind = rng.weighted_choice("edit", {name: getattr(cfg, name) for name in names})
    count = rng.integer("sounds", *cfg.sounds)
    count = max(count, 2) if kind in ("remove", "reorder") else count
    slots = count + (kind == "add")
    seconds = rng.uniform("seconds", (0.7 * inputs.cfg.seconds, inputs.cfg.seconds))
    pieces = _pieces(inputs, count + (kind in ("add", "replace")), seconds / slots, rng)
    background = _background(inputs, seconds, rng.scope("background"))
    if kind == "speed":
        source, target, text = _speed(inputs, _render(pieces, slots, background), rng)
    else:
        before, after, text = _EDITS[kind](pieces, cfg, rng)
        source, target = (_render(e, slots, background) for e in (before, after))
        rng.log("before", [e.name for e in sorted(before, key=lambda e: e.slot)])
        rng.log("after", [e.name for e in sorted(after, key=lambda e: e.slot)])
    (source, target), gain = limit_peak(inputs.cfg.peak, source, target)
    rng.log("gain", gain)
    return Example("audio_editing", inputs.rate, source, target, text=text, meta=rng.record)


def _instruction(kind: str, rng: RecordedRNG, **names: str) -> str:
    return rng.choice("template", instructions.AUDIO[kind]).format(**names)


def _add(pieces: list[Event], cfg, rng: RecordedRNG):
    *events, new = pieces
    slot = rng.integer("slot", 0, len(events))
    place = "start" if slot == 0 else "end" if slot == len(events) else "after"
    moved = [dataclasses.replace(e, slot=e.slot + (e.slot >= slot)) for e in events]
    previous = events[slot - 1].name if slot else ""
    where = rng.choice("place", instructions.AUDIO_PLACES[place]).format(z=previous)
    return moved, [*moved, dataclasses.replace(new, slot=slot)], _instruction("add", rng, y=new.name, where=where)


def _remove(pieces: list[Event], cfg, rng: RecordedRNG):
    gone = rng.index("which", len(pieces))
    rest = [e for i, e in enumerate(pieces) if i != gone]
    return pieces, rest, _instruction("remove", rng, x=pieces[gone].name)


def _replace(pieces: list[Event], cfg, rng: RecordedRNG):
    *events, new = pieces
    which = rng.index("which", len(events))
    after = [dataclasses.replace(new, slot=e.slot) if i == which else e for i, e in enumerate(events)]
    return events, after, _instruction("replace", rng, x=events[which].name, y=new.name)


def _loudness(pieces: list[Event], cfg, rng: RecordedRNG):
    which = rng.index("which", len(pieces))
    kind = rng.choice("direction", ("louder", "softer"))
    gain = 10 ** (rng.uniform("gain_db", cfg.gain) * (1 if kind == "louder" else -1) / 20)
    after = [
        dataclasses.replace(e, samples_S=e.samples_S * np.float32(gain)) if i == which else e
        for i, e in enumerate(pieces)
    ]
    return pieces, after, _instruction(kind, rng, x=pieces[which].name)


def _reorder(pieces: list[Event], cfg, rng: RecordedRNG):
    first = rng.integer("first", 0, len(pieces) - 2)
    second = rng.integer("second", first + 1, len(pieces) - 1)
    swapped = {first: second, second: first}
    after = [dataclasses.replace(e, slot=swapped.get(i, i)) for i, e in enumerate(pieces)]
    return pieces, after, _instruction("reorder", rng, x=pieces[first].name, y=pieces[second].name)


_EDITS = {"add": _add, "remove": _remove, "replace": _replace, "loudness": _loudness, "reorder": _reorder}


def _speed(inputs: Inputs, scene_S: np.ndarray, rng: RecordedRNG):
    """Plays the scene faster, or slower starting from a fast version."""
    kind = rng.choice("direction", ("faster", "slower"))
    factor = rng.uniform("factor", inputs.cfg.audio_editing.factor)
    quick = change_speed(scene_S, inputs.rate, factor)
    if kind == "faster":
        return scene_S, quick, _instruction(kind, rng)
    slow = change_speed(quick, inputs.rate, 1 / factor)
    return quick, slow[: round(inputs.cfg.seconds * inputs.rate)], _instruction(kind, rng)

"""Editing of sound scenes: add, remove, replace, louder or softer, faster or slower, reorder."""

import dataclasses

import numpy as np
from scipy import signal

from quarkaudio_jax.data.pools import Clip
from quarkaudio_jax.data.simulation import instructions
from quarkaudio_jax.data.simulation.example import Example, Inputs
from quarkaudio_jax.data.simulation.rng import Draws
from quarkaudio_jax.data.simulation.sounds import loudest, pick_sounds
from quarkaudio_jax.data.simulation.voice_perturbation import change_speed
from quarkaudio_jax.io.levels import limit_peak, scale_rms

FADE_SECONDS = 0.01


@dataclasses.dataclass(frozen=True)
class Event:
    """A sound at a place of a scene. name: how the instruction calls it; slot: its turn, from 0."""

    samples_S: np.ndarray
    name: str
    slot: int


def _pieces(inputs: Inputs, count: int, turn: float, draws: Draws) -> list[Event]:
    """`count` sounds, each short enough for a turn of `turn` s."""
    cfg, rate = inputs.cfg.audio_editing, inputs.rate
    level = draws.uniform("level_db", inputs.cfg.level)
    out = []
    for number, clip in enumerate(pick_sounds(inputs, count, draws)):
        inner = draws.scope(f"sound{number}")
        seconds = min(inner.uniform("seconds", cfg.length), 0.95 * turn)
        samples = scale_rms(loudest(clip, seconds).samples_S, level + inner.uniform("level_db", cfg.level))
        fade = min(round(FADE_SECONDS * rate), len(samples) // 2)
        ramp = np.ones(len(samples), np.float32)
        ramp[:fade], ramp[len(ramp) - fade :] = np.linspace(0, 1, fade), np.linspace(1, 0, fade)
        out.append(Event(samples * ramp, _name(clip, inner), number))
    return out


def _name(clip: Clip, draws: Draws) -> str:
    """How an instruction calls a sound: the first paraphrase, a noun phrase; or any wording in quotes."""
    options = [f'the sound "{text}"' for text in (clip.utterance.caption, *clip.utterance.paraphrases[1:])]
    return draws.choice("name", options + list(clip.utterance.paraphrases[:1]) * len(options))


def _background(inputs: Inputs, seconds: float, draws: Draws) -> np.ndarray:
    """A faint room tone, falling with frequency, so that pauses are not digitally silent."""
    noise = draws.generator("seed").standard_normal(round(seconds * inputs.rate))
    tone = signal.lfilter([1.0], [1.0, -0.95], noise).astype(np.float32)
    return scale_rms(tone, draws.uniform("level_db", inputs.cfg.audio_editing.background))


def _render(events: list[Event], slots: int, background_S: np.ndarray) -> np.ndarray:
    """The scene: each sound at the start of its turn."""
    out = background_S.copy()
    turn = len(out) // slots
    for event in events:
        start = event.slot * turn
        size = min(len(event.samples_S), len(out) - start)
        out[start : start + size] += event.samples_S[:size]
    return out


def audio_editing(inputs: Inputs, draws: Draws) -> Example:
    """A scene of sounds that take turns, before and after an edit."""
    cfg = inputs.cfg.audio_editing
    names = ("add", "remove", "replace", "loudness", "speed", "reorder")
    kind = draws.weighted("edit", {name: getattr(cfg, name) for name in names})
    count = draws.integer("sounds", *cfg.sounds)
    count = max(count, 2) if kind in ("remove", "reorder") else count
    slots = count + (kind == "add")
    seconds = draws.uniform("seconds", (0.7 * inputs.cfg.seconds, inputs.cfg.seconds))
    pieces = _pieces(inputs, count + (kind in ("add", "replace")), seconds / slots, draws)
    background = _background(inputs, seconds, draws.scope("background"))
    if kind == "speed":
        source, target, text = _speed(inputs, _render(pieces, slots, background), draws)
    else:
        before, after, text = _EDITS[kind](pieces, cfg, draws)
        source, target = (_render(e, slots, background) for e in (before, after))
        draws.note("before", [e.name for e in sorted(before, key=lambda e: e.slot)])
        draws.note("after", [e.name for e in sorted(after, key=lambda e: e.slot)])
    (source, target), gain = limit_peak(inputs.cfg.peak, source, target)
    draws.note("gain", gain)
    return Example("audio_editing", inputs.rate, source, target, text=text, meta=draws.record)


def _say(kind: str, draws: Draws, **names: str) -> str:
    return draws.choice("template", instructions.AUDIO[kind]).format(**names)


def _add(pieces: list[Event], cfg, draws: Draws):
    *events, new = pieces
    slot = draws.integer("slot", 0, len(events))
    place = "start" if slot == 0 else "end" if slot == len(events) else "after"
    moved = [dataclasses.replace(e, slot=e.slot + (e.slot >= slot)) for e in events]
    previous = events[slot - 1].name if slot else ""
    where = draws.choice("place", instructions.AUDIO_PLACES[place]).format(z=previous)
    return moved, [*moved, dataclasses.replace(new, slot=slot)], _say("add", draws, y=new.name, where=where)


def _remove(pieces: list[Event], cfg, draws: Draws):
    gone = draws.index("which", len(pieces))
    rest = [e for i, e in enumerate(pieces) if i != gone]
    return pieces, rest, _say("remove", draws, x=pieces[gone].name)


def _replace(pieces: list[Event], cfg, draws: Draws):
    *events, new = pieces
    which = draws.index("which", len(events))
    after = [dataclasses.replace(new, slot=e.slot) if i == which else e for i, e in enumerate(events)]
    return events, after, _say("replace", draws, x=events[which].name, y=new.name)


def _loudness(pieces: list[Event], cfg, draws: Draws):
    which = draws.index("which", len(pieces))
    kind = draws.choice("direction", ("louder", "softer"))
    gain = 10 ** (draws.uniform("gain_db", cfg.gain) * (1 if kind == "louder" else -1) / 20)
    after = [
        dataclasses.replace(e, samples_S=e.samples_S * np.float32(gain)) if i == which else e
        for i, e in enumerate(pieces)
    ]
    return pieces, after, _say(kind, draws, x=pieces[which].name)


def _reorder(pieces: list[Event], cfg, draws: Draws):
    first = draws.integer("first", 0, len(pieces) - 2)
    second = draws.integer("second", first + 1, len(pieces) - 1)
    swapped = {first: second, second: first}
    after = [dataclasses.replace(e, slot=swapped.get(i, i)) for i, e in enumerate(pieces)]
    return pieces, after, _say("reorder", draws, x=pieces[first].name, y=pieces[second].name)


_EDITS = {"add": _add, "remove": _remove, "replace": _replace, "loudness": _loudness, "reorder": _reorder}


def _speed(inputs: Inputs, scene_S: np.ndarray, draws: Draws):
    """The whole scene played faster, or the other way round."""
    kind = draws.choice("direction", ("faster", "slower"))
    factor = draws.uniform("factor", inputs.cfg.audio_editing.factor)
    quick = change_speed(scene_S, inputs.rate, factor)
    if kind == "faster":
        return scene_S, quick, _say(kind, draws)
    slow = change_speed(quick, inputs.rate, 1 / factor)
    return quick, slow[: round(inputs.cfg.seconds * inputs.rate)], _say(kind, draws)

"""Speech editing: words inserted, deleted or substituted, with an instruction."""

import dataclasses

import numpy as np

from quarkaudio_jax.data.clip import Clip
from quarkaudio_jax.data.crops import SourceError
from quarkaudio_jax.data.simulation import instructions
from quarkaudio_jax.data.simulation.example import MIN_RMS, Example, Inputs, RejectedSample, same_speaker
from quarkaudio_jax.data.simulation.rng import RecordedRNG
from quarkaudio_jax.data.synthetic import grammar
from quarkaudio_jax.data.synthetic.source import EmbeddedSource
from quarkaudio_jax.io.audio import AudioError
from quarkaudio_jax.io.levels import limit_peak, rms, scale_rms


@dataclasses.dataclass(frozen=True)
class Edit:
    """An edit. before, after: transcripts. removed, inserted: their difference; previous: the words before it.

    last: whether the edit is at the end.
    """

    source_S: np.ndarray
    target_S: np.ndarray
    before: str
    after: str
    removed: str
    inserted: str
    previous: str
    last: bool


def speech_editing(inputs: Inputs, rng: RecordedRNG) -> Example:
    """An utterance before an edit as the source, after it as the target."""
    cfg = inputs.cfg.speech_editing
    speech = inputs.source("speech")
    index = rng.index("utterance", len(speech))
    kind = rng.weighted_choice("edit", {"insert": cfg.insert, "delete": cfg.delete, "substitute": cfg.substitute})
    home, inner = speech.locate(index)
    if isinstance(home, EmbeddedSource) and rng.bernoulli("spoken", cfg.spoken):
        edit = _synthesized(inputs, home, inner, kind, rng)
    else:
        edit = _spliced(inputs, index, kind, rng)
    for name in ("before", "after", "removed", "inserted"):
        rng.log(name, getattr(edit, name))
    level = rng.uniform("level_db", inputs.cfg.level)
    target = scale_rms(edit.target_S, level)
    source = edit.source_S * (rms(target) / max(rms(edit.target_S), 1e-9))
    (source, target), gain = limit_peak(inputs.cfg.peak, source, target)
    rng.log("gain", gain)
    return Example("speech_editing", inputs.rate, source, target, text=_instruction(kind, edit, rng), meta=rng.record)


def _instruction(kind: str, edit: Edit, rng: RecordedRNG) -> str:
    where = ""
    if kind == "insert":
        place = "start" if not edit.previous else "end" if edit.last else "after"
        where = rng.choice("place", instructions.SPEECH_PLACES[place]).format(z=edit.previous)
    template = rng.choice("template", instructions.SPEECH[kind])
    return template.format(x=edit.removed, y=edit.inserted, where=where)


def _synthesized(inputs: Inputs, home: EmbeddedSource, index: int, kind: str, rng: RecordedRNG) -> Edit:
    """Synthesizes the sentence twice, with and without the edit."""
    _, (sentence, *_) = home.script(index)
    slots = grammar.GRAMMARS[sentence.language]
    filled = [i for i, phrase in enumerate(sentence.phrases) if phrase and len(slots[i]) > 1]
    while True:
        slot = rng.choice("slot", filled)
        phrase = sentence.phrases[slot]
        if kind == "substitute":
            other = rng.choice("phrase", [p for p in slots[slot] if p and p != phrase])
            before, after, removed, inserted = sentence, sentence.with_phrase(slot, other), phrase, other
        elif kind == "delete":
            before, after, removed, inserted = sentence, sentence.with_phrase(slot, ""), phrase, ""
        else:
            before, after, removed, inserted = sentence.with_phrase(slot, ""), sentence, "", phrase
        source, target = (home.say(s.text, index, inputs.rate).samples_S for s in (before, after))
        if max(len(source), len(target)) <= inputs.cfg.seconds * inputs.rate:
            break
        if len(filled) <= 2:
            raise RejectedSample(f"sentence {sentence.text!r} is longer than {inputs.cfg.seconds} s")
        sentence = sentence.with_phrase(filled.pop(), "")  # too long: drop its last phrase
    earlier = [p for p in sentence.phrases[:slot] if p]
    last = not any(sentence.phrases[slot + 1 :])
    return Edit(source, target, before.text, after.text, removed, inserted, earlier[-1] if earlier else "", last)


def _window(inputs: Inputs, clip: Clip, rng: RecordedRNG) -> Clip:
    """Draws a segment of complete words, at most `seconds` long."""
    words = clip.utterance.words
    if not words:
        raise SourceError(f"{clip.utterance.id}: speech editing needs word timings (the manifest's field `words`)")
    starts = [i for i, w in enumerate(words) if words[-1].end - w.start >= min(inputs.cfg.seconds, 2.0)] or [0]
    first = words[rng.choice("window", starts)]
    ends = [w.end for w in words if first.start < w.end <= first.start + inputs.cfg.seconds]
    if not ends:
        raise AudioError(f"{clip.utterance.id}: a word lasts longer than {inputs.cfg.seconds} s")
    return clip.cut(first.start, ends[-1] - first.start)


def _span(clip: Clip, count: int, rng: RecordedRNG, name: str) -> tuple[int, int]:
    """Draws a span [first, stop) of at most `count` neighboring words, never all of them."""
    total = len(clip.utterance.words)
    if total < 2:
        raise RejectedSample(f"{clip.utterance.id}: fewer than two words to edit")
    count = min(count, total - 1)
    first = rng.integer(name, 0, total - count)
    return first, first + count


def _bounds(clip: Clip, first: int, stop: int) -> tuple[int, int]:
    """Range of samples of the words [first, stop), up to the beginning of the next word."""
    words, rate = clip.utterance.words, clip.rate
    begin = round(words[first].start * rate) if first else 0
    return begin, round(words[stop].start * rate) if stop < len(words) else len(clip.samples_S)


def splice(clip: Clip, first: int, stop: int, replacement_S: np.ndarray, fade: float) -> np.ndarray:
    """Replaces the words [first, stop) by `replacement_S`, cross-faded over `fade` s."""
    begin, end = _bounds(clip, first, stop)
    out = clip.samples_S[:begin]
    for piece in (replacement_S, clip.samples_S[end:]):
        out = _join(out, piece, round(fade * clip.rate))
    return out


def _join(left_S: np.ndarray, right_S: np.ndarray, fade: int) -> np.ndarray:
    fade = min(fade, len(left_S), len(right_S))
    if fade == 0:
        return np.concatenate([left_S, right_S]).astype(np.float32)
    ramp = np.linspace(0.0, 1.0, fade, dtype=np.float32)
    middle = left_S[-fade:] * (1 - ramp) + right_S[:fade] * ramp
    return np.concatenate([left_S[:-fade], middle, right_S[fade:]]).astype(np.float32)


def _text(clip: Clip, first: int = 0, stop: int | None = None) -> str:
    return " ".join(w.text for w in clip.utterance.words[first:stop])


def _spliced(inputs: Inputs, index: int, kind: str, rng: RecordedRNG) -> Edit:
    """Cuts words out of a recording, or splices in words of another one.

    The target is the recording itself, except for a deletion.
    """
    cfg = inputs.cfg.speech_editing
    whole = inputs.clip("speech", index)
    rng.log("id", whole.utterance.id)
    clip = _window(inputs, whole, rng)
    if rms(clip.samples_S) < MIN_RMS:
        raise AudioError(f"{clip.utterance.id}: silent")
    first, stop = _span(clip, rng.integer("words", *cfg.words), rng, "first")
    words, none = _text(clip, first, stop), np.zeros(0, np.float32)
    previous = _text(clip, max(first - 2, 0), first)
    last = stop == len(clip.utterance.words)
    intact = _text(clip)
    around = (_text(clip, 0, first), _text(clip, stop))
    if kind != "substitute":
        cut, shorter = splice(clip, first, stop, none, cfg.fade), " ".join(t for t in around if t)
        if kind == "delete":
            return Edit(clip.samples_S, cut, intact, shorter, words, "", previous, last)
        return Edit(cut, clip.samples_S, shorter, intact, "", words, previous, last)
    donor = inputs.clip("speech", same_speaker(inputs.source("speech"), index, rng, "donor"))
    rng.log("donor.id", donor.utterance.id)
    if not donor.utterance.words:
        raise SourceError(f"{donor.utterance.id}: speech editing needs word timings (the manifest's field `words`)")
    a, b = _span(donor, stop - first, rng, "donor.first")
    timed = donor.utterance.words
    piece = donor.samples_S[round(timed[a].start * donor.rate) : round(timed[b - 1].end * donor.rate)]
    begin, end = _bounds(clip, first, stop)
    limit = round(inputs.cfg.seconds * inputs.rate) - (len(clip.samples_S) - (end - begin))
    replaced = _text(donor, a, b)
    if len(piece) > limit or replaced.lower() == words.lower():
        raise RejectedSample(f"{donor.utterance.id}: its words {replaced!r} can't stand for {words!r}")
    before = " ".join(t for t in (around[0], replaced, around[1]) if t)
    source = splice(clip, first, stop, piece, cfg.fade)
    return Edit(source, clip.samples_S, before, intact, replaced, words, previous, last)

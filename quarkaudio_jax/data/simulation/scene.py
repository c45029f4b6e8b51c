"""Talkers, a room, noise and a bad channel: what restoration, extraction and separation share."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from quarkaudio_jax.data.pools import Clip
from quarkaudio_jax.data.simulation import degradations
from quarkaudio_jax.data.simulation.example import Inputs, other_speaker, part_of, same_speaker
from quarkaudio_jax.data.simulation.rng import Draws
from quarkaudio_jax.data.simulation.rooms import draw_room, reverberate
from quarkaudio_jax.io.levels import limit_peak, ratio_gain, scale_rms
from quarkaudio_jax.io.transforms import fit_length


@dataclasses.dataclass(frozen=True)
class Scene:
    """mixture: what is recorded; target, other: each talker without late reverberation, at their level in it."""

    mixture_S: np.ndarray
    target_S: np.ndarray
    other_S: np.ndarray


def pick_talker(inputs: Inputs, draws: Draws) -> tuple[int, Clip]:
    """(index, at most `seconds` of an utterance at a level within `level`)."""
    index = draws.index("talker", len(inputs.pool("speech")))
    clip = inputs.clip("speech", index)
    draws.note("talker.id", clip.utterance.id)
    draws.note("talker.speaker", clip.utterance.speaker)
    part = part_of(clip, inputs.cfg.seconds, draws.scope("talker"))
    samples = scale_rms(part.samples_S, draws.uniform("talker.level_db", inputs.cfg.level))
    return index, dataclasses.replace(part, samples_S=samples)


def pick_other(inputs: Inputs, index: int, draws: Draws) -> tuple[int, Clip]:
    """(index, at most `seconds` of an utterance by somebody else)."""
    pool = inputs.pool("speech")
    other = other_speaker(pool, index, draws, "other")
    clip = inputs.clip("speech", other)
    draws.note("other.id", clip.utterance.id)
    draws.note("other.speaker", clip.utterance.speaker)
    return other, part_of(clip, inputs.cfg.seconds, draws.scope("other"))


def pick_reference(inputs: Inputs, index: int, bounds: Sequence[float], draws: Draws) -> np.ndarray:
    """Another utterance of the same speaker, between `bounds` seconds of it."""
    number = same_speaker(inputs.pool("speech"), index, draws, "reference")
    return as_reference(inputs, inputs.clip("speech", number), bounds, draws.scope("reference"))


def as_reference(inputs: Inputs, clip: Clip, bounds: Sequence[float], draws: Draws) -> np.ndarray:
    """A part of a clip, between `bounds` seconds of it, at a level within `level`."""
    draws.note("id", clip.utterance.id)
    part = part_of(clip, draws.uniform("seconds", bounds), draws)
    samples = scale_rms(part.samples_S, draws.uniform("level_db", inputs.cfg.level))
    (samples,), _ = limit_peak(inputs.cfg.peak, samples)
    return samples


def mix(inputs: Inputs, target: Clip, other: Clip | None, sir: float, draws: Draws, noisy: bool = True) -> Scene:
    """Puts the talkers into a scene; `sir`: dB of the target over the other. Not noisy: the two talkers alone."""
    cfg, rate = inputs.cfg.degrade, inputs.rate
    voices = [target.samples_S]
    if other is not None:
        fitted = fit_length(other.samples_S, len(target.samples_S), draws.uniform("other.position", (0.0, 1.0)))
        voices.append(fitted * ratio_gain(target.samples_S, fitted, sir))
    heard, near = voices, voices
    if noisy and draws.chance("reverberation", cfg.reverberation):
        responses = _responses(inputs, len(voices), draws.scope("room"))
        pairs = [reverberate(v, r, rate, cfg.early) for v, r in zip(voices, responses, strict=True)]
        heard, near = ([p[i] for p in pairs] for i in range(2))
    mixture = np.sum(heard, axis=0)
    if noisy and inputs.has("noise") and draws.chance("noise", cfg.noise):
        mixture = mixture + _noise(inputs, mixture, draws.scope("noise"))
    second = near[1] if other is not None else np.zeros(0)
    return Scene(*(np.asarray(x, np.float32) for x in (mixture, near[0], second)))


def _responses(inputs: Inputs, count: int, draws: Draws) -> list[np.ndarray]:
    if not inputs.has("rirs"):
        return draw_room(draws, inputs.cfg.degrade, inputs.rate, count).responses
    indices = [draws.index(f"response{i}", len(inputs.pool("rirs"))) for i in range(count)]
    return [inputs.clip("rirs", i).samples_S.astype(np.float64) for i in indices]


def _noise(inputs: Inputs, mixture_S: np.ndarray, draws: Draws) -> np.ndarray:
    clip = inputs.clip("noise", draws.index("clip", len(inputs.pool("noise"))))
    draws.note("id", clip.utterance.id)
    noise = fit_length(clip.samples_S, len(mixture_S), draws.uniform("position", (0.0, 1.0)))
    return noise * ratio_gain(mixture_S, noise, draws.uniform("snr_db", inputs.cfg.degrade.snr))


def harm(inputs: Inputs, mixture_S: np.ndarray, draws: Draws) -> np.ndarray:
    """The channel: bandwidth, clipping and packet loss in random order, then a codec, each by its probability."""
    cfg, rate = inputs.cfg.degrade, inputs.rate
    out = mixture_S
    for kind in draws.order("order", ("bandwidth", "clipping", "packet_loss")):
        if not draws.chance(kind, getattr(cfg, kind)):
            continue
        inner = draws.scope(kind)
        if kind == "bandwidth":
            out = degradations.limit_bandwidth(out, rate, inner.choice("sampling", cfg.bandwidths))
        elif kind == "clipping":
            out = degradations.clip_quantiles(
                out, inner.uniform("low", cfg.clip_low), inner.uniform("high", cfg.clip_high)
            )
        else:
            share = inner.uniform("share", cfg.loss_rate)
            out, lost = degradations.lose_packets(out, rate, cfg.packet, share, cfg.burst, inner.generator("seed"))
            inner.note("lost", lost)
    if draws.chance("codec", cfg.codec):
        inner = draws.scope("codec")
        out = degradations.code(out, rate, inner.choice("name", cfg.codecs), inner.uniform("quality", (0.0, 1.0)))
    return out

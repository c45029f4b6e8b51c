"""Speech mixtures with reverberation, noise and channel degradations, for restoration, extraction and separation."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from quarkaudio_jax.data.clip import Clip
from quarkaudio_jax.data.simulation import degradations
from quarkaudio_jax.data.simulation.example import EMPTY, Inputs, other_speaker, random_segment, same_speaker
from quarkaudio_jax.data.simulation.rng import RecordedRNG
from quarkaudio_jax.data.simulation.rooms import draw_room, reverberate
from quarkaudio_jax.io.levels import SILENT_PEAK, limit_peak, peak, ratio_gain, scale_rms
from quarkaudio_jax.io.transforms import fit_length


@dataclasses.dataclass(frozen=True)
class Scene:
    """A mixture, and the target and the other talker in it without late reverberation, at the same level."""

    mixture_S: np.ndarray
    target_S: np.ndarray
    other_S: np.ndarray


def pick_talker(inputs: Inputs, rng: RecordedRNG) -> tuple[int, Clip]:
    """Draws the target: (index, at most `seconds` of an utterance, at a level within `level`)."""
    index = rng.index("talker", len(inputs.source("speech")))
    clip = inputs.clip("speech", index)
    rng.log("talker.id", clip.utterance.id)
    rng.log("talker.speaker", clip.utterance.speaker)
    part = random_segment(clip, inputs.cfg.seconds, rng.scope("talker"))
    samples = scale_rms(part.samples_S, rng.uniform("talker.level_db", inputs.cfg.level))
    rng.target_drawn()
    return index, dataclasses.replace(part, samples_S=samples)


def pick_other(inputs: Inputs, index: int, rng: RecordedRNG) -> tuple[int, Clip]:
    """Draws the second talker: (index, at most `seconds` of an utterance by another speaker)."""
    source = inputs.source("speech")
    other = other_speaker(source, index, rng, "other")
    clip = inputs.clip("speech", other)
    rng.log("other.id", clip.utterance.id)
    rng.log("other.speaker", clip.utterance.speaker)
    return other, random_segment(clip, inputs.cfg.seconds, rng.scope("other"))


def pick_reference(inputs: Inputs, index: int, bounds: Sequence[float], rng: RecordedRNG) -> np.ndarray:
    """Draws a reference: `bounds` (low, high) seconds of another utterance of the same speaker."""
    number = same_speaker(inputs.source("speech"), index, rng, "reference")
    return as_reference(inputs, inputs.clip("speech", number), bounds, rng.scope("reference"))


def as_reference(inputs: Inputs, clip: Clip, bounds: Sequence[float], rng: RecordedRNG) -> np.ndarray:
    """Cuts a reference of `bounds` (low, high) seconds out of a clip, at a level within `level`."""
    rng.log("id", clip.utterance.id)
    part = random_segment(clip, rng.uniform("seconds", bounds), rng)
    samples = scale_rms(part.samples_S, rng.uniform("level_db", inputs.cfg.level))
    (samples,), _ = limit_peak(inputs.cfg.peak, samples)
    return samples


def mix(inputs: Inputs, target: Clip, other: Clip | None, sir: float, rng: RecordedRNG, noisy: bool = True) -> Scene:
    """Mixes the talkers at `sir` dB (target over other); `noisy` adds reverberation and noise."""
    cfg, rate = inputs.cfg.degrade, inputs.rate
    voices = [target.samples_S]
    if other is not None:
        fitted = fit_length(other.samples_S, len(target.samples_S), rng.uniform("other.position", (0.0, 1.0)))
        voices.append(fitted * ratio_gain(target.samples_S, fitted, sir))
    reverberant, early = voices, voices
    if noisy and rng.bernoulli("reverberation", cfg.reverberation):
        responses = _responses(inputs, len(voices), rng.scope("room"))
        pairs = [reverberate(v, r, rate, cfg.early) for v, r in zip(voices, responses, strict=True)]
        reverberant, early = ([p[i] for p in pairs] for i in range(2))
    mixture = np.sum(reverberant, axis=0)
    if noisy and inputs.has("noise") and rng.bernoulli("noise", cfg.noise):
        mixture = mixture + _noise(inputs, mixture, rng.scope("noise"))
    second = early[1] if other is not None else np.zeros(0)
    return Scene(*(np.asarray(x, np.float32) for x in (mixture, early[0], second)))


def _responses(inputs: Inputs, count: int, rng: RecordedRNG) -> list[np.ndarray]:
    if not inputs.has("rirs"):
        return draw_room(rng, inputs.cfg.degrade, inputs.rate, count).responses
    indices = [rng.index(f"response{i}", len(inputs.source("rirs"))) for i in range(count)]
    return [inputs.clip("rirs", i).samples_S.astype(np.float64) for i in indices]


def _noise(inputs: Inputs, mixture_S: np.ndarray, rng: RecordedRNG) -> np.ndarray:
    clip = inputs.clip("noise", rng.index("clip", len(inputs.source("noise"))))
    rng.log("id", clip.utterance.id)
    noise = fit_length(clip.samples_S, len(mixture_S), rng.uniform("position", (0.0, 1.0)))
    return noise * ratio_gain(mixture_S, noise, rng.uniform("snr_db", inputs.cfg.degrade.snr))


def degrade_channel(inputs: Inputs, mixture_S: np.ndarray, rng: RecordedRNG) -> np.ndarray:
    """Degrades a recording: bandwidth, clipping and packet loss in random order, then a codec, each by its probability."""
    cfg, rate = inputs.cfg.degrade, inputs.rate
    out = mixture_S
    for kind in rng.permutation("order", ("bandwidth", "clipping", "packet_loss")):
        if not rng.bernoulli(kind, getattr(cfg, kind)):
            continue
        inner = rng.scope(kind)
        if kind == "bandwidth":
            out = degradations.limit_bandwidth(out, rate, inner.choice("sampling", cfg.bandwidths))
        elif kind == "clipping":
            out = degradations.clip_quantiles(
                out, inner.uniform("low", cfg.clip_low), inner.uniform("high", cfg.clip_high)
            )
        else:
            share = inner.uniform("share", cfg.loss_rate)
            out, lost = degradations.lose_packets(out, rate, cfg.packet, share, cfg.burst, inner.generator("seed"))
            inner.log("lost", lost)
    if rng.bernoulli("codec", cfg.codec):
        inner = rng.scope("codec")
        out = degradations.code(out, rate, inner.choice("name", cfg.codecs), inner.uniform("quality", (0.0, 1.0)))
    return out


def set_levels(inputs: Inputs, rng: RecordedRNG, *signals: np.ndarray, other_S: np.ndarray = EMPTY) -> list[np.ndarray]:
    """Scales source, target and perhaps the second talker by one gain, by `final_peak` or, without it, up to `peak`.

    other_S: the second talker where it is no output; only `final_peak` counts it.
    """
    low, high = inputs.cfg.final_peak
    if not high:
        scaled, gain = limit_peak(inputs.cfg.peak, *signals)
        rng.log("gain", gain)
        return scaled
    peaks = [max(peak(s), SILENT_PEAK) for s in (*signals, other_S) if len(s)]
    gain = high / max(peaks)
    if len(peaks) == 2:
        gain = min(rng.uniform("target_peak", (low, high)) / peaks[1], gain)
    elif (smallest := min(peaks) * gain) > low:
        gain *= rng.uniform("level", (low / smallest, 1.0))
    rng.log("gain", gain)
    return [np.asarray(s * gain, np.float32) for s in signals]

"""Voice conversion: the same words at the same times in two voices."""

import numpy as np

from quarkaudio_jax.data.clip import Clip
from quarkaudio_jax.data.simulation.example import MIN_RMS, Example, Inputs
from quarkaudio_jax.data.simulation.rng import RecordedRNG
from quarkaudio_jax.data.simulation.scene import as_reference, pick_reference, pick_talker
from quarkaudio_jax.data.simulation.voice_perturbation import change_speed, peak_filter, shift_pitch, warp_formants
from quarkaudio_jax.data.synthetic.source import EmbeddedSource
from quarkaudio_jax.io.audio import AudioError
from quarkaudio_jax.io.levels import limit_peak, rms, scale_rms


def conversion(inputs: Inputs, rng: RecordedRNG) -> Example:
    """A parallel pair if the source can synthesize one, else the target with a perturbed voice as the source.

    The reference is another utterance of the target's speaker.
    """
    speech = inputs.source("speech")
    index = rng.index("utterance", len(speech))
    home, inner = speech.locate(index)
    if isinstance(home, EmbeddedSource) and rng.bernoulli("parallel", inputs.cfg.conversion.parallel):
        source, target, reference = _parallel_pair(inputs, home, inner, rng)
    else:
        source, target, reference = _perturbed_pair(inputs, rng)
    (source, target), gain = limit_peak(inputs.cfg.peak, source, target)
    rng.log("gain", gain)
    return Example("conversion", inputs.rate, source, target, reference, meta=rng.record)


def _parallel_pair(
    inputs: Inputs, home: EmbeddedSource, index: int, rng: RecordedRNG
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    cfg = inputs.cfg
    spoken, wanted = home.parallel(index, inputs.rate)
    rng.log("source.speaker", spoken.utterance.speaker)
    rng.log("target.speaker", wanted.utterance.speaker)
    factor = rng.log("stretch", spoken.seconds / wanted.seconds)
    length = min(len(wanted.samples_S), round(cfg.seconds * inputs.rate))
    stretched = change_speed(spoken.samples_S, inputs.rate, factor)
    stretched = np.pad(stretched, (0, max(length - len(stretched), 0)))[:length]
    target = wanted.samples_S[:length]
    if rms(target) < MIN_RMS or rms(stretched) < MIN_RMS:
        raise AudioError(f"{wanted.utterance.id}: silent")
    return (
        scale_rms(stretched, rng.uniform("source.level_db", cfg.level)),
        scale_rms(target, rng.uniform("target.level_db", cfg.level)),
        _own_voice(inputs, home, wanted, rng),
    )


def _own_voice(inputs: Inputs, home: EmbeddedSource, wanted: Clip, rng: RecordedRNG) -> np.ndarray:
    """Draws a reference: another utterance by the speaker of `wanted`."""
    own = home.same_speaker(home.first_of(wanted.utterance.speaker))
    clip = home.clip(own[rng.index("reference", len(own))], inputs.rate)
    return as_reference(inputs, clip, inputs.cfg.conversion.reference, rng.scope("reference"))


def _perturbed_pair(inputs: Inputs, rng: RecordedRNG) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    cfg, rate = inputs.cfg.conversion, inputs.rate
    index, target = pick_talker(inputs, rng)
    reference = pick_reference(inputs, index, cfg.reference, rng)
    inner = rng.scope("disguise")
    factors = {}
    for name, bounds in (("formant", cfg.formant), ("pitch", cfg.pitch)):
        factor = inner.log_uniform(name, bounds)
        factors[name] = 1 / factor if inner.bernoulli(f"{name}.down", 0.5) else factor
    source = shift_pitch(target.samples_S, rate, factors["pitch"])
    source = warp_formants(source, rate, factors["formant"])
    for band in range(cfg.equalizer_bands):
        here = inner.scope(f"band{band}")
        hz = here.log_uniform("hz", (80.0, 0.45 * rate))
        source = peak_filter(source, rate, hz, here.uniform("quality", (0.7, 3.0)), here.uniform("db", cfg.equalizer))
    return scale_rms(source, rng.uniform("source.level_db", inputs.cfg.level)), target.samples_S, reference

"""Voice conversion: the same words, in time, in two voices."""

import numpy as np

from quarkaudio_jax.data.pools import Clip, EmbeddedPool, located
from quarkaudio_jax.data.simulation.example import QUIET, Example, Inputs
from quarkaudio_jax.data.simulation.rng import Draws
from quarkaudio_jax.data.simulation.scene import as_reference, pick_reference, pick_talker
from quarkaudio_jax.data.simulation.voice_perturbation import change_speed, peak_filter, shift_pitch, warp_formants
from quarkaudio_jax.io.audio import AudioError
from quarkaudio_jax.io.levels import limit_peak, rms, scale_rms


def conversion(inputs: Inputs, draws: Draws) -> Example:
    """A parallel pair where the speech has any, else the target disguised; another utterance as the reference."""
    pool = inputs.pool("speech")
    index = draws.index("utterance", len(pool))
    home, inner = located(pool, index)
    if isinstance(home, EmbeddedPool) and draws.chance("parallel", inputs.cfg.conversion.parallel):
        source, target, reference = _pair(inputs, home, inner, draws)
    else:
        source, target, reference = _disguised(inputs, draws)
    (source, target), gain = limit_peak(inputs.cfg.peak, source, target)
    draws.note("gain", gain)
    return Example("conversion", inputs.rate, source, target, reference, meta=draws.record)


def _pair(inputs: Inputs, home: EmbeddedPool, index: int, draws: Draws) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    cfg = inputs.cfg
    spoken, wanted = home.parallel(index, inputs.rate)
    draws.note("source.speaker", spoken.utterance.speaker)
    draws.note("target.speaker", wanted.utterance.speaker)
    factor = draws.note("stretch", spoken.seconds / wanted.seconds)
    length = min(len(wanted.samples_S), round(cfg.seconds * inputs.rate))
    stretched = change_speed(spoken.samples_S, inputs.rate, factor)
    stretched = np.pad(stretched, (0, max(length - len(stretched), 0)))[:length]
    target = wanted.samples_S[:length]
    if rms(target) < QUIET or rms(stretched) < QUIET:
        raise AudioError(f"{wanted.utterance.id}: silent")
    return (
        scale_rms(stretched, draws.uniform("source.level_db", cfg.level)),
        scale_rms(target, draws.uniform("target.level_db", cfg.level)),
        _own_voice(inputs, home, wanted, draws),
    )


def _own_voice(inputs: Inputs, home: EmbeddedPool, wanted: Clip, draws: Draws) -> np.ndarray:
    """An utterance of their own by the speaker of `wanted`."""
    own = home.same_speaker(home.first_of(wanted.utterance.speaker))
    clip = home.clip(own[draws.index("reference", len(own))], inputs.rate)
    return as_reference(inputs, clip, inputs.cfg.conversion.reference, draws.scope("reference"))


def _disguised(inputs: Inputs, draws: Draws) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    cfg, rate = inputs.cfg.conversion, inputs.rate
    index, target = pick_talker(inputs, draws)
    reference = pick_reference(inputs, index, cfg.reference, draws)
    inner = draws.scope("disguise")
    factors = {}
    for name, bounds in (("formant", cfg.formant), ("pitch", cfg.pitch)):
        factor = inner.log_uniform(name, bounds)
        factors[name] = 1 / factor if inner.chance(f"{name}.down", 0.5) else factor
    source = shift_pitch(target.samples_S, rate, factors["pitch"])
    source = warp_formants(source, rate, factors["formant"])
    for band in range(cfg.equalizer_bands):
        here = inner.scope(f"band{band}")
        hz = here.log_uniform("hz", (80.0, 0.45 * rate))
        source = peak_filter(source, rate, hz, here.uniform("quality", (0.7, 3.0)), here.uniform("db", cfg.equalizer))
    return scale_rms(source, draws.uniform("source.level_db", inputs.cfg.level)), target.samples_S, reference

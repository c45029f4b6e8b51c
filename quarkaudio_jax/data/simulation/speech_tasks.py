"""Restoration, extraction (and its reverse) and separation."""

from quarkaudio_jax.data.simulation.example import Example, Inputs
from quarkaudio_jax.data.simulation.rng import Draws
from quarkaudio_jax.data.simulation.scene import harm, mix, pick_other, pick_reference, pick_talker
from quarkaudio_jax.io.levels import limit_peak


def restoration(inputs: Inputs, draws: Draws) -> Example:
    """Clean speech, and the same reverberant, noisy, narrow, clipped, broken, sometimes under another talker."""
    talkers = inputs.cfg.talkers
    index, target = pick_talker(inputs, draws)
    other, sir = None, 0.0
    if draws.chance("interferer", talkers.restoration):
        _, other = pick_other(inputs, index, draws)
        sir = draws.uniform("sir_db", talkers.restoration_sir)
    scene = mix(inputs, target, other, sir, draws)
    source = harm(inputs, scene.mixture_S, draws)
    (source, clean), gain = limit_peak(inputs.cfg.peak, source, scene.target_S)
    draws.note("gain", gain)
    return Example("restoration", inputs.rate, source, clean, meta=draws.record)


def _two_talkers(inputs: Inputs, draws: Draws, reverse: bool) -> Example:
    index, target = pick_talker(inputs, draws)
    _, other = pick_other(inputs, index, draws)
    reference = pick_reference(inputs, index, inputs.cfg.talkers.enrollment, draws)
    scene = mix(inputs, target, other, draws.uniform("sir_db", inputs.cfg.talkers.sir), draws)
    source = harm(inputs, scene.mixture_S, draws)
    (source, first, second), gain = limit_peak(inputs.cfg.peak, source, scene.target_S, scene.other_S)
    draws.note("gain", gain)
    task = "reverse_extraction" if reverse else "extraction"
    wanted, rest = (second, first) if reverse else (first, second)
    return Example(task, inputs.rate, source, wanted, reference, rest, meta=draws.record)


def extraction(inputs: Inputs, draws: Draws) -> Example:
    """Two talkers in a bad recording; the target is the one who speaks in the reference."""
    return _two_talkers(inputs, draws, reverse=False)


def reverse_extraction(inputs: Inputs, draws: Draws) -> Example:
    """Two talkers in a bad recording; the target is the one who does not speak in the reference."""
    return _two_talkers(inputs, draws, reverse=True)


def separation(inputs: Inputs, draws: Draws) -> Example:
    """Two talkers and nothing else; the target is the louder one."""
    index, target = pick_talker(inputs, draws)
    _, other = pick_other(inputs, index, draws)
    sir = draws.note("sir_db", abs(draws.uniform("sir_drawn_db", inputs.cfg.talkers.sir)))
    scene = mix(inputs, target, other, sir, draws, noisy=False)
    (source, louder, softer), gain = limit_peak(inputs.cfg.peak, scene.mixture_S, scene.target_S, scene.other_S)
    draws.note("gain", gain)
    return Example("separation", inputs.rate, source, louder, other_S=softer, meta=draws.record)

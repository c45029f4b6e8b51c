"""Restoration, target speaker extraction and its reverse, and separation."""

from quarkaudio_jax.data.simulation.example import Example, Inputs
from quarkaudio_jax.data.simulation.rng import RecordedRNG
from quarkaudio_jax.data.simulation.scene import (
    degrade_channel,
    mix,
    pick_other,
    pick_reference,
    pick_talker,
    set_levels,
)
from quarkaudio_jax.io.levels import limit_peak


def restoration(inputs: Inputs, rng: RecordedRNG) -> Example:
    """Degraded speech as the source (sometimes with an interfering talker), clean speech as the target."""
    talkers = inputs.cfg.talkers
    index, target = pick_talker(inputs, rng)
    other, sir = None, 0.0
    if rng.bernoulli("interferer", talkers.restoration):
        _, other = pick_other(inputs, index, rng)
        sir = rng.uniform("sir_db", talkers.restoration_sir)
    scene = mix(inputs, target, other, sir, rng)
    source = degrade_channel(inputs, scene.mixture_S, rng)
    source, clean = set_levels(inputs, rng, source, scene.target_S, other_S=scene.other_S)
    return Example("restoration", inputs.rate, source, clean, meta=rng.record)


def _two_talkers(inputs: Inputs, rng: RecordedRNG, reverse: bool) -> Example:
    index, target = pick_talker(inputs, rng)
    _, other = pick_other(inputs, index, rng)
    reference = pick_reference(inputs, index, inputs.cfg.talkers.enrollment, rng)
    scene = mix(inputs, target, other, rng.uniform("sir_db", inputs.cfg.talkers.sir), rng)
    source = degrade_channel(inputs, scene.mixture_S, rng)
    source, first, second = set_levels(inputs, rng, source, scene.target_S, scene.other_S)
    task = "reverse_extraction" if reverse else "extraction"
    wanted, rest = (second, first) if reverse else (first, second)
    return Example(task, inputs.rate, source, wanted, reference, rest, meta=rng.record)


def extraction(inputs: Inputs, rng: RecordedRNG) -> Example:
    """A degraded mixture of two talkers as the source, the speaker of the reference as the target."""
    return _two_talkers(inputs, rng, reverse=False)


def reverse_extraction(inputs: Inputs, rng: RecordedRNG) -> Example:
    """A degraded mixture of two talkers as the source, the one who is not the speaker of the reference as the target."""
    return _two_talkers(inputs, rng, reverse=True)


def separation(inputs: Inputs, rng: RecordedRNG) -> Example:
    """A clean mixture of two talkers as the source, the louder one as the target."""
    index, target = pick_talker(inputs, rng)
    _, other = pick_other(inputs, index, rng)
    sir = rng.log("sir_db", abs(rng.uniform("sir_drawn_db", inputs.cfg.talkers.sir)))
    scene = mix(inputs, target, other, sir, rng, noisy=False)
    (source, louder, softer), gain = limit_peak(inputs.cfg.peak, scene.mixture_S, scene.target_S, scene.other_S)
    rng.log("gain", gain)
    return Example("separation", inputs.rate, source, louder, other_S=softer, meta=rng.record)

"""Synthesis of simple tunes."""

import numpy as np

from quarkaudio_jax.data.synthetic.synthesis import Sound, add, band_noise, decay, finished, times, tone

SCALES = {"major": (0, 2, 4, 5, 7, 9, 11), "minor": (0, 2, 3, 5, 7, 8, 10)}
PROGRESSIONS = ((0, 4, 5, 3), (0, 5, 3, 4), (0, 3, 4, 0), (5, 3, 0, 4))
TIMBRES = {
    "flute": np.array([1, 0.25, 0.1]),
    "organ": np.array([1, 0.8, 0.6, 0.5, 0.4, 0.3]),
    "clarinet": np.array([1, 0.02, 0.6, 0.02, 0.4, 0.02, 0.2]),
    "strings": 1 / np.arange(1, 16),
}


def _kick(rng, rate):
    t = times(0.3, rate)
    return np.sin(2 * np.pi * np.cumsum(50 + 120 * np.exp(-t * 40)) / rate) * decay(t, 0.05)


def _hat(rng, rate):
    t = times(0.1, rate)
    return 0.5 * band_noise(rng, len(t), rate, 6000, 16000) * decay(t, 0.015, 0.001)


def make(rng: np.random.Generator, rate: int) -> tuple[Sound, str]:
    """Synthesizes eight seconds of chords, bass, melody and drums: (samples, caption)."""
    mode = ("major", "minor")[rng.integers(2)]
    timbre = tuple(TIMBRES)[rng.integers(len(TIMBRES))]
    beat = 60 / rng.uniform(80, 150)
    root = 110 * 2 ** (rng.integers(12) / 12)
    drums = rng.random() < 0.7
    kick, hat = _kick(rng, rate), _hat(rng, rate)
    out = np.zeros(int(8 * rate))

    def note(degree: int) -> float:
        octave, step = divmod(degree, 7)
        return root * 2 ** (octave + SCALES[mode][step] / 12)

    progression = PROGRESSIONS[rng.integers(len(PROGRESSIONS))]
    bars = int(np.ceil(8 / (4 * beat)))
    for bar in range(bars):
        chord, start = progression[bar % 4], 4 * beat * bar
        t = times(4 * beat, rate)
        envelope = np.minimum(1, np.minimum(t / 0.02, (t[-1] - t) / 0.05))
        for degree in (chord, chord + 2, chord + 4):
            add(out, start, rate, 0.2 * envelope * tone(t, note(degree + 7), TIMBRES[timbre]))
        add(out, start, rate, 0.4 * tone(t, note(chord), TIMBRES["organ"]) * decay(t, 1.0))
        for step in range(8):
            if rng.random() < 0.6:
                t = times(beat * rng.choice([0.5, 1.0]), rate)
                hz = note(chord + int(rng.choice([0, 1, 2, 4])) + 14) * (1 + 0.004 * np.sin(2 * np.pi * 5.5 * t))
                add(out, start + step * beat / 2, rate, 0.35 * tone(t, hz, TIMBRES[timbre]) * decay(t, 0.25, 0.01))
            if drums:
                add(out, start + step * beat / 2, rate, 0.8 * (hat if step % 4 else kick))
    tempo = "fast" if beat < 0.5 else "slow"
    return finished(out), f"{tempo} {mode} tune played by {timbre}{' with drums' if drums else ''}"

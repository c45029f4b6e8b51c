"""Simple music and sound events from oscillators and filtered noise."""

import numpy as np
from scipy import signal

Sound = np.ndarray
_PERIOD = 4096


def _seconds(length: float, rate: int) -> np.ndarray:
    return np.arange(int(length * rate)) / rate


def _decay(t: np.ndarray, half_life: float, attack: float = 0.005) -> Sound:
    return np.minimum(t / attack, 1.0) * 0.5 ** (t / half_life)


def _band_noise(rng: np.random.Generator, count: int, rate: int, low: float, high: float) -> Sound:
    sos = signal.butter(2, [low, min(high, 0.49 * rate)], "bandpass", fs=rate, output="sos")
    noise = signal.sosfilt(sos, rng.standard_normal(count))
    return noise / (np.abs(noise).max() + 1e-9)


def _tone(t: np.ndarray, hz, harmonics: np.ndarray) -> Sound:
    """Harmonics of a (gliding) pitch, read from one period by linear interpolation."""
    turns = np.arange(_PERIOD + 1) / _PERIOD * 2 * np.pi
    period = sum(a * np.sin(k * turns) for k, a in enumerate(harmonics, start=1)) / np.abs(harmonics).sum()
    position = np.cumsum(np.broadcast_to(hz * (t[1] - t[0]) * _PERIOD, t.shape)) % _PERIOD
    whole = position.astype(np.int32)
    return period[whole] + (position - whole) * (period[whole + 1] - period[whole])


def _add(out: Sound, start: float, rate: int, sound: Sound) -> None:
    begin = int(start * rate)
    end = min(begin + len(sound), len(out))
    out[begin:end] += sound[: max(end - begin, 0)]


def _finished(out: Sound, peak: float = 0.8) -> Sound:
    return (out * (peak / (np.abs(out).max() + 1e-9))).astype(np.float32)


SCALES = {"major": (0, 2, 4, 5, 7, 9, 11), "minor": (0, 2, 3, 5, 7, 8, 10)}
PROGRESSIONS = ((0, 4, 5, 3), (0, 5, 3, 4), (0, 3, 4, 0), (5, 3, 0, 4))
TIMBRES = {
    "flute": np.array([1, 0.25, 0.1]),
    "organ": np.array([1, 0.8, 0.6, 0.5, 0.4, 0.3]),
    "clarinet": np.array([1, 0.02, 0.6, 0.02, 0.4, 0.02, 0.2]),
    "strings": 1 / np.arange(1, 16),
}


def _kick(rng, rate):
    t = _seconds(0.3, rate)
    return np.sin(2 * np.pi * np.cumsum(50 + 120 * np.exp(-t * 40)) / rate) * _decay(t, 0.05)


def _hat(rng, rate):
    t = _seconds(0.1, rate)
    return 0.5 * _band_noise(rng, len(t), rate, 6000, 16000) * _decay(t, 0.015, 0.001)


def music(rng: np.random.Generator, rate: int) -> tuple[Sound, str]:
    """Four bars: chords, bass, melody and drums; (samples, caption)."""
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
        t = _seconds(4 * beat, rate)
        envelope = np.minimum(1, np.minimum(t / 0.02, (t[-1] - t) / 0.05))
        for degree in (chord, chord + 2, chord + 4):
            _add(out, start, rate, 0.2 * envelope * _tone(t, note(degree + 7), TIMBRES[timbre]))
        _add(out, start, rate, 0.4 * _tone(t, note(chord), TIMBRES["organ"]) * _decay(t, 1.0))
        for step in range(8):
            if rng.random() < 0.6:
                t = _seconds(beat * rng.choice([0.5, 1.0]), rate)
                hz = note(chord + int(rng.choice([0, 1, 2, 4])) + 14) * (1 + 0.004 * np.sin(2 * np.pi * 5.5 * t))
                _add(out, start + step * beat / 2, rate, 0.35 * _tone(t, hz, TIMBRES[timbre]) * _decay(t, 0.25, 0.01))
            if drums:
                _add(out, start + step * beat / 2, rate, 0.8 * (hat if step % 4 else kick))
    tempo = "fast" if beat < 0.5 else "slow"
    return _finished(out), f"{tempo} {mode} tune played by {timbre}{' with drums' if drums else ''}"


def _repeated(rng, rate, length, rate_range, make) -> Sound:
    out, time = np.zeros(int(length * rate)), float(rng.uniform(0, 0.3))
    while time < length:
        _add(out, time, rate, rng.uniform(0.5, 1) * make())
        time += rng.uniform(*rate_range)
    return out


def _bell(rng, rate, length):
    base = rng.uniform(300, 900)

    def strike():
        t = _seconds(2.5, rate)
        partials = zip((1, 2.0, 2.4, 3.0, 4.5, 5.3), (1, 0.6, 0.5, 0.3, 0.2, 0.1), strict=True)
        return sum(a * np.sin(2 * np.pi * base * r * t) * _decay(t, 0.6 / r, 0.002) for r, a in partials)

    return _repeated(rng, rate, length, (0.8, 1.6), strike)


def _knock(rng, rate, length):
    def hit():
        t = _seconds(0.15, rate)
        return _band_noise(rng, len(t), rate, 120, 900) * _decay(t, 0.02, 0.001)

    return _repeated(rng, rate, length, (0.2, 0.6), hit)


def _typing(rng, rate, length):
    def key():
        t = _seconds(0.05, rate)
        return _band_noise(rng, len(t), rate, 1500, 9000) * _decay(t, 0.006, 0.0005)

    return _repeated(rng, rate, length, (0.06, 0.3), key)


def _rain(rng, rate, length):
    hiss = 0.3 * _band_noise(rng, int(length * rate), rate, 1500, 14000)

    def drop():
        t = _seconds(0.02, rate)
        return np.sin(2 * np.pi * rng.uniform(2000, 6000) * t) * _decay(t, 0.003, 0.0005)

    return hiss + 0.4 * _repeated(rng, rate, length, (0.005, 0.04), drop)


def _wind(rng, rate, length):
    t = _seconds(length, rate)
    gust = 0.5 + 0.5 * np.sin(2 * np.pi * rng.uniform(0.1, 0.4) * t + rng.uniform(0, 6))
    return _band_noise(rng, len(t), rate, 100, 900) * gust


def _siren(rng, rate, length):
    t = _seconds(length, rate)
    hz = rng.uniform(500, 700) * (1.4 + 0.4 * np.sin(2 * np.pi * rng.uniform(0.3, 1.5) * t))
    return _tone(t, hz, np.array([1, 0.4, 0.3, 0.1]))


def _engine(rng, rate, length):
    t = _seconds(length, rate)
    hz = rng.uniform(25, 60) * (1 + 0.5 * t / length * rng.uniform(-1, 1))
    return _tone(t, hz, rng.uniform(0.2, 1, 24)) + 0.1 * _band_noise(rng, len(t), rate, 200, 3000)


def _alarm(rng, rate, length):
    hz = rng.uniform(1500, 3200)

    def beep():
        t = _seconds(0.15, rate)
        return _tone(t, hz, np.array([1, 0, 0.3])) * np.minimum(1, np.minimum(t, t[-1] - t) / 0.01)

    return _repeated(rng, rate, length, (0.3, 0.31), beep)


def _birds(rng, rate, length):
    def chirp():
        t = _seconds(rng.uniform(0.06, 0.2), rate)
        hz = rng.uniform(2500, 6000) * (1 + rng.uniform(-0.3, 0.3) * np.sin(2 * np.pi * rng.uniform(5, 25) * t))
        return _tone(t, hz, np.array([1, 0.1])) * np.hanning(len(t))

    return _repeated(rng, rate, length, (0.1, 0.6), chirp)


def _dog(rng, rate, length):
    def bark():
        t = _seconds(0.22, rate)
        hz = rng.uniform(300, 500) * (1.3 - 2.0 * t)
        voiced = _tone(t, hz, 1 / np.arange(1, 12))
        return (voiced + 0.4 * _band_noise(rng, len(t), rate, 500, 4000)) * np.hanning(len(t))

    return _repeated(rng, rate, length, (0.35, 1.0), bark)


EVENTS = {
    "a bell is ringing": _bell,
    "someone knocks on a door": _knock,
    "someone is typing on a keyboard": _typing,
    "rain is falling": _rain,
    "wind is blowing": _wind,
    "a siren is wailing": _siren,
    "an engine is running": _engine,
    "an alarm clock beeps": _alarm,
    "birds are singing": _birds,
    "a dog is barking": _dog,
}


def event(rng: np.random.Generator, rate: int) -> tuple[Sound, str]:
    """One kind of sound for four to eight seconds over a faint background; (samples, caption)."""
    caption = tuple(EVENTS)[rng.integers(len(EVENTS))]
    length = rng.uniform(4, 8)
    out = EVENTS[caption](rng, rate, length)
    background = _band_noise(rng, len(out), rate, 60, 4000) * rng.uniform(0.001, 0.02)
    return _finished(out / (np.abs(out).max() + 1e-9) + background), caption

"""Synthesis of sound events: (rng, rate in Hz, length in seconds) -> (S,) float64, of any peak."""

import numpy as np

from quarkaudio_jax.data.synthetic.synthesis import Sound, add, band_noise, decay, repeated, times, tone


def bell(rng: np.random.Generator, rate: int, length: float) -> Sound:
    """Strokes of a bell: decaying inharmonic partials."""
    base = rng.uniform(300, 900)

    def strike():
        t = times(2.5, rate)
        partials = zip((1, 2.0, 2.4, 3.0, 4.5, 5.3), (1, 0.6, 0.5, 0.3, 0.2, 0.1), strict=True)
        return sum(a * np.sin(2 * np.pi * base * r * t) * decay(t, 0.6 / r, 0.002) for r, a in partials)

    return repeated(rng, rate, length, (0.8, 1.6), strike)


def knock(rng: np.random.Generator, rate: int, length: float) -> Sound:
    """Knocks on a door: bursts of low-pitched noise."""

    def hit():
        t = times(0.15, rate)
        return band_noise(rng, len(t), rate, 120, 900) * decay(t, 0.02, 0.001)

    return repeated(rng, rate, length, (0.2, 0.6), hit)


def typing(rng: np.random.Generator, rate: int, length: float) -> Sound:
    """Keystrokes: short bursts of noise."""

    def key():
        t = times(0.05, rate)
        return band_noise(rng, len(t), rate, 1500, 9000) * decay(t, 0.006, 0.0005)

    return repeated(rng, rate, length, (0.06, 0.3), key)


def rain(rng: np.random.Generator, rate: int, length: float) -> Sound:
    """Rain: hiss with drops."""
    hiss = 0.3 * band_noise(rng, int(length * rate), rate, 1500, 14000)

    def drop():
        t = times(0.02, rate)
        return np.sin(2 * np.pi * rng.uniform(2000, 6000) * t) * decay(t, 0.003, 0.0005)

    return hiss + 0.4 * repeated(rng, rate, length, (0.005, 0.04), drop)


def wind(rng: np.random.Generator, rate: int, length: float) -> Sound:
    """Wind: low noise with slow gusts."""
    t = times(length, rate)
    gust = 0.5 + 0.5 * np.sin(2 * np.pi * rng.uniform(0.1, 0.4) * t + rng.uniform(0, 6))
    return band_noise(rng, len(t), rate, 100, 900) * gust


def siren(rng: np.random.Generator, rate: int, length: float) -> Sound:
    """A siren: a tone that glides up and down."""
    t = times(length, rate)
    hz = rng.uniform(500, 700) * (1.4 + 0.4 * np.sin(2 * np.pi * rng.uniform(0.3, 1.5) * t))
    return tone(t, hz, np.array([1, 0.4, 0.3, 0.1]))


def engine(rng: np.random.Generator, rate: int, length: float) -> Sound:
    """An engine: many harmonics of a low pitch, with noise."""
    t = times(length, rate)
    hz = rng.uniform(25, 60) * (1 + 0.5 * t / length * rng.uniform(-1, 1))
    return tone(t, hz, rng.uniform(0.2, 1, 24)) + 0.1 * band_noise(rng, len(t), rate, 200, 3000)


def alarm(rng: np.random.Generator, rate: int, length: float) -> Sound:
    """An alarm clock: regular beeps."""
    hz = rng.uniform(1500, 3200)

    def beep():
        t = times(0.15, rate)
        return tone(t, hz, np.array([1, 0, 0.3])) * np.minimum(1, np.minimum(t, t[-1] - t) / 0.01)

    return repeated(rng, rate, length, (0.3, 0.31), beep)


def birds(rng: np.random.Generator, rate: int, length: float) -> Sound:
    """Birdsong: chirps with gliding pitch."""

    def chirp():
        t = times(rng.uniform(0.06, 0.2), rate)
        hz = rng.uniform(2500, 6000) * (1 + rng.uniform(-0.3, 0.3) * np.sin(2 * np.pi * rng.uniform(5, 25) * t))
        return tone(t, hz, np.array([1, 0.1])) * np.hanning(len(t))

    return repeated(rng, rate, length, (0.1, 0.6), chirp)


def dog(rng: np.random.Generator, rate: int, length: float) -> Sound:
    """Barks: falling pitch with noise."""

    def bark():
        t = times(0.22, rate)
        hz = rng.uniform(300, 500) * (1.3 - 2.0 * t)
        voiced = tone(t, hz, 1 / np.arange(1, 12))
        return (voiced + 0.4 * band_noise(rng, len(t), rate, 500, 4000)) * np.hanning(len(t))

    return repeated(rng, rate, length, (0.35, 1.0), bark)


def clock(rng: np.random.Generator, rate: int, length: float) -> Sound:
    """A ticking clock: two alternating clicks."""
    period, pitch = rng.uniform(0.4, 0.6), rng.uniform(1800, 3000)
    out = np.zeros(len(times(length, rate)))
    for i in range(int(length / period)):
        t = times(0.03, rate)
        hz = pitch * (1.0 if i % 2 else 0.8)
        add(out, i * period, rate, np.sin(2 * np.pi * hz * t) * decay(t, 0.003, 0.0003))
    return out


def footsteps(rng: np.random.Generator, rate: int, length: float) -> Sound:
    """Footsteps: low thuds followed by scraping."""
    low = rng.uniform(60, 150)

    def step():
        t = times(0.18, rate)
        heel = band_noise(rng, len(t), rate, low, 5 * low) * decay(t, 0.015, 0.002)
        return heel + 0.3 * band_noise(rng, len(t), rate, 1000, 4000) * decay(t, 0.03, 0.03)

    pace = rng.uniform(0.4, 0.65)
    return repeated(rng, rate, length, (pace, 1.08 * pace), step)


def applause(rng: np.random.Generator, rate: int, length: float) -> Sound:
    """Applause: many noise bursts of hands, at random times."""

    def clap():
        t = times(0.05, rate)
        center = rng.uniform(900, 2200)
        return band_noise(rng, len(t), rate, center / 1.6, center * 1.6) * decay(t, 0.006, 0.0005)

    claps = [clap() for _ in range(40)]
    out, count = np.zeros(len(times(length, rate))), int(length * rng.uniform(60, 120))
    for start, which in zip(rng.uniform(0, length, count), rng.integers(len(claps), size=count), strict=True):
        add(out, start, rate, rng.uniform(0.3, 1) * claps[which])
    return out


def dripping(rng: np.random.Generator, rate: int, length: float) -> Sound:
    """Dripping water: rising chirps."""
    base = rng.uniform(600, 1200)

    def drop():
        t = times(0.12, rate)
        return np.sin(2 * np.pi * np.cumsum(base * (1 + 6 * t)) / rate) * decay(t, 0.015, 0.002)

    return repeated(rng, rate, length, (0.35, 0.9), drop)


def thunder(rng: np.random.Generator, rate: int, length: float) -> Sound:
    """Thunder: cracks followed by low rumble."""

    def roll():
        t = times(2.5, rate)
        crack = band_noise(rng, len(t), rate, 80, 2500) * decay(t, 0.08, 0.01)
        return 0.7 * crack + band_noise(rng, len(t), rate, 25, 160) * decay(t, 0.5, 0.05)

    return repeated(rng, rate, length, (2.0, 3.5), roll)


def cat(rng: np.random.Generator, rate: int, length: float) -> Sound:
    """Meows: pitch and level rise and fall."""

    def meow():
        t = times(rng.uniform(0.5, 0.8), rate)
        shape = np.abs(np.sin(np.pi * t / t[-1]))
        return tone(t, rng.uniform(450, 650) * (1 + 0.4 * shape), 1 / np.arange(1, 9) ** 1.3) * shape**0.6

    return repeated(rng, rate, length, (1.0, 1.8), meow)


def crickets(rng: np.random.Generator, rate: int, length: float) -> Sound:
    """Crickets: pulsed high tones."""
    hz = rng.uniform(3800, 5200)

    def chirp():
        t = times(0.12, rate)
        return np.sin(2 * np.pi * hz * t) * (0.5 + 0.5 * np.sign(np.sin(2 * np.pi * 33 * t))) * np.hanning(len(t))

    return repeated(rng, rate, length, (0.2, 0.3), chirp)


def frog(rng: np.random.Generator, rate: int, length: float) -> Sound:
    """Croaks: pulses of a low tone."""

    def croak():
        t = times(0.3, rate)
        pulses = np.maximum(np.sin(2 * np.pi * rng.uniform(28, 45) * t), 0) ** 3
        return tone(t, rng.uniform(180, 320), 1 / np.arange(1, 15) ** 0.7) * pulses * np.hanning(len(t))

    return repeated(rng, rate, length, (0.5, 1.1), croak)


def helicopter(rng: np.random.Generator, rate: int, length: float) -> Sound:
    """A helicopter: pulses of low noise."""
    t = times(length, rate)
    blades = np.maximum(np.sin(2 * np.pi * rng.uniform(9, 14) * t), 0) ** 4
    return band_noise(rng, len(t), rate, 50, 700) * (0.25 + blades)


def glass(rng: np.random.Generator, rate: int, length: float) -> Sound:
    """Breaking glass: a noise burst with ringing pieces."""

    def crash():
        t = times(1.0, rate)
        out = 0.7 * band_noise(rng, len(t), rate, 2000, 15000) * decay(t, 0.03, 0.001)
        for _ in range(25):
            ring = times(0.25, rate)
            piece = np.sin(2 * np.pi * rng.uniform(2500, 9000) * ring) * decay(ring, rng.uniform(0.01, 0.05), 0.0005)
            add(out, rng.uniform(0, 0.5), rate, 0.3 * piece)
        return out

    return repeated(rng, rate, length, (1.6, 2.6), crash)


def phone(rng: np.random.Generator, rate: int, length: float) -> Sound:
    """A ringing telephone: two alternating tones."""
    low, high = rng.uniform(400, 520), rng.uniform(560, 700)

    def ring():
        t = times(0.9, rate)
        warble = np.where(np.sin(2 * np.pi * 10 * t) > 0, low, high)
        return tone(t, 2 * warble, np.array([1, 0.3, 0.2])) * np.minimum(1, np.minimum(t, t[-1] - t) / 0.01)

    return repeated(rng, rate, length, (1.8, 2.0), ring)


def whistle(rng: np.random.Generator, rate: int, length: float) -> Sound:
    """Blows of a whistle: a warbling high tone."""

    def blow():
        t = times(rng.uniform(0.4, 0.9), rate)
        hz = rng.uniform(2200, 2800) * (1 + 0.03 * np.sign(np.sin(2 * np.pi * 28 * t)))
        return tone(t, hz, np.array([1, 0.2])) * np.minimum(1, np.minimum(t, t[-1] - t) / 0.02)

    return repeated(rng, rate, length, (1.2, 2.0), blow)


def waves(rng: np.random.Generator, rate: int, length: float) -> Sound:
    """Waves on a beach: noise that swells slowly."""
    t = times(length, rate)
    swell = np.maximum(np.sin(2 * np.pi * rng.uniform(0.15, 0.3) * t + rng.uniform(0, 6)), 0) ** 1.5
    return band_noise(rng, len(t), rate, 300, 6000) * (0.1 + swell)


def fire(rng: np.random.Generator, rate: int, length: float) -> Sound:
    """A fire: low noise with crackles."""

    def crackle():
        t = times(0.02, rate)
        return band_noise(rng, len(t), rate, 800, 12000) * decay(t, 0.002, 0.0002)

    return 0.2 * band_noise(rng, len(times(length, rate)), rate, 80, 500) + repeated(
        rng, rate, length, (0.02, 0.25), crackle
    )


def horn(rng: np.random.Generator, rate: int, length: float) -> Sound:
    """A car horn: a two-tone chord."""
    hz = rng.uniform(330, 460)

    def honk():
        t = times(rng.uniform(0.3, 0.8), rate)
        chord = tone(t, hz, 1 / np.arange(1, 12) ** 0.5) + tone(t, 1.26 * hz, 1 / np.arange(1, 12) ** 0.5)
        return chord * np.minimum(1, np.minimum(t, t[-1] - t) / 0.02)

    return repeated(rng, rate, length, (1.0, 1.8), honk)


def hammer(rng: np.random.Generator, rate: int, length: float) -> Sound:
    """Hammer blows: noise with ringing metal."""
    partials = rng.uniform(900, 6000, 6)

    def blow():
        t = times(0.25, rate)
        ring = sum(np.sin(2 * np.pi * hz * t) for hz in partials) * decay(t, 0.025, 0.0005)
        return 0.2 * ring + band_noise(rng, len(t), rate, 150, 2000) * decay(t, 0.01, 0.0005)

    return repeated(rng, rate, length, (0.45, 0.8), blow)


def saw(rng: np.random.Generator, rate: int, length: float) -> Sound:
    """A hand saw: noise modulated by strokes and teeth."""
    t = times(length, rate)
    stroke = np.sin(2 * np.pi * rng.uniform(0.9, 1.4) * t)
    teeth = 0.6 + 0.4 * np.sign(np.sin(2 * np.pi * 90 * t))
    return band_noise(rng, len(t), rate, 1200, 8000) * teeth * np.abs(stroke) ** 0.7


def vacuum(rng: np.random.Generator, rate: int, length: float) -> Sound:
    """A vacuum cleaner: a whine with noise."""
    t = times(length, rate)
    whine = tone(t, rng.uniform(180, 320), 1 / np.arange(1, 20))
    return 0.5 * whine + 0.6 * band_noise(rng, len(t), rate, 300, 9000)


def train(rng: np.random.Generator, rate: int, length: float) -> Sound:
    """A passing train: rumble with double clacks of the wheels."""

    def clack():
        out = np.zeros(len(times(0.35, rate)))
        for start in (0.0, 0.12):
            t = times(0.1, rate)
            add(out, start, rate, band_noise(rng, len(t), rate, 200, 1800) * decay(t, 0.015, 0.001))
        return out

    rumble = 0.3 * band_noise(rng, len(times(length, rate)), rate, 30, 300)
    return rumble + repeated(rng, rate, length, (0.6, 0.65), clack)


def drums(rng: np.random.Generator, rate: int, length: float) -> Sound:
    """A drum roll: fast strokes of skin and snare."""

    def hit():
        t = times(0.2, rate)
        skin = np.sin(2 * np.pi * 180 * t) * decay(t, 0.03, 0.001)
        return skin + 0.8 * band_noise(rng, len(t), rate, 1500, 9000) * decay(t, 0.03, 0.001)

    pause = rng.uniform(0.09, 0.14)
    return repeated(rng, rate, length, (pause, pause * 1.02), hit)


def cough(rng: np.random.Generator, rate: int, length: float) -> Sound:
    """Coughs: noise bursts with some voice."""

    def burst():
        t = times(0.35, rate)
        voiced = tone(t, rng.uniform(110, 220) * (1 - 0.4 * t), 1 / np.arange(1, 20) ** 0.8)
        return (0.4 * voiced + band_noise(rng, len(t), rate, 400, 5000)) * decay(t, 0.06, 0.005)

    return repeated(rng, rate, length, (0.5, 1.4), burst)

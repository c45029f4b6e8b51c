"""Stereo from mono: what the ears of a spherical head in a free field receive from a point source.

Delays follow Woodworth's formula (1938), the shadow of the head the one-pole, one-zero filter of Brown and Duda (1998,
equations 5 and 6), levels the distance of each ear. Front and back sound the same, as does the rest of a cone around the
axis through the ears, since there are no pinnae.
"""

import dataclasses

import numpy as np

HEAD_RADIUS = 0.0875
"""Radius of the head, meters."""

SPEED_OF_SOUND = 343.0
"""Meters per second."""

NEAREST = 0.15
"""Least distance of a source from the center of the head, meters."""

SHADOW_FLOOR, SHADOW_ANGLE = 0.1, np.deg2rad(150.0)
"""High-frequency gain where the shadow is deepest, and the angle from the ear at which it is."""

FARTHEST = 4.99
"""Greatest distance that is drawn, meters."""


@dataclasses.dataclass(frozen=True)
class Position:
    """Direction in degrees (azimuth: 0 in front, 90 to the left; elevation: 90 above) and distance in meters."""

    azimuth: float
    elevation: float
    distance: float

    def array(self) -> np.ndarray:
        """The coordinates, (3,) float32."""
        return np.asarray([self.azimuth, self.elevation, self.distance], np.float32)


def draw_position(rng: np.random.Generator) -> Position:
    """A direction and a distance at random, each coordinate uniform."""
    return Position(rng.uniform(0, 360), rng.uniform(-90, 90), rng.uniform(NEAREST, FARTHEST))


def incidence(position: Position) -> np.ndarray:
    """Angle between the source and the axis of the left and of the right ear, (2,) radians."""
    azimuth, elevation = np.deg2rad([position.azimuth, position.elevation])
    lateral = np.sin(azimuth) * np.cos(elevation)
    return np.arccos(np.clip([lateral, -lateral], -1, 1))


def ear_delays(angles: np.ndarray) -> np.ndarray:
    """Delay of each ear against the center of the head in seconds, negative at the nearer ear."""
    direct, around = -np.cos(angles), angles - np.pi / 2
    return HEAD_RADIUS / SPEED_OF_SOUND * np.where(angles < np.pi / 2, direct, around)


def ear_gains(angles: np.ndarray, distance: float) -> np.ndarray:
    """Level of each ear by its distance from the source, 1 at 1 m from the center of the head."""
    distance = max(distance, NEAREST)
    return (distance**2 + HEAD_RADIUS**2 - 2 * distance * HEAD_RADIUS * np.cos(angles)) ** -0.5


def head_shadow(angles: np.ndarray, frequencies: np.ndarray) -> np.ndarray:
    """Frequency responses (F, 2) of the head's shadow at each ear, without delay; 1 at 0 Hz."""
    alpha = 1 + SHADOW_FLOOR / 2 + (1 - SHADOW_FLOOR / 2) * np.cos(angles / SHADOW_ANGLE * np.pi)
    s = 1j * 2 * np.pi * frequencies[:, None] * HEAD_RADIUS / (2 * SPEED_OF_SOUND)
    return (1 + alpha * s) / (1 + s)


def spatialize(mono_S: np.ndarray, rate: int, position: Position) -> np.ndarray:
    """Left and right (S, 2) float32 of a mono signal from a position, aligned in time to the center of the head."""
    angles = incidence(position)
    margin = int(np.ceil(4 * HEAD_RADIUS / SPEED_OF_SOUND * rate)) + 64
    size = len(mono_S) + margin
    frequencies = np.fft.rfftfreq(size, 1 / rate)
    phases = np.exp(-2j * np.pi * frequencies[:, None] * ear_delays(angles))
    response = ear_gains(angles, position.distance) * head_shadow(angles, frequencies) * phases
    spectrum = np.fft.rfft(np.asarray(mono_S, np.float64), size)[:, None] * response
    return np.fft.irfft(spectrum, size, axis=0)[: len(mono_S)].astype(np.float32)

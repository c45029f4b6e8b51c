"""The spherical head: delays, levels and shadows of both ears."""

import numpy as np
import pytest

from quarkaudio_jax.data.simulation.head import (
    HEAD_RADIUS,
    SPEED_OF_SOUND,
    Position,
    draw_position,
    ear_delays,
    head_shadow,
    incidence,
    spatialize,
)

RATE = 16000
NOISE = np.random.default_rng(0).standard_normal(RATE).astype(np.float32)


def delay_of(wave_SxC) -> float:
    """Samples by which the right ear is later than the left, by the phase of low frequencies."""
    left, right = np.fft.rfft(wave_SxC, axis=0).T
    low = slice(100, 600)
    frequencies = np.fft.rfftfreq(len(wave_SxC))[low]
    phase = np.angle((left * np.conj(right))[low])
    return float((phase * frequencies).sum() / (2 * np.pi * (frequencies**2).sum()))


def test_a_source_in_front_is_the_same_for_both_ears():
    for azimuth in (0, 180, 360):
        wave = spatialize(NOISE, RATE, Position(azimuth, 0, 1))
        np.testing.assert_allclose(wave[:, 0], wave[:, 1], atol=1e-5)
        assert wave.shape == (RATE, 2) and wave.dtype == np.float32


@pytest.mark.parametrize("azimuth", [90, -90, 270])
def test_left_is_left(azimuth):
    wave = spatialize(NOISE, RATE, Position(azimuth, 0, 1))
    near, far = (0, 1) if azimuth == 90 else (1, 0)
    level = 10 * np.log10((wave[:, near] ** 2).mean() / (wave[:, far] ** 2).mean())
    assert 8 < level < 25  # of white noise
    assert (delay_of(wave) > 0) == (near == 0)


def test_delays_follow_woodworth():
    a = HEAD_RADIUS / SPEED_OF_SOUND
    for azimuth in (10, 45, 90):
        left, right = ear_delays(incidence(Position(azimuth, 0, 1)))
        theta = np.deg2rad(azimuth)
        assert right - left == pytest.approx(a * (np.sin(theta) + theta))  # 0.66 ms at 90 degrees
    wave = spatialize(NOISE, RATE, Position(30, 0, 1))
    # The shadow's phase adds to the delay at low frequencies.
    assert a * RATE * (0.5 + np.pi / 6) < delay_of(wave) < 2 * a * RATE * (0.5 + np.pi / 6)


def test_elevation_moves_towards_the_middle():
    levels = [
        np.ptp(np.log10((spatialize(NOISE, RATE, Position(90, elevation, 1)) ** 2).mean(0)))
        for elevation in (0, 45, 89.999)
    ]
    assert levels[0] > levels[1] > levels[2] and levels[2] < 1e-3


def test_levels_follow_the_distance():
    energy = [(spatialize(NOISE, RATE, Position(0, 0, d)) ** 2).mean() for d in (1, 2, 4)]
    assert energy[0] / energy[1] == pytest.approx(4, rel=0.02) and energy[1] / energy[2] == pytest.approx(4, rel=0.02)
    near, far = (np.ptp(10 * np.log10((spatialize(NOISE, RATE, Position(90, 0, d)) ** 2).mean(0))) for d in (0.15, 4))
    assert near > far + 3  # a near source is much nearer to one ear


def test_energy_is_kept_at_low_frequencies_and_within_limits_above():
    assert head_shadow(np.array([0.0, np.pi]), np.zeros(1)) == pytest.approx(np.ones((1, 2)))
    high = np.abs(head_shadow(np.deg2rad([0.0, 90.0, 150.0, 180.0]), np.array([1e6])))[0]
    np.testing.assert_allclose(high, [2.0, 0.756, 0.1, 0.281], atol=0.01)
    for azimuth in range(0, 360, 30):
        wave = spatialize(NOISE, RATE, Position(azimuth, 0, 1))
        assert 0.4 < (wave**2).mean() / (NOISE**2).mean() < 2.5


def test_positions_are_drawn_everywhere():
    rng = np.random.default_rng(0)
    drawn = np.stack([draw_position(rng).array() for _ in range(500)])
    low, high = drawn.min(0), drawn.max(0)
    assert (low < [10, -80, 0.4]).all() and (high > [350, 80, 4.8]).all()
    assert (low >= [0, -90, 0.15]).all() and (high <= [360, 90, 5]).all()

"""What harms a recording, each against what it says of itself."""

import numpy as np
import pytest

from quarkaudio_jax.config import DegradeConfig
from quarkaudio_jax.data.simulation import degradations
from quarkaudio_jax.data.simulation.rng import RecordedRNG
from quarkaudio_jax.data.simulation.rooms import direct_path, draw_room, reverberate
from quarkaudio_jax.data.simulation.voice_perturbation import change_speed, peak_filter, shift_pitch, warp_formants
from quarkaudio_jax.io.levels import limit_peak, ratio_gain, rms, scale_rms
from quarkaudio_jax.io.transforms import fit_length

RATE = 16000


@pytest.fixture
def noise():
    return 0.1 * np.random.default_rng(0).standard_normal(2 * RATE).astype(np.float32)


def power_above(samples, hz, rate=RATE):
    spectrum = np.abs(np.fft.rfft(samples)) ** 2
    return spectrum[np.fft.rfftfreq(len(samples), 1 / rate) > hz].sum() / spectrum.sum()


def voice(rate=RATE, pitch=120.0, formant=700.0):
    """Harmonics under one resonance."""
    t = np.arange(2 * rate) / rate
    harmonics = np.arange(1, int(0.45 * rate / pitch))
    levels = 1 / (1 + ((harmonics * pitch - formant) / 150) ** 2)
    return (0.1 * sum(a * np.sin(2 * np.pi * k * pitch * t) for k, a in zip(harmonics, levels, strict=True))).astype(
        np.float32
    )


def pitch_of(samples, rate=RATE):
    middle = samples[len(samples) // 4 :][: rate // 2]
    correlation = np.correlate(middle, middle, "full")[len(middle) - 1 :]
    lags = np.arange(rate // 400, rate // 60)
    return rate / lags[np.argmax(correlation[lags])]


def centre_of(samples, rate=RATE):
    spectrum = np.abs(np.fft.rfft(samples)) ** 2
    return (np.fft.rfftfreq(len(samples), 1 / rate) * spectrum).sum() / spectrum.sum()


def test_bandwidth(noise):
    narrow = degradations.limit_bandwidth(noise, RATE, 4000)
    assert len(narrow) == len(noise) and power_above(narrow, 2100) < 1e-4 < power_above(noise, 2100)
    assert degradations.limit_bandwidth(noise, RATE, 16000) is noise


def test_clipping(noise):
    clipped = degradations.clip_quantiles(noise, 0.1, 0.9)
    assert np.mean(clipped == clipped.max()) == pytest.approx(0.1, abs=0.01)
    assert np.mean(clipped == clipped.min()) == pytest.approx(0.1, abs=0.01)


@pytest.mark.parametrize("share", [0.0, 0.05, 0.25, 1.0])
def test_packets(noise, share):
    broken, lost = degradations.lose_packets(noise, RATE, 0.02, share, 10, np.random.default_rng(0))
    packets = broken.reshape(-1, 320)
    silent = np.flatnonzero(~packets.any(axis=1))
    assert list(silent) == lost and len(lost) == round(100 * share)
    kept = np.setdiff1d(np.arange(100), lost)
    np.testing.assert_array_equal(packets[kept], noise.reshape(-1, 320)[kept])


@pytest.mark.parametrize("codec", degradations.CODECS)
@pytest.mark.parametrize("rate", [16000, 48000])
def test_codecs_keep_time_and_length(codec, rate):
    samples = voice(rate)
    coded = degradations.code(samples, rate, codec, 0.5)
    assert coded.shape == samples.shape and coded.dtype == np.float32
    error = rms(coded - samples) / rms(samples)
    assert 1e-4 < error < 0.5
    np.testing.assert_array_equal(coded, degradations.code(samples, rate, codec, 0.5))
    with pytest.raises(ValueError, match="choose among mp3, opus"):
        degradations.code(samples, rate, "aac", 0.5)


def test_a_room_has_its_reverberation_time_and_the_target_stays_in_time():
    cfg = DegradeConfig(rt60=(0.4, 0.4))
    rng = RecordedRNG(np.random.default_rng(3))
    (response, _) = draw_room(rng, cfg, RATE, 2).responses
    decay = np.cumsum(response[::-1] ** 2)[::-1]
    level = 10 * np.log10(decay / decay[0])
    crossing = [np.flatnonzero(level < x)[0] for x in (-5, -25)]
    assert 3 * (crossing[1] - crossing[0]) / RATE == pytest.approx(0.4, rel=0.3)
    click = np.zeros(RATE, np.float32)
    click[100] = 1.0
    heard, near = reverberate(click, response, RATE, cfg.early)
    assert direct_path(heard) == direct_path(near) == 100
    assert not near[100 + int(0.051 * RATE) :].any() or np.abs(near[100 + int(0.052 * RATE) :]).max() < 1e-6
    assert rms(near[:900]) == pytest.approx(rms(click[:900]), rel=1e-3)
    again = draw_room(RecordedRNG(np.random.default_rng(3)), cfg, RATE, 2).responses[0]
    np.testing.assert_array_equal(response, again)
    assert rng.record["rt60"] == 0.4


def test_levels(noise):
    other = noise[::-1] * 0.3
    gain = ratio_gain(noise, other, 6.0)
    assert 20 * np.log10(rms(noise) / rms(gain * other)) == pytest.approx(6.0, abs=1e-6)
    assert ratio_gain(noise, np.zeros(10), 6.0) == 0.0
    assert 20 * np.log10(rms(scale_rms(noise, -20.0))) == pytest.approx(-20.0, abs=1e-4)
    (quiet, same), factor = limit_peak(0.99, 10 * noise, noise)
    assert np.abs(quiet).max() == pytest.approx(0.99, abs=1e-6) and factor < 1
    np.testing.assert_allclose(same * 10, quiet, rtol=1e-5)
    assert limit_peak(0.99, noise)[1] == 1.0


def test_lengths():
    ramp = np.arange(10.0)
    np.testing.assert_array_equal(fit_length(ramp, 4, 0.99), [6, 7, 8, 9])
    np.testing.assert_array_equal(fit_length(ramp, 13, 0.5), [5, 6, 7, 8, 9, 0, 1, 2, 3, 4, 5, 6, 7])


@pytest.mark.parametrize("factor", [0.75, 1.4])
def test_pitch_moves_and_formants_stay(factor):
    samples = voice()
    moved = shift_pitch(samples, RATE, factor)
    assert len(moved) == len(samples) and pitch_of(moved) == pytest.approx(factor * pitch_of(samples), rel=0.03)
    assert centre_of(moved) == pytest.approx(centre_of(samples), rel=0.15)


@pytest.mark.parametrize("factor", [0.75, 1.3])
def test_formants_move_and_pitch_stays(factor):
    samples = voice()
    moved = warp_formants(samples, RATE, factor)
    assert len(moved) == len(samples) and pitch_of(moved) == pytest.approx(pitch_of(samples), rel=0.03)
    assert centre_of(moved) == pytest.approx(factor * centre_of(samples), rel=0.15)


def test_speed_and_equalizer():
    samples = voice()
    quick = change_speed(samples, RATE, 1.6)
    assert len(quick) == pytest.approx(len(samples) / 1.6, rel=0.01)
    assert pitch_of(quick) == pytest.approx(pitch_of(samples), rel=0.03)
    t = np.arange(RATE) / RATE
    tone = np.sin(2 * np.pi * 1000 * t).astype(np.float32)
    louder = peak_filter(tone, RATE, 1000, 2.0, 6.0)
    assert 20 * np.log10(rms(louder[4000:]) / rms(tone[4000:])) == pytest.approx(6.0, abs=0.05)


def test_draws_write_themselves_down():
    rng = RecordedRNG(np.random.default_rng(0))
    inner = rng.scope("room")
    values = [
        inner.uniform("x", (1, 2)),
        rng.integer("n", 3, 3),
        rng.permutation("o", ("a", "b")),
        rng.bernoulli("p", 1.0),
    ]
    assert rng.record == {"room.x": values[0], "n": 3, "o": values[2], "p": True}
    first = rng.generator("seed").random()
    assert np.random.default_rng(rng.record["seed"]).random() == first

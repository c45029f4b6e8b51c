"""Length arithmetic: exact for every usual rate and length, whatever counts it."""

import fractions
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from quarkaudio_jax.codec.variants import get_variant
from quarkaudio_jax.io.transforms import resample
from quarkaudio_jax.nn import resample as device
from quarkaudio_jax.ssl.features import SSL_HOP, SSL_MARGIN, SSL_RATE
from quarkaudio_jax.ssl.model import HUBERT_BASE
from quarkaudio_jax.types import Codes, ceil_div, resampled_length, rescale


def test_codes_become_one_array():
    acoustic, semantic = np.arange(12).reshape(2, 3, 2), jnp.arange(100, 106).reshape(2, 3, 1)
    codes = Codes(acoustic, semantic, 25.0)
    found = codes.to_array()
    assert found.dtype == np.int32 and found.shape == (2, 3, 3) and found[1, 2].tolist() == [10, 11, 105]
    np.testing.assert_array_equal(codes.to_array("bkt"), found.transpose(0, 2, 1))
    stereo = Codes(acoustic, semantic, 25.0, spatial_BxTxK=acoustic + 50).to_array("bkt")
    assert stereo.shape == (2, 5, 3) and stereo[0, :, 0].tolist() == [0, 1, 100, 50, 51]
    with pytest.raises(ValueError, match="layout is 'tbk'; it should be 'btk' or 'bkt'"):
        codes.to_array("tbk")


RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 88200, 96000, 176400, 192000)
SECONDS = (1, 8.4, 10, 60, 600)
ROUNDED = {"down": math.floor, "nearest": lambda x: math.floor(x + fractions.Fraction(1, 2)), "up": math.ceil}


def lengths_at(rate):
    """Around 1, 8.4, 10, 60 and 600 s, int32."""
    return np.array([math.ceil(s * rate) + d for s, d in itertools.product(SECONDS, (-1, 0, 1, 7))], np.int32)


@pytest.mark.parametrize("rate", RATES)
def test_lengths_at_another_rate(rate):
    """Python ints, NumPy int32 and int32 under jit give what fractions give."""
    lengths = lengths_at(rate)
    compiled = jax.jit(lambda n: [rescale(n, rate, new, "nearest") for new in RATES])(lengths)
    for new, (how, rounded) in itertools.product(RATES, ROUNDED.items()):
        want = [rounded(fractions.Fraction(int(n) * new, rate)) for n in lengths]
        assert [rescale(int(n), rate, new, how) for n in lengths] == want
        assert [int(rescale(n, rate, new, how)) for n in lengths] == want
        found = [rescale(lengths, rate, new, how)] + ([compiled[RATES.index(new)]] if how == "nearest" else [])
        assert all(got.dtype == np.int32 and got.tolist() == want for got in found)


def test_the_longest_lengths():
    """Up to the last result that int32 holds; rates that can't be counted in 32 bits are refused, not wrong."""
    longest = np.int32(2**31 - 1)
    for rate in RATES:
        fits = rescale(int(longest), max(rate, 16000), min(rate, 16000))
        assert rescale(longest, max(rate, 16000), min(rate, 16000)) == fits
    assert rescale(np.int32(2**31 // 24 - 1), 8000, 192000) == (2**31 // 24 - 1) * 24
    assert rescale(10**12, 44101, 192000) == 10**12 * 192000 // 44101
    with pytest.raises(ValueError, match="44101 Hz can't be counted at 192000 Hz in 32 bits"):
        rescale(longest, 44101, 192000)


@pytest.mark.parametrize("rate", [r for r in RATES if r % 50 == 0])
def test_ssl_masks(rate):
    """An SSL model sees as many frames as the wave has, alone (shapes) and in a padded batch (masks)."""
    hop = rate // 50
    frames = ceil_div(lengths_at(rate), hop)
    margin = 2 * SSL_MARGIN
    count = jax.jit(lambda n: HUBERT_BASE.num_frames(rescale(n, rate, SSL_RATE, "up") + margin))
    np.testing.assert_array_equal(count(frames * hop), frames)
    for n in frames:
        wave = jax.ShapeDtypeStruct((1, int(n) * hop), jnp.float32)
        made = jax.eval_shape(lambda x: device.resample(x, rate, SSL_RATE), wave).shape[1]
        assert made == int(n) * SSL_HOP and HUBERT_BASE.num_frames(made + margin) == n


@pytest.mark.parametrize("variant", ["hcodec_16k", "hcodec_16k_adaptive", "hcodec_48k", "hcodec_48k_6hz"])
def test_codec_frames(variant):
    """Frames and the samples they hold, int32 under jit against Python ints."""
    cfg = get_variant(variant)
    lengths = lengths_at(cfg.sample_rate)
    whole = jax.jit(lambda n: cfg.num_frames(n) * cfg.frame_hop)(lengths)
    assert whole.tolist() == [-(-int(n) // cfg.frame_hop) * cfg.frame_hop for n in lengths]


@pytest.mark.parametrize("rate, new_rate", itertools.permutations((8000, 11025, 16000, 22050, 44100, 48000, 192000), 2))
def test_resampled_waves_have_that_length(rate, new_rate):
    """Also one sample at the highest rate, and halves, where soxr gives one sample less."""
    for length in (1, 2, 441, 2741, 5513):
        wave = np.ones((length, 1), np.float32)
        assert len(resample(wave, rate, new_rate)) == resampled_length(length, rate, new_rate) >= 1
        on_device = jax.eval_shape(lambda x: device.resample(x, rate, new_rate), wave[:, 0][None])
        assert on_device.shape[1] == math.ceil(fractions.Fraction(length * new_rate, rate))
    assert resample(np.zeros((0, 1), np.float32), rate, new_rate).shape == (0, 1)
    assert resampled_length(0, rate, new_rate) == 0

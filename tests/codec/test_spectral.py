"""The front end of H-Codec 2.0 where the spectrum is empty: what hangs on rounding, and what does not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from quarkaudio_jax.codec.hcodec import HCodec
from quarkaudio_jax.codec.spectral import CLIP, FADE, log_magnitude_and_phase
from quarkaudio_jax.codec.variants import (
    HCODEC_48K_TINY,
    HCODEC_48K_TINY_FADED,
    VARIANTS,
    get_variant,
    published_front_end,
)
from quarkaudio_jax.config import ConfigError, from_config_dict
from quarkaudio_jax.configs import codec48k
from quarkaudio_jax.io.transforms import resample
from quarkaudio_jax.nn.window import hann_window
from quarkaudio_jax.training.codec_program import CodecProgram
from quarkaudio_jax.training.program import check_unchanged
from quarkaudio_jax.weights.hcodec import import_hcodec, match_variant, torch_shapes
from tests.conftest import small_config
from tests.parity.codecs import golden_state_dict

BINS = 961


@pytest.fixture(scope="module")
def band_limited():
    """Eight waves at 48 kHz, (8, 23040), of a 16 kHz source: two thirds of their bins are empty."""
    rng = np.random.default_rng(0)
    source = 0.1 * rng.standard_normal((7680, 8))
    return resample(source.astype(np.float32), 16000, 48000).T[:, :23040].copy()


def front_end(wave, fade_phase):
    out = np.asarray(log_magnitude_and_phase(jnp.asarray(wave), 1920, 960, fade_phase))
    return out[..., :BINS], out[..., BINS:]


def front_end_in_float64(wave, fade_phase):
    padded = np.pad(wave.astype(np.float64), ((0, 0), (480, 480)))
    index_TxN = np.arange((padded.shape[1] - 1920) // 960 + 1)[:, None] * 960 + np.arange(1920)
    spectrum = np.fft.rfft(padded[:, index_TxN] * hann_window(1920))
    log_magnitude, phase = np.log(np.maximum(np.abs(spectrum), CLIP)), np.angle(spectrum) / np.pi
    if fade_phase:
        phase = phase * np.clip((log_magnitude - np.log(CLIP)) / np.log(FADE), 0, 1)
    return log_magnitude, phase


def turns_apart(a, b):
    """Differences of phases in units of pi, on the circle."""
    apart = np.abs(a - b) % 2
    return np.minimum(apart, 2 - apart)


def test_published_phases_of_empty_bins_are_noise(band_limited):
    (_, ours), (magnitude, exact) = front_end(band_limited, False), front_end_in_float64(band_limited, False)
    empty = magnitude <= np.log(CLIP)
    assert 0.5 < empty.mean() < 0.7  # the cuts at both ends fill the bins of their frames
    assert (turns_apart(ours, exact)[empty] > 0.1).mean() > 0.4
    assert turns_apart(ours, exact)[magnitude > np.log(FADE * CLIP)].max() < 2e-3


def test_faded_phases_do_not_hang_on_rounding(band_limited):
    (ours, phase), (exact, exact_phase) = front_end(band_limited, True), front_end_in_float64(band_limited, True)
    np.testing.assert_allclose(ours, exact, atol=0.5)  # just above the clip a rounding error is as large as the bin
    assert (turns_apart(phase, exact_phase) > 0.02).mean() < 1e-4  # a few at the cut from pi to -pi
    assert not phase[ours <= np.float32(np.log(CLIP))].any()


def test_only_phases_of_weak_bins_fade(band_limited):
    (faded, faded_phase), (magnitude, phase) = front_end(band_limited, True), front_end(band_limited, False)
    np.testing.assert_array_equal(faded, magnitude)
    full = magnitude >= np.log(FADE * CLIP) + 1e-5
    np.testing.assert_allclose(faded_phase[full], phase[full], atol=1e-6)
    assert (np.abs(faded_phase) <= np.abs(phase) + 1e-6).all()


def test_silence_has_no_phase():
    magnitude, phase = front_end(np.zeros((1, 3840), np.float32), True)
    assert not phase.any() and (magnitude == np.float32(np.log(CLIP))).all()


@pytest.mark.slow
def test_codes_do_not_hang_on_the_batch(band_limited):
    cfg = HCODEC_48K_TINY_FADED
    codec, variables = HCodec(cfg), import_hcodec(cfg, golden_state_dict(cfg))
    encode = jax.jit(lambda x: codec.apply(variables, x, method=lambda m, x: m.quantizer.encode(m.encoder(x))))
    alone = np.concatenate([encode(wave[None]) for wave in band_limited])
    np.testing.assert_array_equal(encode(band_limited), alone)


def test_published_variants_have_the_published_front_end():
    """Names as they stand in checkpoints from before there was fading keep their meaning."""
    for name in ("hcodec_48k", "hcodec_48k_6hz", "hcodec_48k_base", "hcodec_48k_tiny"):
        assert not get_variant(name).encoder.fade_phase and get_variant(f"{name}_faded").encoder.fade_phase
        assert published_front_end(get_variant(f"{name}_faded")) == get_variant(name)
    for cfg in VARIANTS.values():
        assert published_front_end(published_front_end(cfg)) == published_front_end(cfg)


@pytest.mark.parametrize("variant", ["tiny", "base", "large"])
def test_our_own_training_fades(variant):
    assert get_variant(codec48k.get_config(variant).codec.variant).encoder.fade_phase


@pytest.mark.slow
def test_a_pytorch_file_means_the_published_front_end_unless_it_says_otherwise():
    tensors = {name: np.broadcast_to(np.float32(0), shape) for name, shape in torch_shapes(HCODEC_48K_TINY).items()}
    assert match_variant(tensors, "hcodec_48k_tiny_faded") == HCODEC_48K_TINY_FADED
    assert match_variant(tensors) == match_variant(tensors, "nonsense") == match_variant(tensors, "hcodec_48k_faded")
    assert match_variant(tensors) == HCODEC_48K_TINY


def test_runs_and_weights_of_another_front_end_are_refused_by_name():
    program = CodecProgram(from_config_dict(small_config()))
    before = from_config_dict(small_config(codec__variant="hcodec_48k_tiny"))
    with pytest.raises(ConfigError, match=r"config.codec.variant = 'hcodec_48k_tiny' \(now 'hcodec_48k_tiny_faded'\)"):
        check_unchanged(program.resume_fields(before), program.resume_fields(program.cfg), allowed=False)
    with pytest.raises(ConfigError, match="another front end; set config.codec.variant=hcodec_48k_tiny$"):
        program.check_init_from(before)
    program.check_init_from(program.cfg)
    CodecProgram(before).check_init_from(before)

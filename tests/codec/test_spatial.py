"""The third stream: mid and side, positions, and the mapping of mono to stereo."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from quarkaudio_jax.codec.hcodec import HCodec, wave_shape
from quarkaudio_jax.codec.spatial import (
    SpatialMapConfig,
    SpatialMapNet,
    channels_of,
    mid_of,
    mid_side,
    position_indices,
    views_of,
)
from quarkaudio_jax.codec.variants import HCODEC_16K_MONO2STEREO, HCODEC_16K_STEREO, HCODEC_16K_STEREO_TINY, stereo
from quarkaudio_jax.losses.features import mapping
from tests.parity import golden

RNG = np.random.default_rng(0)


def test_mid_and_side_hold_the_wave_and_its_energy():
    wave = RNG.standard_normal((2, 50, 2)).astype(np.float32)
    mid, side = mid_side(wave)
    np.testing.assert_allclose(jnp.stack([mid + side, mid - side], axis=-1), wave, atol=1e-6)
    np.testing.assert_allclose(2 * (mid**2 + side**2).sum(1), (wave**2).sum((1, 2)), rtol=1e-5)
    np.testing.assert_array_equal(mid_of(wave), mid)
    np.testing.assert_array_equal(views_of(wave), jnp.concatenate([wave[..., 0], wave[..., 1], mid, side]))
    np.testing.assert_array_equal(channels_of(wave), jnp.concatenate([wave[..., 0], wave[..., 1]]))
    doubled = np.repeat(wave[..., :1], 2, axis=-1)
    assert not mid_side(doubled)[1].any() and np.array_equal(mid_side(doubled)[0], wave[..., 0])
    for unchanged in (mid_of, views_of, channels_of):
        assert unchanged(mid) is mid


def test_positions_become_the_rows_that_the_public_code_takes():
    given = [(45, 0, 1.5), (359.9, -90, 0), (-90, 90, 4.99), (360, -0.5, 5), (0, 12.3, 2.3), (np.nan, np.nan, np.nan)]
    rows = [(45, 90, 15), (359, 0, 0), (270, 179, 49), (0, 89, 49), (0, 102, 23), (0, 90, 0)]
    np.testing.assert_array_equal(position_indices(jnp.asarray(given, jnp.float32)), rows)


def test_every_position_on_the_grid_has_its_own_row():
    degrees, tenths = np.arange(360), np.arange(50) / 10
    at = np.zeros((360, 3), np.float32)
    at[:, 0], at[:, 1] = degrees, degrees % 180 - 90
    at[:, 2] = tenths[degrees % 50]
    np.testing.assert_array_equal(
        position_indices(jnp.asarray(at)), np.stack([degrees, degrees % 180, degrees % 50], axis=-1)
    )


@pytest.mark.parametrize("cfg, books", [(HCODEC_16K_STEREO, (4, 4, 2)), (HCODEC_16K_MONO2STEREO, (4, 4, 4))])
def test_shapes_of_the_official_sizes(cfg, books):
    codec = HCodec(cfg)
    wave = jax.ShapeDtypeStruct(wave_shape(cfg, 2, 16000), jnp.float32)
    features = jax.ShapeDtypeStruct((2, 50, 1024), jnp.float32)
    variables = jax.eval_shape(codec.init, jax.random.key(0), wave, features)
    codes = jax.eval_shape(lambda v, w, f: codec.apply(v, w, f, method="encode"), variables, wave, features)
    assert [stream.shape for stream in codes.streams] == [(2, 25, k) for k in books]
    assert cfg.channels == 2 and cfg.bitrate == 250 * sum(books)
    decoded = jax.eval_shape(lambda v, c: codec.apply(v, c, method="decode"), variables, codes)
    assert decoded.shape == (2, 16000, 2)


@pytest.fixture(scope="module")
def net():
    net = SpatialMapNet(SpatialMapConfig(8, 16, 32, (1, 2), 3))
    acoustic, semantic = RNG.standard_normal((2, 2, 12, 16)).astype(np.float32)
    position = np.array([[90, 0, 1], [-90, 0, 1]], np.float32)
    return net, net.init(jax.random.key(0), acoustic, semantic, position), acoustic, semantic, position


def test_the_mapping_starts_with_no_side(net):
    module, variables, *inputs = net
    assert not module.apply(variables, *inputs).any()


def test_the_mapping_depends_on_the_position_and_not_on_padding(net):
    module, variables, acoustic, semantic, position = net
    names = jax.tree_util.tree_leaves_with_path(variables)
    drawn = [golden.normal(jax.tree_util.keystr(path), leaf.shape) * np.float32(0.3) for path, leaf in names]
    variables = jax.tree.unflatten(jax.tree.structure(variables), drawn)
    same = np.stack([acoustic[0], acoustic[0]]), np.stack([semantic[0], semantic[0]])
    left, right = module.apply(variables, *same, position)
    assert np.abs(left - right).max() > 1e-3
    mask = np.arange(12) < np.array([[7], [12]])
    padded = module.apply(variables, acoustic, semantic, position, mask)
    one = module.apply(variables, acoustic[:1, :7], semantic[:1, :7], position[:1])
    np.testing.assert_allclose(padded[:1, :7], one, atol=1e-5)


def test_the_loss_of_the_mapping_counts_known_positions_only():
    target = RNG.standard_normal((2, 5, 4)).astype(np.float32)
    known, unknown = [30.0, 0.0, 1.0], [np.nan] * 3
    pred = np.stack([target[0], target[1] + 100])
    assert mapping(pred, target, np.array([known, unknown])) == 0
    assert mapping(pred * 0, target, np.array([known, known])) == pytest.approx(1)
    assert mapping(pred, target, np.array([unknown, unknown])) == 0
    assert not jax.grad(lambda t: mapping(pred, t, np.array([known, known])))(target).any()


def test_the_loss_of_the_mapping_is_bounded_where_the_side_is_almost_silent():
    """A source in the median plane must not take the clipped gradient of all other losses."""
    target = 1e-3 * RNG.standard_normal((1, 5, 4)).astype(np.float32)
    known = np.array([[0.0, 0.0, 1.0]])
    loss, grad = jax.value_and_grad(mapping)(target * 0 + 1, target, known)
    assert loss == pytest.approx(1, rel=1e-2) and np.linalg.norm(grad) < 2
    assert mapping(-target, target, known) == pytest.approx(2)


def test_a_stereo_codec_takes_stereo_waves():
    codec = HCodec(HCODEC_16K_STEREO_TINY)
    with pytest.raises(ValueError, match=r"shape \(1, 640\), but hcodec_16k_stereo_tiny has 2 channel"):
        jax.eval_shape(codec.init, jax.random.key(0), jnp.zeros((1, 640)), jnp.zeros((1, 2, 768)))
    with pytest.raises(AttributeError):
        HCODEC_16K_STEREO_TINY.channels = 1
    assert stereo(HCODEC_16K_STEREO_TINY, "x", 2).name == "x"

"""The discriminators: blocks of columns compute what plain convolutions do; shapes; weight normalization."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from quarkaudio_jax.discriminators import models
from quarkaudio_jax.discriminators.models import Discriminators, leaky_relu
from quarkaudio_jax.discriminators.objectives import discriminator_loss, generator_loss
from quarkaudio_jax.losses.features import feature_matching
from quarkaudio_jax.nn.blocks import blocked_conv2d, to_blocks
from quarkaudio_jax.nn.conv import conv2d

BANDS = (0.0, 0.1, 0.35, 1.0)


def waves(size=2, samples=2400):
    return jax.random.normal(jax.random.key(1), (2, size, samples))


def make(blocked, dtype=jnp.float32):
    """A narrow layer before a narrow, a wide and a last one; bands that no block divides."""
    return Discriminators((3,), (4, 8, 20, 8), (256,), BANDS, 4, dtype, blocked)


@pytest.fixture(autouse=True)
def lanes(monkeypatch):
    """A device that works on 16 channels at once, for small kernels."""
    monkeypatch.setattr(models, "LANES", 16)


def judge(params, wave, blocked):
    return jax.jit(make(blocked).apply)(params, wave)


def objectives(params, fake, real, blocked, dtype):
    judged, target = (make(blocked, dtype).apply(params, wave) for wave in (fake, real))
    layers, targets = ([x for j in judgements for x in j.features] for judgements in (judged, target))
    matching = feature_matching(layers, targets)
    return discriminator_loss(target, judged) + generator_loss(judged) + matching


@pytest.mark.slow
def test_blocks_give_the_same_losses_and_gradients():
    """In float64, where rounding does not decide which side of 0 an activation lies on."""
    fake, real = waves()
    params = nn.meta.unbox(jax.jit(make(False).init)(jax.random.key(0), real))
    with jax.enable_x64(True):
        step = jax.jit(jax.value_and_grad(objectives, (0, 1)), static_argnums=(3, 4))
        (plain, expected), (blocked, found) = (step(params, fake, real, way, jnp.float64) for way in (False, True))
    assert float(blocked) == pytest.approx(float(plain), rel=1e-12) and np.isfinite(float(plain))
    for theirs, ours in zip(jax.tree.leaves(expected), jax.tree.leaves(found), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6 * float(jnp.abs(theirs).max()))


@pytest.mark.slow
def test_blocks_leave_parameters_and_logits_as_they_are():
    wave = waves()[0]
    one, other = (nn.meta.unbox(jax.jit(make(way).init)(jax.random.key(0), wave)) for way in (False, True))
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), one, other))
    for plain, blocked in zip(judge(one, wave, False), judge(one, wave, True), strict=True):
        np.testing.assert_allclose(blocked.logits, plain.logits, atol=1e-5)
        assert [x.size for x in blocked.features] == [x.values.size for x in plain.features]
        for a, b in zip(blocked.features, plain.features, strict=True):
            np.testing.assert_allclose(a.image(), b.image(), atol=1e-4)
            assert np.count_nonzero(a.values) <= a.size


@pytest.mark.parametrize("size, stride", [(9, 1), (9, 2), (3, 1), (5, 3), (1, 1)])
@pytest.mark.parametrize("block, given", [(4, 4), (3, 1), (4, 8), (2, 1)])
@pytest.mark.parametrize("width", [23, 24])
def test_blocked_convolution_equals_the_plain_one(size, stride, block, given, width):
    x = jax.random.normal(jax.random.key(0), (2, 5, width, 3))
    kernel = jax.random.normal(jax.random.key(1), (3, size, 3, 7))
    bias = jnp.arange(7.0)
    if stride * block % given:
        with pytest.raises(ValueError, match="do not begin with blocks of"):
            blocked_conv2d(to_blocks(x, given), kernel, bias, stride, block)
        return
    expected = conv2d(x, kernel, (1, stride)) + bias
    for before, multiple in ((0, 1), (0, 6), (block, 2 * block)):
        found = blocked_conv2d(to_blocks(x, given), kernel, bias, stride, block, before, multiple)
        assert found.image().shape == expected.shape and found.size == expected.size
        np.testing.assert_allclose(found.image(), expected, atol=1e-4)
        columns = found.values.reshape(2, 5, -1, 7)
        assert columns.shape[2] % multiple == 0
        assert not columns[:, :, :before].any() and not columns[:, :, before + expected.shape[2] :].any()
        if before:
            again = blocked_conv2d(found.merge(2 * block), jnp.ones((1, 9, 7, 1)), jnp.zeros(1), 2, block)
            np.testing.assert_allclose(again.image(), conv2d(expected, jnp.ones((1, 9, 7, 1)), (1, 2)), atol=1e-3)


def test_blocks_that_do_not_fit_together_are_refused():
    x = to_blocks(jnp.ones((1, 1, 10, 1)), 2)
    assert x.merge(2) is x and x.merge(10).values.shape == (1, 1, 1, 10)
    for block in (3, 4):
        with pytest.raises(ValueError, match=f"5 blocks of 2 columns can't be merged to blocks of {block}"):
            x.merge(block)


def test_leaky_relu_has_the_gradient_of_its_definition():
    x = jnp.array([-3.0, -1e-30, 0.0, 1e-30, 2.0])
    np.testing.assert_allclose(leaky_relu(x), nn.leaky_relu(x, 0.1))
    np.testing.assert_allclose(
        jax.vmap(jax.grad(leaky_relu))(x), jax.vmap(jax.grad(lambda v: nn.leaky_relu(v, 0.1)))(x)
    )


@pytest.mark.slow
def test_kernels_are_weight_normalized():
    """Scaling v changes nothing; the initial g is |v|."""
    wave = waves()[0]
    params = nn.meta.unbox(jax.jit(make(False).init)(jax.random.key(0), wave))
    layer = params["params"]["period_3"]["conv_1"]
    np.testing.assert_allclose(layer["g"], jnp.sqrt(jnp.square(layer["v"]).sum((0, 1, 2))), rtol=1e-6)
    scaled = jax.tree_util.tree_map_with_path(lambda path, x: 3 * x if path[-1].key == "v" else x, params)
    for a, b in zip(judge(params, wave, False), judge(scaled, wave, False), strict=True):
        np.testing.assert_allclose(a.logits, b.logits, atol=1e-5)

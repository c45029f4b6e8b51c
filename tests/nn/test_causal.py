"""Attention in blocks against attention at once, forwards and backwards."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from quarkaudio_jax.nn import causal
from quarkaudio_jax.nn.attention import apply_rope, rope_angles
from quarkaudio_jax.nn.causal import causal_attention
from quarkaudio_jax.nn.dropout import keep_mask

SEGMENTS = jnp.asarray([[1] * 9 + [2] * 8 + [0] * 2, [1] * 3 + [2] * 16])

TURN = rope_angles(jnp.asarray([[*range(9), *range(8), 0, 0], [*range(3), *range(16)]]), 6)


def at_once(q, k, v):
    q, k = (apply_rope(x, TURN[:, :, None]) for x in (q, k))
    return jax.nn.dot_product_attention(q, k, v, mask=mask()[:, None])


def in_blocks(q, k, v):
    return causal_attention(q, k, v, SEGMENTS, TURN)


def inputs(heads, groups, dtype=jnp.float32, seed=0):
    keys = jax.random.split(jax.random.key(seed), 4)
    length = SEGMENTS.shape[1]
    shapes = [(2, length, heads, 6), (2, length, groups, 6), (2, length, groups, 6), (2, length, heads, 6)]
    return [jax.random.normal(key, shape).astype(dtype) for key, shape in zip(keys, shapes, strict=True)]


def mask():
    same = SEGMENTS[:, :, None] == SEGMENTS[:, None, :]
    return same & jnp.tril(jnp.ones(same.shape[1:], bool))


@pytest.mark.parametrize("block", [4, 19, 256])
@pytest.mark.parametrize(
    "heads, groups", [pytest.param(4, 4, marks=pytest.mark.slow), (4, 2), pytest.param(3, 1, marks=pytest.mark.slow)]
)
def test_it_equals_attention_at_once(block, heads, groups, monkeypatch):
    monkeypatch.setattr(causal, "BLOCK", block)
    q, k, v, slope = inputs(heads, groups)

    def value_and_slopes(attend):
        value, back = jax.vjp(attend, q, k, v)
        return value, back(slope)

    expected, theirs = jax.jit(functools.partial(value_and_slopes, at_once))()
    found, ours = jax.jit(functools.partial(value_and_slopes, in_blocks))()
    np.testing.assert_allclose(found, expected, atol=2e-6)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, atol=5e-6)


@pytest.mark.parametrize("block", [pytest.param(19, marks=pytest.mark.slow), 4])
def test_dropout_of_its_weights_equals_that_of_attention_at_once(block, monkeypatch):
    monkeypatch.setattr(causal, "BLOCK", block)
    q, k, v, slope = inputs(4, 2)
    seeds, length, rate = jax.random.bits(jax.random.key(5), (2, 2), jnp.uint32), SEGMENTS.shape[1], 0.3
    head, key, query = np.indices((4, length, length))
    index = jnp.asarray((head * length + key) * length + query, jnp.uint32).swapaxes(1, 2)
    kept = jnp.stack([keep_mask(row, index, rate) for row in seeds])

    def dropped_at_once(q, k, v):
        q, k = (apply_rope(x, TURN[:, :, None]) for x in (q, k))
        k, v = (jnp.repeat(x, 2, axis=2) for x in (k, v))
        scores = jnp.einsum("bqhd,bkhd->bhqk", q, k) / 6**0.5
        weights = jax.nn.softmax(jnp.where(mask()[:, None], scores, -1e30))
        return jnp.einsum("bhqk,bkhd->bqhd", jnp.where(kept, weights / (1 - rate), 0.0), v)

    def dropped_in_blocks(q, k, v):
        return causal_attention(q, k, v, SEGMENTS, TURN, dropout=rate, seeds_Bx2=seeds)

    found, expected = (
        jax.jit(lambda f=f: (jax.vjp(f, q, k, v)[0], jax.vjp(f, q, k, v)[1](slope)))()
        for f in (dropped_in_blocks, dropped_at_once)
    )
    jax.tree.map(functools.partial(np.testing.assert_allclose, atol=5e-6), found, expected)


@pytest.mark.parametrize("block", [pytest.param(19, marks=pytest.mark.slow), 4])
def test_a_prefix_that_reaches_its_end_equals_attention_at_once(block, monkeypatch):
    """Prefixes of 5 and 4 positions in the first row, of 11 in the second's second segment."""
    monkeypatch.setattr(causal, "BLOCK", block)
    q, k, v, slope = inputs(4, 2)
    reach = np.tile(np.arange(19), (2, 1))
    reach[0, :5], reach[0, 9:13], reach[1, 3:14] = 4, 12, 13
    seen = (SEGMENTS[:, :, None] == SEGMENTS[:, None, :]) & (np.arange(19) <= reach[:, :, None])

    def full(q, k, v):
        q, k = (apply_rope(x, TURN[:, :, None]) for x in (q, k))
        return jax.nn.dot_product_attention(q, k, v, mask=seen[:, None])

    def blocks(q, k, v):
        return causal_attention(q, k, v, SEGMENTS, TURN, reach_BxL=jnp.asarray(reach))

    found, expected = (
        jax.jit(lambda f=f: [jax.vjp(f, q, k, v)[0], *jax.vjp(f, q, k, v)[1](slope)])() for f in (blocks, full)
    )
    jax.tree.map(functools.partial(np.testing.assert_allclose, atol=5e-6), found, expected)


def test_in_bfloat16_it_is_as_near_as_attention_at_once():
    """By the mean and the largest error of the output and of each gradient, over draws enough for them to settle."""

    @functools.partial(jax.jit, static_argnums=0)
    def passes(fn, q, k, v, slope):
        out, back = jax.vjp(fn, q, k, v)
        return out, *back(slope)

    errors = np.zeros((2, 4, 2))
    for seed in range(30):
        half = inputs(4, 2, jnp.bfloat16, seed)
        exact = passes(at_once, *(x.astype(jnp.float32) for x in half))
        for i, fn in enumerate((in_blocks, at_once)):
            found = passes(fn, *half)
            assert all(x.dtype == jnp.bfloat16 for x in found)
            off = [np.abs(np.asarray(a, np.float32) - b) for a, b in zip(found, exact, strict=True)]
            errors[i] += [(x.mean(), x.max()) for x in off]
    ours, usual = errors
    assert (ours < 1.2 * usual).all(), ours / usual

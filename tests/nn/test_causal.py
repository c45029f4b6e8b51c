"""Attention in blocks against attention at once, forwards and backwards."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from quarkaudio_jax.nn import causal
from quarkaudio_jax.nn.causal import causal_attention

SEGMENTS = jnp.asarray([[1] * 9 + [2] * 8 + [0] * 2, [1] * 3 + [2] * 16])


def inputs(heads, groups, dtype=jnp.float32):
    keys = jax.random.split(jax.random.key(0), 4)
    length = SEGMENTS.shape[1]
    shapes = [(2, length, heads, 6), (2, length, groups, 6), (2, length, groups, 6), (2, length, heads, 6)]
    return [jax.random.normal(key, shape).astype(dtype) for key, shape in zip(keys, shapes, strict=True)]


def mask():
    same = SEGMENTS[:, :, None] == SEGMENTS[:, None, :]
    return same & jnp.tril(jnp.ones(same.shape[1:], bool))


@pytest.mark.parametrize("block", [4, 19, 256])
@pytest.mark.parametrize("heads, groups", [(4, 4), (4, 2), (3, 1)])
def test_it_equals_attention_at_once(block, heads, groups, monkeypatch):
    monkeypatch.setattr(causal, "BLOCK", block)
    q, k, v, slope = inputs(heads, groups)

    def at_once(q, k, v):
        return jax.nn.dot_product_attention(q, k, v, mask=mask()[:, None])

    expected, back = jax.vjp(at_once, q, k, v)
    found, ours = jax.vjp(lambda q, k, v: causal_attention(q, k, v, SEGMENTS), q, k, v)
    np.testing.assert_allclose(found, expected, atol=2e-6)
    for a, b in zip(ours(slope), back(slope), strict=True):
        np.testing.assert_allclose(a, b, atol=5e-6)


def test_in_bfloat16_it_is_as_near_as_attention_at_once():
    q, k, v, slope = inputs(4, 2)
    exact, back = jax.vjp(lambda *a: jax.nn.dot_product_attention(*a, mask=mask()[:, None]), q, k, v)
    half = [x.astype(jnp.bfloat16) for x in (q, k, v)]
    errors = []
    for fn in (
        lambda *a: causal_attention(*a, SEGMENTS),
        lambda *a: jax.nn.dot_product_attention(*a, mask=mask()[:, None]),
    ):
        out, slopes = jax.vjp(fn, *half)
        found = (out, *slopes(slope.astype(jnp.bfloat16)))
        assert all(x.dtype == jnp.bfloat16 for x in found)
        errors.append([float(jnp.abs(a - b).max()) for a, b in zip(found, (exact, *back(slope)), strict=True)])
    assert all(ours < 1.5 * usual for ours, usual in zip(*errors, strict=True)), errors

"""The LSTM's gradient, written by hand, against the one that JAX derives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from quarkaudio_jax.nn.lstm import lstm


def derived(gates_BxTx4H, w_hh_Hx4H):
    """The recurrence as plain steps."""
    h = c = jnp.zeros((len(gates_BxTx4H), len(w_hh_Hx4H)))
    out = []
    for t in range(gates_BxTx4H.shape[1]):
        i, f, g, o = jnp.split(gates_BxTx4H[:, t] + h @ w_hh_Hx4H, 4, axis=-1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        out.append(h)
    return jnp.stack(out, axis=1)


def inputs(length, batch=3, hidden=5):
    keys = jax.random.split(jax.random.key(0), 3)
    shapes = [(batch, length, 4 * hidden), (hidden, 4 * hidden), (batch, length, hidden)]
    return [jax.random.normal(key, shape) for key, shape in zip(keys, shapes, strict=True)]


@pytest.mark.parametrize("length", [1, 2, 9])
def test_value_and_gradient(length):
    gates, weights, slope = inputs(length)
    expected, back = jax.vjp(derived, gates, weights)
    found, ours = jax.vjp(lstm, gates, weights)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    for a, b in zip(ours(slope), back(slope), strict=True):
        np.testing.assert_allclose(a, b, atol=5e-6)


def test_bfloat16_comes_near():
    gates, weights, slope = inputs(9)
    _, back = jax.vjp(derived, gates, weights)
    out, ours = jax.vjp(lstm, gates.astype(jnp.bfloat16), weights.astype(jnp.bfloat16))
    found = ours(slope.astype(jnp.bfloat16))
    assert out.dtype == jnp.bfloat16 and all(x.dtype == jnp.bfloat16 for x in found)
    for a, b in zip(found, back(slope), strict=True):
        assert jnp.abs(a - b).max() < 0.03 * jnp.abs(b).max()


def test_remat_and_jit_go_through():
    gates, weights, _ = inputs(4)
    plain = jax.grad(lambda w: lstm(gates, w).sum())(weights)
    remat = jax.jit(jax.grad(lambda w: jax.checkpoint(lstm)(gates, w).sum()))(weights)
    np.testing.assert_allclose(plain, remat, atol=1e-6)

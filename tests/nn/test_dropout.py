"""Dropout by a hash: its rate, its independence, and where it is off."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from quarkaudio_jax.nn.dropout import DROPOUT, dropout, flat_index, keep_mask


class Layer(nn.Module):
    """Dropout alone."""

    rate: float = 0.1

    @nn.compact
    def __call__(self, x):
        return dropout(self, x, self.rate)


def masks(rate, seeds=40, size=10_000):
    """Masks (seeds, size) of random words, as numbers with mean 0 and variance 1."""
    words = jax.random.bits(jax.random.key(0), (seeds, 2), jnp.uint32)
    kept = np.asarray(jax.vmap(lambda word: keep_mask(word, flat_index((size,)), rate))(words), float)
    return (kept - (1 - rate)) / np.sqrt(rate * (1 - rate))


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_values_are_dropped_at_that_rate_and_independently(rate):
    """Means, and correlations of neighbors, of distant values and of masks, are within five standard errors of 0."""
    found = masks(rate)
    seeds, size = found.shape
    assert abs(found.mean()) < 5 / np.sqrt(seeds * size)
    assert (abs(found.mean(1)) < 5 / np.sqrt(size)).all()
    for lag in (1, 2, 64, 512, 4096):
        assert abs((found[:, lag:] * found[:, :-lag]).mean()) < 5 / np.sqrt(seeds * (size - lag)), lag
    between = found @ found.T / size
    assert abs(between[~np.eye(seeds, dtype=bool)]).max() < 5 / np.sqrt(size)


def test_seeds_that_differ_by_little_give_other_masks():
    words = jnp.asarray([[7, 9], [8, 10], [7, 10]], jnp.uint32)
    found = np.asarray(jax.vmap(lambda word: keep_mask(word, flat_index((10_000,)), 0.5))(words), float) * 2 - 1
    shifted = [(found[0, lag:] * found[1, : len(found[1]) - lag]).mean() for lag in range(3)]
    assert abs(np.array([*shifted, (found[0] * found[2]).mean()])).max() < 0.05


def test_the_expectation_stays_and_the_dtype_too():
    x = jnp.full((200, 500), 2.0, jnp.bfloat16)
    out = Layer().apply({}, x, rngs={DROPOUT: jax.random.key(1)})
    assert out.dtype == jnp.bfloat16
    assert float(out.astype(jnp.float32).mean()) == pytest.approx(2.0, rel=0.01)
    assert np.unique(np.asarray(out, np.float32)).tolist() == [0.0, float(jnp.bfloat16(2.0 / 0.9))]


def test_the_stream_decides_and_without_one_nothing_is_dropped():
    x = jnp.ones((30, 40))
    one, again, other = (Layer().apply({}, x, rngs={DROPOUT: jax.random.key(i)}) for i in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()
    np.testing.assert_array_equal(Layer().apply({}, x), x)
    np.testing.assert_array_equal(Layer(0.0).apply({}, x, rngs={DROPOUT: jax.random.key(1)}), x)

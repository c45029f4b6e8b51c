"""Gradients where a value is 0 or too large for float32: finite, and what the functions give as it was."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from quarkaudio_jax.codec.aggregate import neighbor_similarity
from quarkaudio_jax.codec.decoder import limited_exp
from quarkaudio_jax.codec.quantize import rotate_to
from quarkaudio_jax.nn.mel import multi_scale_mel_distance, stft_distance
from quarkaudio_jax.nn.norm import safe_norm
from quarkaudio_jax.ssl.features import compress, mel_features

RNG = np.random.default_rng(0)
SILENCE = jnp.zeros((1, 4096))
NOISE = jnp.asarray(0.1 * RNG.standard_normal((1, 4096), dtype=np.float32))
CODES = jnp.asarray(RNG.standard_normal((3, 4), dtype=np.float32)).at[1].set(0.0)

AT_ZERO = {
    "limited_exp": (limited_exp, jnp.asarray([-1e30, -200.0, 0.0, 4.6, 4.61, 88.0, 89.0, 1e4, 1e30])),
    "compressed": (compress, jnp.asarray([-1.0, -0.0, 0.0, 1e-30, 1.0])),
    "safe_norm": (safe_norm, CODES),
    "weight norm of a zero kernel": (lambda v: v / jnp.maximum(safe_norm(v, 1, True), 1e-12), CODES),
    "neighbor_similarity": (lambda x: neighbor_similarity(x[None]), CODES),
    "rotation of a zero vector": (lambda x: rotate_to(x, x[::-1] + 1), CODES),
    "rotation to a zero vector": (lambda x: rotate_to(x + 1, CODES), CODES),
    "mel distance": (lambda x: multi_scale_mel_distance(x, NOISE, 16000, (64, 1024), (8, 40)), SILENCE),
    "mel distance of two silences": (lambda x: multi_scale_mel_distance(x, SILENCE, 16000, (64,), (8,)), SILENCE),
    "stft distance": (lambda x: stft_distance(x, NOISE), SILENCE),
    "mel features": (lambda x: mel_features(x, 16000, 320, 48), SILENCE),
}


@pytest.mark.parametrize("name", AT_ZERO)
def test_gradients_are_finite(name):
    function, x = AT_ZERO[name]
    grad = jax.jit(jax.grad(lambda x: (function(x) * 0.5).sum()))(x)
    assert np.isfinite(grad).all(), grad


def test_values_are_what_they_were():
    """To the bit: the head's magnitude, the norm and what is divided by it, the compression of features."""
    near = np.float32(np.log(100)) + np.arange(-50, 50, dtype=np.float32) * np.float32(2**-21)
    x = np.concatenate([near, np.linspace(-90, 90, 999, dtype=np.float32), np.float32([-np.inf, np.inf])])
    np.testing.assert_array_equal(jax.jit(limited_exp)(x), jax.jit(lambda x: jnp.minimum(jnp.exp(x), 100.0))(x))
    v, g = RNG.standard_normal((5, 3, 7), dtype=np.float32), RNG.standard_normal(7, dtype=np.float32)
    was, now = (
        jax.jit(lambda v, g, norm=norm: v * (g / jnp.maximum(norm(v), 1e-12)))(v, g)
        for norm in (lambda v: jnp.sqrt(jnp.square(v).sum((0, 1))), lambda v: safe_norm(v, (0, 1)))
    )
    np.testing.assert_array_equal(now, was)
    np.testing.assert_array_equal(jax.jit(safe_norm)(v), jax.jit(lambda x: jnp.linalg.norm(x, axis=-1))(v))
    x = np.concatenate([v.ravel(), np.float32([0.0, -0.0])])
    was = jax.jit(lambda x: jnp.where(x > 0, 1.0, -1.0) * jnp.abs(x) ** 0.3)(x)
    np.testing.assert_array_equal(np.asarray(jax.jit(compress)(x)).view(np.int32), np.asarray(was).view(np.int32))

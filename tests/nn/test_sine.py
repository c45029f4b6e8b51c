"""sin(x)^2 by a polynomial against float64, and its gradient."""

import jax
import numpy as np
import pytest

from quarkaudio_jax.nn.sine import sin_squared


@pytest.mark.parametrize("largest", [1.0, 30.0, 1e3, 1e4])
def test_it_is_sine_squared(largest):
    x = np.linspace(-largest, largest, 20001, dtype=np.float32)
    np.testing.assert_allclose(jax.jit(sin_squared)(x), np.sin(x.astype(np.float64)) ** 2, atol=3e-7)
    slope = jax.vmap(jax.grad(sin_squared))(x)
    np.testing.assert_allclose(slope, np.sin(2 * x.astype(np.float64)), atol=2e-6)

"""Initializers and logical axis names."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

trunc_normal = nn.initializers.truncated_normal(stddev=0.02, lower=-100.0, upper=100.0)
"""Normal with standard deviation 0.02, truncated at +-2 like PyTorch's trunc_normal_, that is, in effect not."""


torch_kernel = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
"""PyTorch's default for linear and convolution kernels: uniform in +-1 / sqrt(fan_in)."""


def torch_bias(fan_in: int) -> Callable:
    """PyTorch's default for biases (and for every tensor of an LSTM): uniform in +-1 / sqrt(fan_in)."""
    bound = fan_in**-0.5

    def init(key, shape, dtype=jnp.float32):
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return init


def kernel_and_bias(torch_init: bool, fan_in: int) -> tuple[Callable, Callable]:
    """The initializers of a linear or convolution layer: PyTorch's defaults, or `trunc_normal` and zeros."""
    if torch_init:
        return torch_kernel, torch_bias(fan_in)
    return trunc_normal, nn.initializers.zeros


def logical(init: Callable, *axes: str | None) -> Callable:
    """Wraps an initializer to give the parameter logical axis names and the type float32.

    `sharding.mesh.RULES` maps the names to mesh axes.
    """
    return nn.with_logical_partitioning(lambda key, shape: init(key, shape, jnp.float32), axes)

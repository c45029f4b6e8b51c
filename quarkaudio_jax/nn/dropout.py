"""Dropout (Srivastava et al., JMLR 2014) by a counter-based hash.

The mask is a function of two random words and of each value's index, so that it fuses into the surrounding computation, is
recomputed instead of stored for the backward pass, and does not depend on how arrays are sharded. On CPU it takes an
eighth of the time of `jax.random.bernoulli`.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

DROPOUT = "dropout"
"""Name of the random stream; without it among `rngs`, as in evaluation and generation, there is no dropout."""


def keep_mask(seeds_2: jax.Array, index: jax.Array, rate: float) -> jax.Array:
    """Mask of the shape of `index`, True with probability 1 - rate. seeds_2, index: uint32; distinct within an array."""
    x = index + seeds_2[0]
    x = (x ^ (x >> 16)) * jnp.uint32(0x7FEB352D)
    x = (x ^ (x >> 15) ^ seeds_2[1]) * jnp.uint32(0x846CA68B)
    x = (x ^ (x >> 16)) * jnp.uint32(0x9E3779B1)
    return (x ^ (x >> 15)) >= jnp.uint32(min(round(rate * 2**32), 2**32 - 1))


def flat_index(shape: tuple[int, ...]) -> jax.Array:
    """Number of each element of an array of that shape, row by row (uint32)."""
    index = jnp.zeros(shape, jnp.uint32)
    for axis, size in enumerate(shape):
        index = index * size + jax.lax.broadcasted_iota(jnp.uint32, shape, axis)
    return index


def dropout_seeds(module: nn.Module, rate: float, *shape: int) -> jax.Array | None:
    """Random words (*shape, 2) uint32 of a module's stream; None where there is no dropout."""
    if not rate or not module.has_rng(DROPOUT):
        return None
    return jax.random.bits(module.make_rng(DROPOUT), (*shape, 2), jnp.uint32)


def dropout(module: nn.Module, x: Any, rate: float) -> Any:
    """Values of x set to 0 with probability `rate`, the others scaled by 1 / (1 - rate)."""
    seeds_2 = dropout_seeds(module, rate)
    if seeds_2 is None:
        return x
    return jnp.where(keep_mask(seeds_2, flat_index(x.shape), rate), x / (1.0 - rate), 0).astype(x.dtype)

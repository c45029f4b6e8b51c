"""Masking of features in training: spans of frames set to zero (SpecAugment, arXiv:1904.08779)."""

import jax
import jax.numpy as jnp


def masked_spans(key: jax.Array, shape: tuple[int, int], share: float, span: int) -> jax.Array:
    """Mask (B, L) that is True in random spans of `span` positions, which may overlap; on average at `share` of them."""
    rows, length = shape
    starts = jax.random.bernoulli(key, 1.0 - (1.0 - share) ** (1.0 / span), (rows, length + span - 1))
    counts = jnp.cumsum(jnp.pad(starts, ((0, 0), (1, 0))), axis=1)
    return counts[:, span:] > counts[:, :-span]

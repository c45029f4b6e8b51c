"""Least-squares objectives (arXiv:1611.04076), mean over members; scalars."""

import jax
import jax.numpy as jnp

from quarkaudio_jax.discriminators.models import DiscriminatorOutput


def discriminator_loss(real: list[DiscriminatorOutput], fake: list[DiscriminatorOutput]) -> jax.Array:
    """Real logits towards 1, generated ones towards 0."""
    terms = [
        jnp.square(1 - r.logits.astype(jnp.float32)).mean() + jnp.square(f.logits.astype(jnp.float32)).mean()
        for r, f in zip(real, fake, strict=True)
    ]
    return sum(terms) / len(terms)


def generator_loss(fake: list[DiscriminatorOutput]) -> jax.Array:
    """Generated logits towards 1."""
    return sum(jnp.square(1 - f.logits.astype(jnp.float32)).mean() for f in fake) / len(fake)

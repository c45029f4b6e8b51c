"""Least-squares adversarial losses (arXiv:1611.04076), means over all discriminators."""

import jax
import jax.numpy as jnp

from quarkaudio_jax.discriminators.models import DiscriminatorOutput


def discriminator_loss(real: list[DiscriminatorOutput], fake: list[DiscriminatorOutput]) -> jax.Array:
    """Scalar loss of the discriminators: targets are 1 for real logits and 0 for generated ones."""
    terms = [
        jnp.square(1 - r.logits.astype(jnp.float32)).mean() + jnp.square(f.logits.astype(jnp.float32)).mean()
        for r, f in zip(real, fake, strict=True)
    ]
    return sum(terms[1:], terms[0]) / len(terms)


def generator_loss(fake: list[DiscriminatorOutput]) -> jax.Array:
    """Scalar loss of the generator: the target is 1 for generated logits."""
    terms = [jnp.square(1 - f.logits.astype(jnp.float32)).mean() for f in fake]
    return sum(terms[1:], terms[0]) / len(terms)

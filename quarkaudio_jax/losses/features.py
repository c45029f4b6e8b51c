"""Losses between features: SSL, discriminator, code vectors."""

import jax
import jax.numpy as jnp

from quarkaudio_jax.nn.blocks import Blocks


def ssl_reconstruction(pred_BxTxD: jax.Array, target_BxTxD: jax.Array) -> jax.Array:
    """Mean squared error of reconstructed SSL features, a scalar (X-Codec, arXiv:2408.17175)."""
    return jnp.square(pred_BxTxD - target_BxTxD).mean()


def commitment(*losses_K: jax.Array) -> jax.Array:
    """Commitment loss, a scalar: mean over each stream's codebooks, summed over streams."""
    terms = [losses.mean() for losses in losses_K]
    return sum(terms[1:], terms[0])


def feature_matching(fake: list[Blocks], real: list[Blocks]) -> jax.Array:
    """Mean over layers of the mean |difference| (HiFi-GAN, arXiv:2010.05646), a scalar; `real` gets no gradient."""
    # float, because JAX would convert to int32, which the size of a pod's batch exceeds.
    terms = [
        jnp.abs(f.values.astype(jnp.float32) - jax.lax.stop_gradient(r.values.astype(jnp.float32))).sum()
        / float(f.size)
        for f, r in zip(fake, real, strict=True)
    ]
    return sum(terms[1:], terms[0]) / len(terms)


def perceptual(pred_BxTxD: jax.Array, target_BxTxD: jax.Array) -> jax.Array:
    """Mean |difference| between features of the output and the target wave, a scalar; the target gets no gradient."""
    return jnp.abs(pred_BxTxD - jax.lax.stop_gradient(target_BxTxD)).mean()


def mapping(pred_BxTxD: jax.Array, target_BxTxD: jax.Array, position_Bx3: jax.Array) -> jax.Array:
    """Squared error of side vectors over the items of known position (not NaN), a scalar; no gradient to targets.

    It is relative to the power of prediction and target, so between 0 and 2: sources in the median plane have almost no side.
    """
    target_BxTxD = jax.lax.stop_gradient(target_BxTxD)
    known_B = jnp.isfinite(position_Bx3).all(-1).astype(jnp.float32)

    def power(x_BxTxD: jax.Array) -> jax.Array:
        return (jnp.square(x_BxTxD).mean((1, 2)) * known_B).sum()

    scale = power(target_BxTxD) + power(jax.lax.stop_gradient(pred_BxTxD))
    return power(pred_BxTxD - target_BxTxD) / jnp.maximum(scale, 1e-6)

"""Distances between features: SSL, discriminator, code vectors."""

import jax
import jax.numpy as jnp

from quarkaudio_jax.nn.blocks import Blocks


def ssl_reconstruction(pred_BxTxD: jax.Array, target_BxTxD: jax.Array) -> jax.Array:
    """Mean squared error between rebuilt and given SSL features, a scalar (X-Codec, arXiv:2408.17175)."""
    return jnp.square(pred_BxTxD - target_BxTxD).mean()


def commitment(*losses_K: jax.Array) -> jax.Array:
    """Mean over each stream's quantizers, summed over streams, a scalar."""
    return sum(losses.mean() for losses in losses_K)


def feature_matching(fake: list[Blocks], real: list[Blocks]) -> jax.Array:
    """Mean over layers of the mean |difference| (HiFi-GAN, arXiv:2010.05646); the target's carry no gradient."""
    # The sizes of a pod's batches are beyond int32, which JAX would make of them.
    terms = [
        jnp.abs(f.values.astype(jnp.float32) - jax.lax.stop_gradient(r.values.astype(jnp.float32))).sum()
        / float(f.size)
        for f, r in zip(fake, real, strict=True)
    ]
    return sum(terms) / len(terms)


def perceptual(pred_BxTxD: jax.Array, target_BxTxD: jax.Array) -> jax.Array:
    """Mean |difference| between features of the output and of the target wave, a scalar."""
    return jnp.abs(pred_BxTxD - jax.lax.stop_gradient(target_BxTxD)).mean()

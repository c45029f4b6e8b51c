"""Sampling of ids from logits."""

import dataclasses

import jax
import jax.numpy as jnp


@dataclasses.dataclass(frozen=True)
class Sampling:
    """Settings of `sample`.

    temperature: 0 is greedy. top_k: the number of most likely ids to sample from (0: all). top_p: sample from the
    smallest set of most likely ids whose probabilities reach this sum.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0


def apply_guidance(conditional: jax.Array, unconditional: jax.Array, scale: float) -> jax.Array:
    """Logits with classifier-free guidance (arXiv:2207.12598); a scale of 1 turns it off."""
    return unconditional + scale * (conditional - unconditional)


def filter_logits(logits: jax.Array, cfg: Sampling) -> jax.Array:
    """Logits (..., V) float32 after temperature, top_k and then top_p, with -inf for excluded ids.

    The most likely id is never excluded.
    """
    logits = logits.astype(jnp.float32) / cfg.temperature
    if cfg.top_k:
        threshold = jax.lax.top_k(logits, min(cfg.top_k, logits.shape[-1]))[0][..., -1:]
        logits = jnp.where(logits < threshold, -jnp.inf, logits)
    if cfg.top_p < 1.0:
        descending = jnp.sort(logits, axis=-1, descending=True)
        probs = jax.nn.softmax(descending)
        kept = jnp.cumsum(probs, axis=-1) - probs < cfg.top_p  # the sum of more likely ids is below top_p
        threshold = jnp.min(jnp.where(kept, descending, jnp.inf), axis=-1, keepdims=True)
        logits = jnp.where(logits < threshold, -jnp.inf, logits)
    return logits


def sample(key: jax.Array, logits: jax.Array, cfg: Sampling) -> jax.Array:
    """Ids (...) int32 drawn from logits (..., V)."""
    if cfg.temperature == 0.0:
        return logits.argmax(-1).astype(jnp.int32)
    return jax.random.categorical(key, filter_logits(logits, cfg)).astype(jnp.int32)

"""From logits to ids."""

import dataclasses

import jax
import jax.numpy as jnp


@dataclasses.dataclass(frozen=True)
class Sampling:
    """temperature: 0 takes the best. top_k: only so many (0: all). top_p: only the likeliest that reach this sum."""

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0


def guided(with_condition: jax.Array, without: jax.Array, scale: float) -> jax.Array:
    """Classifier-free guidance (arXiv:2207.12598): 1 is the condition alone, more exaggerates it."""
    return without + scale * (with_condition - without)


def filtered(logits: jax.Array, cfg: Sampling) -> jax.Array:
    """Logits (..., V) float32 after temperature, those that may not be drawn at -inf; top_k first, then top_p.

    The best one always stays.
    """
    logits = logits.astype(jnp.float32) / cfg.temperature
    if cfg.top_k:
        least = jax.lax.top_k(logits, min(cfg.top_k, logits.shape[-1]))[0][..., -1:]
        logits = jnp.where(logits < least, -jnp.inf, logits)
    if cfg.top_p < 1.0:
        order = jnp.sort(logits, axis=-1, descending=True)
        shares = jax.nn.softmax(order)
        kept = jnp.cumsum(shares, axis=-1) - shares < cfg.top_p  # what comes before does not reach top_p yet
        least = jnp.min(jnp.where(kept, order, jnp.inf), axis=-1, keepdims=True)
        logits = jnp.where(logits < least, -jnp.inf, logits)
    return logits


def draw(key: jax.Array, logits: jax.Array, cfg: Sampling) -> jax.Array:
    """Ids (...) of logits (..., V)."""
    if cfg.temperature == 0.0:
        return logits.argmax(-1).astype(jnp.int32)
    return jax.random.categorical(key, filtered(logits, cfg)).astype(jnp.int32)

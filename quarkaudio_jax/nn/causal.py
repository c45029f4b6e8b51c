"""Causal attention of long sequences in little memory (FlashAttention, arXiv:2205.14135).

Scores exist for one sequence and one block of queries at a time, small enough for a TPU's vector memory, and only for the
keys up to the block's end. The backward pass recomputes them.

Internally positions are the last axis: they fill a TPU's 128 lanes, which narrow heads would leave half empty, and softmax
reduces over the axis before. Rotary embedding is applied per sequence, which saves reading and writing it once.
"""

import functools
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.ad_checkpoint import checkpoint_name

from quarkaudio_jax.nn.attention import apply_rope
from quarkaudio_jax.nn.dropout import keep_mask
from quarkaudio_jax.sharding.partition import constrain, num_shards

BLOCK = 256
"""Queries per block."""

RECOMPUTE_SCOPE = "recompute"
"""Named scope of what the backward pass recomputes, which does not count as model FLOPs."""

CHECKPOINT_NAME = "attention"
"""Checkpoint name of what the backward pass needs, for remat policies."""


class _Context(NamedTuple):
    """What attention depends on besides q, k and v, of a batch or of one sequence.

    segments: (B, L). rope: (B, D, L). reach: last position that each attends to (B, L), or None. seeds: of dropout (B, 2),
    or None.
    """

    segments: jax.Array
    rope: jax.Array
    reach: jax.Array | None
    seeds: jax.Array | None

    def keys(self, end: int) -> int:
        """Number of keys that queries before `end` may attend to."""
        return end if self.reach is None else self.segments.shape[-1]


def causal_attention(
    q_BxLxHxD: jax.Array,
    k_BxLxGxD: jax.Array,
    v_BxLxGxD: jax.Array,
    segments_BxL: jax.Array,
    rope_BxLxD: jax.Array,
    *,
    reach_BxL: jax.Array | None = None,
    dropout: float = 0.0,
    seeds_Bx2: jax.Array | None = None,
) -> jax.Array:
    """(B, L, H, D), softmax in float32. G divides H: heads share keys and values in groups.

    A position attends to itself and the earlier positions of its segment. rope_BxLxD: angles of `nn.attention.rope_angles`,
    applied to queries and keys here; they get no gradient. reach_BxL: index in the row of the last position that each
    attends to in its segment, instead of itself (a prefix with bidirectional attention reaches its end). dropout,
    seeds_Bx2: rate of dropout of the attention weights, and words of `nn.dropout.dropout_seeds` for each sequence (None:
    no dropout).
    """
    q, k, v = (x.transpose(0, 2, 3, 1) for x in (q_BxLxHxD, k_BxLxGxD, v_BxLxGxD))
    context = _Context(segments_BxL, rope_BxLxD.swapaxes(1, 2), reach_BxL, seeds_Bx2)
    return _attention(q, k, v, context, dropout).transpose(0, 3, 1, 2)


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def _attention(
    q_BxHxDxL: jax.Array, k_BxGxDxL: jax.Array, v_BxGxDxL: jax.Array, context: _Context, dropout: float
) -> jax.Array:
    return _forward(q_BxHxDxL, k_BxGxDxL, v_BxGxDxL, context, dropout)[0]


def _forward(q, k, v, context, dropout):
    rows = _rows(functools.partial(_row_forward, dropout=dropout), q, k, v, context)
    out, logsumexp = (checkpoint_name(x, CHECKPOINT_NAME) for x in rows)
    return out, (q, k, v, context, out, logsumexp)


def _backward(dropout, residuals, dout_BxHxDxL):
    q, k, v, context, out, logsumexp = residuals
    # delta = sum(dO * O), FlashAttention eq. 4; it holds with dropout too.
    delta_BxHxL = (dout_BxHxDxL.astype(jnp.float32) * out.astype(jnp.float32)).sum(2)
    row = functools.partial(_row_backward, dropout=dropout)
    return *_rows(row, q, k, v, context, logsumexp, dout_BxHxDxL, delta_BxHxL), None


_attention.defvjp(_forward, _backward)


def _rows(fn: Any, *arrays: Any) -> Any:
    """Maps `fn` over sequences one at a time; on a mesh each device maps over its own."""
    count = num_shards("batch", len(arrays[0]))

    def split(x: jax.Array) -> jax.Array:
        return constrain(x.reshape(count, -1, *x.shape[1:]), "batch").swapaxes(0, 1)

    def merge(x: jax.Array) -> jax.Array:
        return constrain(x.swapaxes(0, 1).reshape(-1, *x.shape[2:]), "batch")

    on_devices = jax.vmap(fn)
    return jax.tree.map(merge, jax.lax.map(lambda row: on_devices(*row), jax.tree.map(split, arrays)))


def _blocks(length: int) -> Iterator[tuple[int, int]]:
    return ((start, min(start + BLOCK, length)) for start in range(0, length, BLOCK))


def _grouped(x_HxL: jax.Array, groups: int) -> jax.Array:
    """(H, ...) as (G, H // G, ...)."""
    return x_HxL.reshape(groups, -1, *x_HxL.shape[1:])


def _ungrouped(x_GxRxL: jax.Array) -> jax.Array:
    """The inverse of `_grouped`."""
    return x_GxRxL.reshape(-1, *x_GxRxL.shape[2:])


def _embedded(q_HxDxL: jax.Array, k_GxDxL: jax.Array, rope_DxL: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Queries (G, R, D, L) scaled by 1 / sqrt(D), and keys, both with rotary embedding; R = H // G."""
    groups, width = k_GxDxL.shape[:2]
    return _grouped(apply_rope(q_HxDxL, rope_DxL * width**-0.5, -2), groups), apply_rope(k_GxDxL, rope_DxL, -2)


def _scores(q_GxRxDxN: jax.Array, k_GxDxM: jax.Array, context: _Context, start: int) -> jax.Array:
    """Scores (G, R, M, N) float32 of queries from `start` on with the first M keys; the lowest float where masked."""
    scores = jnp.einsum("gdm,grdn->grmn", k_GxDxM, q_GxRxDxN, preferred_element_type=jnp.float32)
    length, count = scores.shape[-2:]
    queries = slice(start, start + count)
    mask = context.segments[queries] == context.segments[:length, None]
    if context.reach is None:
        mask &= np.tri(count, length, start, dtype=bool).T
    else:
        mask &= np.arange(length)[:, None] <= context.reach[queries]
    return jnp.where(mask, scores, jnp.finfo(jnp.float32).min)


def _dropped(weights: jax.Array, context: _Context, start: int, dropout: float) -> jax.Array:
    """Dropout of weights (G, R, M, N), of queries from `start` on, by the mask that forward and backward pass share."""
    if context.seeds is None:
        return weights
    length = context.segments.shape[-1]
    heads, (keys, queries) = weights.shape[0] * weights.shape[1], weights.shape[2:]
    head, key = (jax.lax.broadcasted_iota(jnp.uint32, (heads, keys, queries), axis) for axis in (0, 1))
    query = start + jax.lax.broadcasted_iota(jnp.uint32, (heads, keys, queries), 2)
    kept = keep_mask(context.seeds, (head * length + key) * length + query, dropout)
    return jnp.where(kept.reshape(weights.shape), weights / (1.0 - dropout), 0.0)


def _row_forward(q_HxDxL, k_GxDxL, v_GxDxL, context, dropout):
    """(output (H, D, L), logsumexp of the scores (H, L)) of one sequence."""
    width, length = k_GxDxL.shape[1:]
    q, k = _embedded(q_HxDxL, k_GxDxL, context.rope)
    v = jnp.concatenate([v_GxDxL, jnp.ones_like(v_GxDxL[:, :1])], axis=1)  # the ones give the softmax denominator
    outs, logsumexps = [], []
    for start, end in _blocks(length):
        keys = context.keys(end)
        scores = _scores(q[..., start:end], k[..., :keys], context, start)
        maximum = scores.max(-2, keepdims=True)
        weights = jnp.exp(scores - maximum)
        kept = _dropped(weights, context, start, dropout).astype(v.dtype)
        out = jnp.einsum("gdm,grmn->grdn", v[..., :keys], kept, preferred_element_type=jnp.float32)
        total = out[:, :, width:] if context.seeds is None else weights.sum(-2, keepdims=True)
        outs.append((out[:, :, :width] / total).astype(q_HxDxL.dtype))
        logsumexps.append((maximum + jnp.log(total))[:, :, 0])
    return _ungrouped(jnp.concatenate(outs, -1)), _ungrouped(jnp.concatenate(logsumexps, -1))


def _row_backward(q_HxDxL, k_GxDxL, v_GxDxL, context, logsumexp_HxL, dout_HxDxL, delta_HxL, dropout):
    """Gradients of q, k and v of one sequence."""
    groups, width, length = k_GxDxL.shape
    dtype = q_HxDxL.dtype
    q, k = _embedded(q_HxDxL, k_GxDxL, context.rope)
    dout, logsumexp, delta = (_grouped(x, groups) for x in (dout_HxDxL, logsumexp_HxL, delta_HxL))
    dk, dv = (jnp.zeros(x.shape, jnp.float32) for x in (k, v_GxDxL))
    dqs = []
    product = functools.partial(jnp.einsum, preferred_element_type=jnp.float32)
    for start, end in _blocks(length):
        q_block, dout_block, keys = q[..., start:end], dout[..., start:end], context.keys(end)
        with jax.named_scope(RECOMPUTE_SCOPE):
            scores = _scores(q_block, k[..., :keys], context, start)
        weights = jnp.exp(scores - logsumexp[:, :, None, start:end])
        dweights = product("gdm,grdn->grmn", v_GxDxL[..., :keys], dout_block)
        dweights = _dropped(dweights, context, start, dropout)
        dscores = (weights * (dweights - delta[:, :, None, start:end])).astype(dtype)
        kept = _dropped(weights, context, start, dropout).astype(dtype)
        dv = dv.at[..., :keys].add(product("grdn,grmn->gdm", dout_block, kept))
        dk = dk.at[..., :keys].add(product("grdn,grmn->gdm", q_block, dscores))
        dqs.append(product("gdm,grmn->grdn", k[..., :keys], dscores))
    cos, sin = jnp.split(context.rope, 2)
    inverse_DxL = jnp.concatenate([cos, -sin])
    dq = apply_rope(_ungrouped(jnp.concatenate(dqs, -1)), inverse_DxL * width**-0.5, -2)
    return tuple(x.astype(dtype) for x in (dq, apply_rope(dk, inverse_DxL, -2), dv))

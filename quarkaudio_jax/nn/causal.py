"""Attention of long sequences to what stands before, in little memory: the maths of FlashAttention (arXiv:2205.14135).

Scores exist for one sequence and one block of queries at a time, small enough for a TPU's vector memory, and never for
what stands behind the block. The backward pass works them out again.

Within, positions come last: they fill a TPU's 128 lanes, half of which narrow heads would leave empty, and a softmax goes
over the axis before. Rotary positions are applied there too, sequence by sequence, and so are read and written once less.
"""

import functools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.ad_checkpoint import checkpoint_name

from quarkaudio_jax.nn.attention import turned
from quarkaudio_jax.sharding.partition import constrain, ways

BLOCK = 256
"""Queries at a time."""

AGAIN = "computed_again"
"""The scope of what the backward pass computes a second time; no model's FLOPs."""

KEPT = "attention"
"""The name under which a remat policy finds what the backward pass needs of the forward one."""


def causal_attention(
    q_BxLxHxD: jax.Array, k_BxLxGxD: jax.Array, v_BxLxGxD: jax.Array, segments_BxL: jax.Array, turn_BxLxD: jax.Array
) -> jax.Array:
    """(B, L, H, D), softmax in float32. G divides H: heads share keys and values in groups.

    Each position sees itself and what stands before it in its own segment. turn_BxLxD: rotary positions of queries
    and keys, which come without them (`nn.attention.rotary_turn`); it gets no gradient.
    """
    q, k, v = (x.transpose(0, 2, 3, 1) for x in (q_BxLxHxD, k_BxLxGxD, v_BxLxGxD))
    return _attention(q, k, v, segments_BxL, turn_BxLxD.swapaxes(1, 2)).transpose(0, 3, 1, 2)


@jax.custom_vjp
def _attention(
    q_BxHxDxL: jax.Array, k_BxGxDxL: jax.Array, v_BxGxDxL: jax.Array, segments_BxL: jax.Array, turn_BxDxL: jax.Array
) -> jax.Array:
    return _forward(q_BxHxDxL, k_BxGxDxL, v_BxGxDxL, segments_BxL, turn_BxDxL)[0]


def _forward(q, k, v, segments, turn):
    out, level = (checkpoint_name(x, KEPT) for x in _rows(_row, q, k, v, segments, turn))
    return out, (q, k, v, segments, turn, out, level)


def _backward(kept, slope_BxHxDxL):
    q, k, v, segments, turn, out, level = kept
    # What each weight's slope is measured from: the mean of a position's slopes, weighted as they were mixed.
    centre_BxHxL = (slope_BxHxDxL.astype(jnp.float32) * out.astype(jnp.float32)).sum(2)
    return *_rows(_row_slopes, q, k, v, segments, turn, level, slope_BxHxDxL, centre_BxHxL), None, None


_attention.defvjp(_forward, _backward)


def _rows(fn: Any, *arrays: jax.Array) -> Any:
    """Fn of one sequence after the other; on a mesh every device goes through its own."""
    count = ways("batch", len(arrays[0]))

    def apart(x: jax.Array) -> jax.Array:
        return constrain(x.reshape(count, -1, *x.shape[1:]), "batch").swapaxes(0, 1)

    def together(x: jax.Array) -> jax.Array:
        return constrain(x.swapaxes(0, 1).reshape(-1, *x.shape[2:]), "batch")

    each = jax.vmap(fn)  # over the devices
    return jax.tree.map(together, jax.lax.map(lambda row: each(*row), tuple(map(apart, arrays))))


def _blocks(length: int) -> Iterator[tuple[int, int]]:
    return ((start, min(start + BLOCK, length)) for start in range(0, length, BLOCK))


def _grouped(x_HxL: jax.Array, groups: int) -> jax.Array:
    """(H, ...) as (G, heads of a group, ...)."""
    return x_HxL.reshape(groups, -1, *x_HxL.shape[1:])


def _ungrouped(x_GxRxL: jax.Array) -> jax.Array:
    """The inverse of `_grouped`."""
    return x_GxRxL.reshape(-1, *x_GxRxL.shape[2:])


def _positioned(q_HxDxL: jax.Array, k_GxDxL: jax.Array, turn_DxL: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Queries (G, R, D, L), divided by the root of their width, and keys, with rotary positions."""
    groups, width = k_GxDxL.shape[:2]
    return _grouped(turned(q_HxDxL, turn_DxL * width**-0.5, -2), groups), turned(k_GxDxL, turn_DxL, -2)


def _scores(q_GxRxDxN: jax.Array, k_GxDxM: jax.Array, segments_M: jax.Array) -> jax.Array:
    """(G, R, M, N) float32 of the last N of M positions; the least float where nothing is seen."""
    scores = jnp.einsum("gdm,grdn->grmn", k_GxDxM, q_GxRxDxN, preferred_element_type=jnp.float32)
    length, count = scores.shape[-2:]
    seen = segments_M[length - count :] == segments_M[:, None]
    before = np.tri(count, length, length - count, dtype=bool).T
    return jnp.where(seen & before, scores, jnp.finfo(jnp.float32).min)


def _row(q_HxDxL, k_GxDxL, v_GxDxL, segments_L, turn_DxL):
    """(mixed values (H, D, L), log of the sum of exponentials (H, L)) of one sequence."""
    width, length = k_GxDxL.shape[1:]
    q, k = _positioned(q_HxDxL, k_GxDxL, turn_DxL)
    v = jnp.concatenate([v_GxDxL, jnp.ones_like(v_GxDxL[:, :1])], axis=1)  # mixes ones too: the sum of the weights
    outs, levels = [], []
    for start, end in _blocks(length):
        scores = _scores(q[..., start:end], k[..., :end], segments_L[:end])
        most = scores.max(-2, keepdims=True)
        weights = jnp.exp(scores - most).astype(v.dtype)
        mixed = jnp.einsum("gdm,grmn->grdn", v[..., :end], weights, preferred_element_type=jnp.float32)
        total = mixed[:, :, width:]
        outs.append((mixed[:, :, :width] / total).astype(q_HxDxL.dtype))
        levels.append((most + jnp.log(total))[:, :, 0])
    return _ungrouped(jnp.concatenate(outs, -1)), _ungrouped(jnp.concatenate(levels, -1))


def _row_slopes(q_HxDxL, k_GxDxL, v_GxDxL, segments_L, turn_DxL, level_HxL, slope_HxDxL, centre_HxL):
    """Slopes of q, k and v of one sequence."""
    groups, width, length = k_GxDxL.shape
    dtype = q_HxDxL.dtype
    q, k = _positioned(q_HxDxL, k_GxDxL, turn_DxL)
    slope, level, center = (_grouped(x, groups) for x in (slope_HxDxL, level_HxL, centre_HxL))
    dk, dv = (jnp.zeros(x.shape, jnp.float32) for x in (k, v_GxDxL))
    dqs = []
    product = functools.partial(jnp.einsum, preferred_element_type=jnp.float32)
    for start, end in _blocks(length):
        q_here, slope_here = q[..., start:end], slope[..., start:end]
        with jax.named_scope(AGAIN):
            scores = _scores(q_here, k[..., :end], segments_L[:end])
        weights = jnp.exp(scores - level[:, :, None, start:end])
        dweights = product("gdm,grdn->grmn", v_GxDxL[..., :end], slope_here)
        dscores = (weights * (dweights - center[:, :, None, start:end])).astype(dtype)
        dv = dv.at[..., :end].add(product("grdn,grmn->gdm", slope_here, weights.astype(dtype)))
        dk = dk.at[..., :end].add(product("grdn,grmn->gdm", q_here, dscores))
        dqs.append(product("gdm,grmn->grdn", k[..., :end], dscores))
    cos, sin = jnp.split(turn_DxL, 2)
    back_DxL = jnp.concatenate([cos, -sin])
    dq = turned(_ungrouped(jnp.concatenate(dqs, -1)), back_DxL * width**-0.5, -2)
    return tuple(x.astype(dtype) for x in (dq, turned(dk, back_DxL, -2), dv))

"""Attention of long sequences to what stands before, in little memory: the maths of FlashAttention (arXiv:2205.14135).

Scores exist for one sequence and one block of queries at a time, small enough for a TPU's vector memory, and never for
what stands behind the block. The backward pass works them out again.
"""

import functools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.ad_checkpoint import checkpoint_name

from quarkaudio_jax.nn.partition import constrain, ways

BLOCK = 256
"""Queries at a time."""

AGAIN = "computed_again"
"""The scope of what the backward pass computes a second time; no model's FLOPs."""

KEPT = "attention"
"""The name under which a remat policy finds what the backward pass needs of the forward one."""


@jax.custom_vjp
def causal_attention(
    q_BxLxHxD: jax.Array, k_BxLxGxD: jax.Array, v_BxLxGxD: jax.Array, segments_BxL: jax.Array
) -> jax.Array:
    """(B, L, H, D), softmax in float32. G divides H: heads share keys and values in groups.

    Each position sees itself and what stands before it in its own segment.
    """
    return _forward(q_BxLxHxD, k_BxLxGxD, v_BxLxGxD, segments_BxL)[0]


def _forward(q, k, v, segments):
    out, level = _rows(_row, q, k, v, segments)
    # Kept with the heads side by side: an array of narrow heads takes up to twice the memory on a TPU.
    out = checkpoint_name(out.reshape(*q.shape[:2], -1), KEPT).reshape(q.shape)
    return out, (q, k, v, segments, out, checkpoint_name(level, KEPT))


def _backward(kept, slope_BxLxHxD):
    q, k, v, segments, out, level = kept
    # What each weight's slope is measured from: the mean of a position's slopes, weighted as they were mixed.
    centre_BxLxH = (slope_BxLxHxD.astype(jnp.float32) * out.astype(jnp.float32)).sum(-1)
    slopes = _rows(_row_slopes, q, k, v, segments, level, slope_BxLxHxD, centre_BxLxH)
    return *(s.astype(x.dtype) for s, x in zip(slopes, (q, k, v), strict=True)), None


causal_attention.defvjp(_forward, _backward)


def _rows(fn: Any, *arrays: jax.Array) -> Any:
    """fn of one sequence after the other; on a mesh every device goes through its own."""
    count = ways("batch", len(arrays[0]))

    def apart(x: jax.Array) -> jax.Array:
        return constrain(x.reshape(count, -1, *x.shape[1:]), "batch").swapaxes(0, 1)

    def together(x: jax.Array) -> jax.Array:
        return constrain(x.swapaxes(0, 1).reshape(-1, *x.shape[2:]), "batch")

    each = jax.vmap(fn)  # over the devices
    return jax.tree.map(together, jax.lax.map(lambda row: each(*row), tuple(map(apart, arrays))))


def _blocks(length: int) -> Iterator[tuple[int, int]]:
    return ((start, min(start + BLOCK, length)) for start in range(0, length, BLOCK))


def _grouped(x_LxH: jax.Array, groups: int) -> jax.Array:
    """(L, H, ...) as (G, heads of a group, L, ...)."""
    length, heads, *rest = x_LxH.shape
    return jnp.moveaxis(x_LxH.reshape(length, groups, heads // groups, *rest), 0, 2)


def _ungrouped(x_GxRxL: jax.Array) -> jax.Array:
    """(G, heads of a group, L, ...) as (L, H, ...)."""
    x = jnp.moveaxis(x_GxRxL, 2, 0)
    return x.reshape(len(x), -1, *x.shape[3:])


def _scores(q_GxRxNxD: jax.Array, k_GxMxD: jax.Array, segments_M: jax.Array) -> jax.Array:
    """(G, R, N, M) float32 of the last N of M positions; the least float where nothing is seen."""
    scores = jnp.einsum("grnd,gmd->grnm", q_GxRxNxD, k_GxMxD, preferred_element_type=jnp.float32)
    count, length = scores.shape[-2:]
    seen = segments_M[length - count :, None] == segments_M
    return jnp.where(
        seen & np.tri(count, length, length - count, dtype=bool),
        scores * q_GxRxNxD.shape[-1] ** -0.5,
        jnp.finfo(jnp.float32).min,
    )


def _row(q_LxHxD, k_LxGxD, v_LxGxD, segments_L):
    """(mixed values (L, H, D), log of the sum of exponentials (L, H)) of one sequence."""
    groups, width = k_LxGxD.shape[1:]
    k, v = k_LxGxD.swapaxes(0, 1), v_LxGxD.swapaxes(0, 1)
    v = jnp.concatenate([v, jnp.ones_like(v[..., :1])], axis=-1)  # mixes ones too: the sum of the weights
    outs, levels = [], []
    for start, end in _blocks(len(q_LxHxD)):
        scores = _scores(_grouped(q_LxHxD[start:end], groups), k[:, :end], segments_L[:end])
        most = scores.max(-1, keepdims=True)
        weights = jnp.exp(scores - most).astype(v.dtype)
        mixed = jnp.einsum("grnm,gmd->grnd", weights, v[:, :end], preferred_element_type=jnp.float32)
        total = mixed[..., width:]
        outs.append(_ungrouped((mixed[..., :width] / total).astype(q_LxHxD.dtype)))
        levels.append(_ungrouped((most + jnp.log(total))[..., 0]))
    return jnp.concatenate(outs), jnp.concatenate(levels)


def _row_slopes(q_LxHxD, k_LxGxD, v_LxGxD, segments_L, level_LxH, slope_LxHxD, centre_LxH):
    """Slopes of q, k and v of one sequence."""
    groups, width = k_LxGxD.shape[1:]
    k, v, dtype = k_LxGxD.swapaxes(0, 1), v_LxGxD.swapaxes(0, 1), q_LxHxD.dtype
    dk, dv = (jnp.zeros(x.shape, jnp.float32) for x in (k, v))
    dqs = []
    product = functools.partial(jnp.einsum, preferred_element_type=jnp.float32)
    for start, end in _blocks(len(q_LxHxD)):
        rows = (x[start:end] for x in (q_LxHxD, slope_LxHxD, level_LxH, centre_LxH))
        q, slope, level, centre = (_grouped(x, groups) for x in rows)
        with jax.named_scope(AGAIN):
            scores = _scores(q, k[:, :end], segments_L[:end])
        weights = jnp.exp(scores - level[..., None])
        dweights = product("grnd,gmd->grnm", slope, v[:, :end])
        dscores = (weights * (dweights - centre[..., None]) * width**-0.5).astype(dtype)
        dv = dv.at[:, :end].add(product("grnm,grnd->gmd", weights.astype(dtype), slope))
        dk = dk.at[:, :end].add(product("grnm,grnd->gmd", dscores, q))
        dqs.append(_ungrouped(product("grnm,gmd->grnd", dscores, k[:, :end])))
    return jnp.concatenate(dqs), dk.swapaxes(0, 1), dv.swapaxes(0, 1)

"""A decoder-only transformer as Llama (arXiv:2302.13971) and Qwen2 (arXiv:2407.10671) have it.

RMSNorm before each half, rotary positions, grouped-query attention, a SwiGLU MLP. With a cache
the same layers serve prefill and single steps.
"""

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from quarkaudio_jax.nn.attention import rotary_turn, turned
from quarkaudio_jax.nn.causal import causal_attention
from quarkaudio_jax.nn.linear import Linear
from quarkaudio_jax.nn.norm import RMSNorm
from quarkaudio_jax.nn.stack import Stack
from quarkaudio_jax.nn.transformer import SwiGLU


@dataclasses.dataclass(frozen=True)
class BackboneConfig:
    """heads share keys and values in groups: num_heads is a multiple of num_kv_heads. qkv_bias: as in Qwen2."""

    dim: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    hidden: int
    head_dim: int = 0
    rope_theta: float = 10000.0
    eps: float = 1e-6
    qkv_bias: bool = False

    @property
    def head_width(self) -> int:
        """Width of one head."""
        return self.head_dim or self.dim // self.num_heads


QWEN2_0B5 = BackboneConfig(896, 24, 14, 2, 4864, rope_theta=1e6, qkv_bias=True)
"""The size of Qwen2.5-0.5B."""


@dataclasses.dataclass(frozen=True)
class Cache:
    """Keys and values of all layers, each (B * kv heads, M, head width), in the order in which they came.

    Items and heads share an axis, items first: a CPU writes such arrays in place, and copies them whole if the
    axes are two. layers: a pair of arrays with a first axis of layers, or (unscanned) a tuple of pairs.
    positions_BxM: what position each slot holds; negative where there is nothing, or padding. used:
    how many slots are taken, the same of every item, so that new ones go in as one block.
    """

    layers: Any
    positions_BxM: jax.Array
    used: jax.Array

    def extended(self, positions_BxL: jax.Array) -> jax.Array:
        """`positions_BxM` once L more have come."""
        new = positions_BxL.astype(self.positions_BxM.dtype)
        return jax.lax.dynamic_update_slice_in_dim(self.positions_BxM, new, self.used, 1)


jax.tree_util.register_dataclass(Cache, ["layers", "positions_BxM", "used"], [])


def empty_cache(cfg: BackboneConfig, batch: int, length: int, dtype: Any = jnp.float32, scan: bool = True) -> Cache:
    """A cache of `length` positions, for a scanned backbone or an unscanned one."""
    shape = (batch * cfg.num_kv_heads, length, cfg.head_width)
    if scan:
        layers = tuple(jnp.zeros((cfg.num_layers, *shape), dtype) for _ in range(2))
    else:
        layers = tuple(tuple(jnp.zeros(shape, dtype) for _ in range(2)) for _ in range(cfg.num_layers))
    return Cache(layers, jnp.full((batch, length), -1, jnp.int32), jnp.int32(0))


class Block(nn.Module):
    """One layer: attention and MLP, each normalized before and added."""

    cfg: BackboneConfig
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x_BxLxD: jax.Array, context: tuple[jax.Array, jax.Array, Any], cached=None) -> Any:
        """x; with this layer's cached keys and values (B * G, M, D), also those with the new ones in their slots.

        context: (rotary positions (B, L, D), segments (B, L)) or, with a cache, (rotary positions, what is seen
        (B, L, M), the first slot for what is new).
        """
        cfg, (turn_BxLxD, seen, *slot) = self.cfg, context
        batch, length, dim = x_BxLxD.shape

        def project(heads: int, name: str) -> jax.Array:
            axes = ("embed", "heads")
            layer = Linear(heads * cfg.head_width, cfg.qkv_bias, self.dtype, axes=axes, name=name)
            return layer(x).reshape(batch, length, heads, cfg.head_width)

        x = RMSNorm(cfg.eps, self.dtype, name="attention_norm")(x_BxLxD)
        q = project(cfg.num_heads, "query")
        k, v = (project(cfg.num_kv_heads, name) for name in ("key", "value"))
        if cached is None:
            out = causal_attention(q, k, v, seen, turn_BxLxD)
        else:
            q, k = (turned(a, turn_BxLxD[:, :, None]) for a in (q, k))
            cached = _stored(cached, (k, v), *slot)
            out = _attend(q, *(array.astype(self.dtype) for array in cached), seen)
        out = out.reshape(batch, length, -1)
        x_BxLxD = x_BxLxD + Linear(dim, False, self.dtype, axes=("heads", "embed"), name="out")(out)
        x = RMSNorm(cfg.eps, self.dtype, name="mlp_norm")(x_BxLxD)
        x_BxLxD = x_BxLxD + SwiGLU(cfg.hidden, dtype=self.dtype, name="mlp")(x)
        return x_BxLxD if cached is None else (x_BxLxD, cached)


def _stored(cached: tuple[jax.Array, ...], new: tuple[jax.Array, ...], slot: jax.Array) -> tuple[jax.Array, ...]:
    """Arrays (B * G, M, D) with the new entries (B, L, G, D) from `slot` on."""

    def put(held: jax.Array, x: jax.Array) -> jax.Array:
        x = x.astype(held.dtype).swapaxes(1, 2).reshape(len(held), -1, held.shape[-1])
        return jax.lax.dynamic_update_slice_in_dim(held, x, slot, 1)

    return tuple(put(held, x) for held, x in zip(cached, new, strict=True))


def _attend(q_BxLxHxD: jax.Array, k_BGxMxD: jax.Array, v_BGxMxD: jax.Array, mask_BxLxM: jax.Array) -> jax.Array:
    """Attention to a cache (B, L, H, D), softmax in float32."""
    batch, length, heads, width = q_BxLxHxD.shape
    groups = len(k_BGxMxD) // batch
    q = q_BxLxHxD.reshape(batch, length, groups, heads // groups, width).transpose(0, 2, 3, 1, 4)
    scores = jnp.einsum("gnd,gmd->gnm", q.reshape(batch * groups, -1, width), k_BGxMxD) * width**-0.5
    scores = scores.reshape(batch, heads, length, -1).astype(jnp.float32)
    weights = jax.nn.softmax(jnp.where(mask_BxLxM[:, None], scores, jnp.finfo(jnp.float32).min))
    weights = weights.astype(q.dtype).reshape(batch * groups, -1, scores.shape[-1])
    out = jnp.einsum("gnm,gmd->gnd", weights, v_BGxMxD)
    return out.reshape(batch, heads, length, width).transpose(0, 2, 1, 3)


class Backbone(nn.Module):
    """Embedded sequence (B, L, D) -> hidden states (B, L, D) after the final norm, and the cache if one is given.

    positions_BxL: of each item from 0. segments_BxL: each position sees itself and what stands before it in its own
    segment; with a cache instead all that is in it up to its own position, and padding has negative positions.
    scan, remat, unroll: see `Stack`.
    """

    cfg: BackboneConfig
    dtype: Any = jnp.float32
    remat: str = "none"
    scan: bool = True
    unroll: bool = False

    @nn.compact
    def __call__(
        self,
        x_BxLxD: jax.Array,
        positions_BxL: jax.Array,
        segments_BxL: jax.Array | None = None,
        cache: Cache | None = None,
    ) -> tuple[jax.Array, Cache | None]:
        block = dict(cfg=self.cfg, dtype=self.dtype)
        how = dict(scan=self.scan, remat=self.remat, unroll=self.unroll)
        stack = Stack(Block, block, self.cfg.num_layers, **how, name="blocks")
        x = x_BxLxD.astype(self.dtype)
        turn_BxLxD = rotary_turn(positions_BxL, self.cfg.head_width, self.cfg.rope_theta)
        if cache is None:
            x = stack(x, (turn_BxLxD, segments_BxL))
        else:
            held_Bx1xM = cache.extended(positions_BxL)[:, None]
            mask = (held_Bx1xM >= 0) & (held_Bx1xM <= positions_BxL[..., None])
            x, layers = stack(x, (turn_BxLxD, mask, cache.used), cache.layers)
            cache = Cache(layers, held_Bx1xM[:, 0], cache.used + positions_BxL.shape[1])
        return RMSNorm(self.cfg.eps, self.dtype, name="norm")(x), cache

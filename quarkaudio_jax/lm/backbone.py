"""Decoder-only transformer of Llama (arXiv:2302.13971) and Qwen2 (arXiv:2407.10671).

Pre-norm RMSNorm, rotary positions, grouped-query attention, a SwiGLU MLP; with an optional key-value cache.
"""

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from quarkaudio_jax.nn.attention import apply_rope, rope_angles
from quarkaudio_jax.nn.causal import causal_attention
from quarkaudio_jax.nn.dropout import dropout, dropout_seeds
from quarkaudio_jax.nn.linear import Linear
from quarkaudio_jax.nn.norm import RMSNorm
from quarkaudio_jax.nn.stack import Stack
from quarkaudio_jax.nn.transformer import SwiGLU


@dataclasses.dataclass(frozen=True)
class BackboneConfig:
    """Shape of the transformer.

    num_heads is a multiple of num_kv_heads. hidden: width of the MLP. head_dim: width of a head (0: dim / num_heads).
    qkv_bias: biases of query, key and value, as in Qwen2. dropout: rate of the branches' outputs and of the MLP's hidden
    values; attention_dropout: of the attention weights. Both only where `apply` gets the random stream `nn.dropout.DROPOUT`.
    """

    dim: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    hidden: int
    head_dim: int = 0
    rope_theta: float = 10000.0
    eps: float = 1e-6
    qkv_bias: bool = False
    dropout: float = 0.0
    attention_dropout: float = 0.0

    @property
    def head_width(self) -> int:
        """Width of one head."""
        return self.head_dim or self.dim // self.num_heads


QWEN2_0B5 = BackboneConfig(896, 24, 14, 2, 4864, rope_theta=1e6, qkv_bias=True)
"""The size of Qwen2.5-0.5B."""


@dataclasses.dataclass(frozen=True)
class Cache:
    """Keys and values of all layers, each (B * kv heads, M, head width), in M slots.

    Batch and heads share an axis because XLA's CPU backend updates such arrays in place and would copy them otherwise.
    layers: a pair of arrays with a leading axis of layers or, without scan, a tuple of pairs. positions_BxM: position in
    each slot, negative if empty or padding. used: number of slots in use, equal for all items.
    """

    layers: Any
    positions_BxM: jax.Array
    used: jax.Array

    def extended(self, positions_BxL: jax.Array) -> jax.Array:
        """`positions_BxM` after adding `positions_BxL`."""
        new = positions_BxL.astype(self.positions_BxM.dtype)
        return jax.lax.dynamic_update_slice_in_dim(self.positions_BxM, new, self.used, 1)


jax.tree_util.register_dataclass(Cache, ["layers", "positions_BxM", "used"], [])


def empty_cache(cfg: BackboneConfig, batch: int, length: int, dtype: Any = jnp.float32, scan: bool = True) -> Cache:
    """A cache of `length` slots, for a backbone with or without scan."""
    shape = (batch * cfg.num_kv_heads, length, cfg.head_width)
    layers: Any
    if scan:
        layers = tuple(jnp.zeros((cfg.num_layers, *shape), dtype) for _ in range(2))
    else:
        layers = tuple(tuple(jnp.zeros(shape, dtype) for _ in range(2)) for _ in range(cfg.num_layers))
    return Cache(layers, jnp.full((batch, length), -1, jnp.int32), jnp.int32(0))


class Block(nn.Module):
    """One pre-norm layer: attention and MLP with residuals."""

    cfg: BackboneConfig
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x_BxLxD: jax.Array, context: tuple[jax.Array, Any, Any], cached=None) -> Any:
        """The output, and the updated keys and values if `cached` holds the layer's (B * G, M, D).

        context: (`rope_angles` (B, L, D), segments (B, L), reach (B, L) or None) or, with a cache, (`rope_angles`, attention
        mask (B, L, M), first free slot).
        """
        cfg, (angles_BxLxD, mask, extra) = self.cfg, context
        batch, length, dim = x_BxLxD.shape

        def project(heads: int, name: str) -> jax.Array:
            axes = ("embed", "heads")
            layer = Linear(heads * cfg.head_width, cfg.qkv_bias, self.dtype, axes=axes, name=name)
            return layer(x).reshape(batch, length, heads, cfg.head_width)

        x = RMSNorm(cfg.eps, self.dtype, name="attention_norm")(x_BxLxD)
        q = project(cfg.num_heads, "query")
        k, v = (project(cfg.num_kv_heads, name) for name in ("key", "value"))
        if cached is None:
            options = dict(reach_BxL=extra, dropout=cfg.attention_dropout)
            seeds_Bx2 = dropout_seeds(self, cfg.attention_dropout, batch)
            out = causal_attention(q, k, v, mask, angles_BxLxD, seeds_Bx2=seeds_Bx2, **options)
        else:
            q, k = (apply_rope(a, angles_BxLxD[:, :, None]) for a in (q, k))
            cached = _update_cache(cached, (k, v), extra)
            keys, values = (array.astype(self.dtype) for array in cached)
            out = _cached_attention(q, keys, values, mask)
        out = Linear(dim, False, self.dtype, axes=("heads", "embed"), name="out")(out.reshape(batch, length, -1))
        x_BxLxD = x_BxLxD + dropout(self, out, cfg.dropout)
        x = RMSNorm(cfg.eps, self.dtype, name="mlp_norm")(x_BxLxD)
        x = SwiGLU(cfg.hidden, dtype=self.dtype, dropout=cfg.dropout, name="mlp")(x)
        x_BxLxD = x_BxLxD + dropout(self, x, cfg.dropout)
        return x_BxLxD if cached is None else (x_BxLxD, cached)


def _update_cache(cached: tuple[jax.Array, ...], new: tuple[jax.Array, ...], slot: jax.Array) -> tuple[jax.Array, ...]:
    """Arrays (B * G, M, D) with the new entries (B, L, G, D) from `slot` on."""

    def update(old: jax.Array, x: jax.Array) -> jax.Array:
        x = x.astype(old.dtype).swapaxes(1, 2).reshape(len(old), -1, old.shape[-1])
        return jax.lax.dynamic_update_slice_in_dim(old, x, slot, 1)

    return tuple(update(old, x) for old, x in zip(cached, new, strict=True))


def _cached_attention(
    q_BxLxHxD: jax.Array, k_BGxMxD: jax.Array, v_BGxMxD: jax.Array, mask_BxLxM: jax.Array
) -> jax.Array:
    """Attention to cached keys and values (B, L, H, D), softmax in float32."""
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
    """Embeddings (B, L, D) -> (hidden states (B, L, D) after the final norm, the updated cache or None).

    positions_BxL: position within the sequence. segments_BxL: without a cache, a position attends to itself and the
    earlier positions of its segment. With a cache it attends to all positions in it up to its own; padding has negative
    positions. reach_BxL: attend up to there instead, an index in the row or, with a cache, a position. rope_BxL: positions of
    the rotary embedding, which may be fractions (default: positions_BxL). scan, remat, unroll: see `Stack`.
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
        reach_BxL: jax.Array | None = None,
        rope_BxL: jax.Array | None = None,
    ) -> tuple[jax.Array, Cache | None]:
        block = dict(cfg=self.cfg, dtype=self.dtype)
        stack = Stack(Block, block, self.cfg.num_layers, self.scan, self.remat, unroll=self.unroll, name="blocks")
        x = x_BxLxD.astype(self.dtype)
        rope_BxL = positions_BxL if rope_BxL is None else rope_BxL
        angles_BxLxD = rope_angles(rope_BxL, self.cfg.head_width, self.cfg.rope_theta)
        if cache is None:
            x = stack(x, (angles_BxLxD, segments_BxL, reach_BxL))
        else:
            cached_Bx1xM = cache.extended(positions_BxL)[:, None]
            last_BxL = positions_BxL if reach_BxL is None else reach_BxL
            mask = (cached_Bx1xM >= 0) & (cached_Bx1xM <= last_BxL[..., None])
            x, layers = stack(x, (angles_BxLxD, mask, cache.used), cache.layers)
            cache = Cache(layers, cached_Bx1xM[:, 0], cache.used + positions_BxL.shape[1])
        return RMSNorm(self.cfg.eps, self.dtype, name="norm")(x), cache

"""A decoder-only transformer as Llama (arXiv:2302.13971) and Qwen2 (arXiv:2407.10671) have it.

RMSNorm before each half, rotary positions, grouped-query attention, a SwiGLU MLP. Layers are
scanned in training; with a cache the same layers serve prefill and single steps.
"""

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from quarkaudio_jax.nn.attention import rotary
from quarkaudio_jax.nn.linear import Linear
from quarkaudio_jax.nn.norm import RMSNorm
from quarkaudio_jax.nn.stack import REMAT_POLICIES, STACKED


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
    """Keys and values of all layers, (layers, B, M, kv heads, head width); slot m holds position m."""

    keys: jax.Array
    values: jax.Array


jax.tree_util.register_dataclass(Cache, ["keys", "values"], [])


def empty_cache(cfg: BackboneConfig, batch: int, length: int, dtype: Any = jnp.float32) -> Cache:
    """A cache of `length` positions."""
    shape = (cfg.num_layers, batch, length, cfg.num_kv_heads, cfg.head_width)
    return Cache(jnp.zeros(shape, dtype), jnp.zeros(shape, dtype))


def causal_mask(segments_BxL: jax.Array) -> jax.Array:
    """(B, L, L): each position sees itself and what stands before it in its own segment; segment 0 is padding."""
    length = segments_BxL.shape[1]
    before = jnp.tril(jnp.ones((length, length), bool))
    same = segments_BxL[:, :, None] == segments_BxL[:, None, :]
    return before & same


class Block(nn.Module):
    """One layer: attention and MLP, each normalised before and added."""

    cfg: BackboneConfig
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x_BxLxD, positions_BxL, mask_BxLxM, keys=None, values=None):
        """x and, with a cache, this layer's keys and values (B, M, G, D) with the new ones written to their slots.

        Positions outside 0 to M - 1 write nothing.
        """
        cfg = self.cfg
        batch, length, dim = x_BxLxD.shape

        def project(heads: int, name: str) -> jax.Array:
            axes = ("embed", "heads")
            layer = Linear(heads * cfg.head_width, cfg.qkv_bias, self.dtype, axes=axes, name=name)
            return layer(x).reshape(batch, length, heads, cfg.head_width)

        x = RMSNorm(cfg.eps, self.dtype, name="attention_norm")(x_BxLxD)
        q = rotary(project(cfg.num_heads, "query"), cfg.rope_theta, positions_BxL)
        k = rotary(project(cfg.num_kv_heads, "key"), cfg.rope_theta, positions_BxL)
        v = project(cfg.num_kv_heads, "value")
        if keys is not None:
            rows = jnp.arange(batch)[:, None]
            slots = jnp.where(positions_BxL < 0, keys.shape[1], positions_BxL)
            keys = keys.at[rows, slots].set(k.astype(keys.dtype), mode="drop")
            values = values.at[rows, slots].set(v.astype(values.dtype), mode="drop")
            k, v = keys.astype(self.dtype), values.astype(self.dtype)
        out = jax.nn.dot_product_attention(q, k, v, mask=mask_BxLxM[:, None])
        out = out.reshape(batch, length, -1)
        x_BxLxD = x_BxLxD + Linear(dim, False, self.dtype, axes=("heads", "embed"), name="out")(out)
        x = RMSNorm(cfg.eps, self.dtype, name="mlp_norm")(x_BxLxD)
        up = nn.silu(Linear(cfg.hidden, False, self.dtype, name="gate")(x))
        up = up * Linear(cfg.hidden, False, self.dtype, name="up")(x)
        return x_BxLxD + Linear(dim, False, self.dtype, axes=("mlp", "embed"), name="down")(up), keys, values


class Backbone(nn.Module):
    """Embedded sequence (B, L, D) -> hidden states (B, L, D) after the final norm, and the cache if one is given.

    positions_BxL: of each item from 0. mask_BxLxM: what each position sees; M is L without a
    cache, else the cache's length.
    """

    cfg: BackboneConfig
    dtype: Any = jnp.float32
    remat: str = "none"

    @nn.compact
    def __call__(
        self, x_BxLxD: jax.Array, positions_BxL: jax.Array, mask_BxLxM: jax.Array, cache: Cache | None = None
    ) -> tuple[jax.Array, Cache | None]:
        def step(module, x, per_layer):
            keys, values = (None, None) if per_layer is None else per_layer
            x, keys, values = module(x, positions_BxL, mask_BxLxM, keys, values)
            return x, None if per_layer is None else (keys, values)

        if self.remat not in REMAT_POLICIES:
            raise ValueError(f"remat {self.remat!r} is not one of {', '.join(REMAT_POLICIES)}")
        if self.remat != "none":
            step = nn.remat(step, policy=REMAT_POLICIES[self.remat], prevent_cse=False)
        scanned = nn.scan(
            step,
            variable_axes={"params": 0},
            split_rngs={"params": True},
            in_axes=0,
            length=self.cfg.num_layers,
            metadata_params={nn.PARTITION_NAME: "layers"},
        )
        per_layer = None if cache is None else (cache.keys, cache.values)
        block = Block(self.cfg, self.dtype, name=STACKED)
        x, per_layer = scanned(block, x_BxLxD.astype(self.dtype), per_layer)
        x = RMSNorm(self.cfg.eps, self.dtype, name="norm")(x)
        return x, None if cache is None else Cache(*per_layer)

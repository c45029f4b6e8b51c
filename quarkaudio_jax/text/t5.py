"""T5's encoder (arXiv:1910.10683), equal to the transformers library's in evaluation mode."""

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from quarkaudio_jax.nn.init import logical
from quarkaudio_jax.nn.linear import Linear
from quarkaudio_jax.nn.norm import RMSNorm
from quarkaudio_jax.nn.relative import relative_buckets
from quarkaudio_jax.nn.stack import Stack


@dataclasses.dataclass(frozen=True)
class T5Config:
    """Configuration of `T5Encoder`.

    gated: MLP gated by a tanh-approximated GELU (v1.1, Flan), else a ReLU MLP. buckets, max_distance: of the relative
    position bias.
    """

    vocabulary: int
    dim: int
    num_layers: int
    num_heads: int
    head_dim: int
    hidden: int
    gated: bool = True
    buckets: int = 32
    max_distance: int = 128
    eps: float = 1e-6


T5_BASE = T5Config(32128, 768, 12, 12, 64, 3072, gated=False)


class T5Block(nn.Module):
    """Pre-norm layer of unscaled attention with a relative position bias, and an MLP.

    context: (mask (B, L), bias (H, L, L)).
    """

    cfg: T5Config
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x_BxLxD: jax.Array, context) -> jax.Array:
        cfg, (mask_BxL, bias_HxLxL) = self.cfg, context
        batch, length, dim = x_BxLxD.shape
        inner = cfg.num_heads * cfg.head_dim
        x = RMSNorm(cfg.eps, self.dtype, name="attention_norm")(x_BxLxD)
        q, k, v = (
            Linear(inner, False, self.dtype, axes=("embed", "heads"), name=name)(x).reshape(
                batch, length, cfg.num_heads, cfg.head_dim
            )
            for name in ("query", "key", "value")
        )
        mask = mask_BxL[:, None, None, :]
        out = jax.nn.dot_product_attention(q, k, v, bias=bias_HxLxL[None], mask=mask, scale=1.0)
        out = out.reshape(batch, length, inner)
        x_BxLxD = x_BxLxD + Linear(dim, False, self.dtype, axes=("heads", "embed"), name="out")(out)
        x = RMSNorm(cfg.eps, self.dtype, name="mlp_norm")(x_BxLxD)
        up = Linear(cfg.hidden, False, self.dtype, name="up")(x)
        if cfg.gated:
            up = nn.gelu(Linear(cfg.hidden, False, self.dtype, name="gate")(x), approximate=True) * up
        else:
            up = nn.relu(up)
        return x_BxLxD + Linear(dim, False, self.dtype, axes=("mlp", "embed"), name="down")(up)


class T5Encoder(nn.Module):
    """Ids (B, L) and lengths (B,) -> last hidden states (B, L, D) float32."""

    cfg: T5Config
    dtype: Any = jnp.float32
    scan: bool = True

    @nn.compact
    def __call__(self, ids_BxL: jax.Array, lengths_B: jax.Array) -> jax.Array:
        cfg, length = self.cfg, ids_BxL.shape[1]
        embeddings = self.param(
            "words", logical(nn.initializers.normal(1.0), "vocab", "embed"), (cfg.vocabulary, cfg.dim)
        )
        table = self.param(
            "relative_bias", logical(nn.initializers.normal(0.02), None, None), (cfg.buckets, cfg.num_heads)
        )
        bias = table[relative_buckets(length, cfg.buckets, cfg.max_distance)].transpose(2, 0, 1)
        mask = jnp.arange(length) < lengths_B[:, None]
        stack = Stack(T5Block, dict(cfg=cfg, dtype=self.dtype), cfg.num_layers, scan=self.scan, name="blocks")
        x = stack(embeddings[ids_BxL].astype(self.dtype), (mask, bias))
        return RMSNorm(cfg.eps, jnp.float32, name="norm")(x)

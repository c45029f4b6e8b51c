"""CLAP's text encoder (arXiv:2211.06687): RoBERTa (arXiv:1907.11692) with a projection, as transformers has it."""

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from quarkaudio_jax.nn.init import logical
from quarkaudio_jax.nn.linear import Linear
from quarkaudio_jax.nn.norm import LayerNorm
from quarkaudio_jax.nn.stack import Stack


@dataclasses.dataclass(frozen=True)
class ClapTextConfig:
    """Configuration of `ClapTextEncoder`.

    projected: width of the embedding. positions: rows of the position table, of which tokens use those after `padding`.
    """

    vocabulary: int
    dim: int
    num_layers: int
    num_heads: int
    hidden: int
    projected: int = 512
    positions: int = 514
    padding: int = 1
    eps: float = 1e-12


CLAP_TEXT = ClapTextConfig(50265, 768, 12, 12, 3072)


class ClapTextBlock(nn.Module):
    """Post-norm transformer layer with a GELU MLP; context: mask (B, L)."""

    cfg: ClapTextConfig
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x_BxLxD: jax.Array, context: jax.Array) -> jax.Array:
        cfg = self.cfg
        batch, length, dim = x_BxLxD.shape
        q, k, v = (
            Linear(dim, dtype=self.dtype, axes=("embed", "heads"), name=name)(x_BxLxD).reshape(
                batch, length, cfg.num_heads, -1
            )
            for name in ("query", "key", "value")
        )
        out = jax.nn.dot_product_attention(q, k, v, mask=context[:, None, None, :]).reshape(batch, length, dim)
        out = Linear(dim, dtype=self.dtype, axes=("heads", "embed"), name="out")(out)
        x_BxLxD = LayerNorm(cfg.eps, self.dtype, name="attention_norm")(x_BxLxD + out)
        up = nn.gelu(Linear(cfg.hidden, dtype=self.dtype, name="up")(x_BxLxD), approximate=False)
        down = Linear(dim, dtype=self.dtype, axes=("mlp", "embed"), name="down")(up)
        return LayerNorm(cfg.eps, self.dtype, name="mlp_norm")(x_BxLxD + down)


class ClapTextEncoder(nn.Module):
    """Ids (B, L) and lengths (B,) -> (last hidden states (B, L, D), embedding (B, projected)), float32.

    The embedding is not normalized.
    """

    cfg: ClapTextConfig
    dtype: Any = jnp.float32
    scan: bool = True

    @nn.compact
    def __call__(self, ids_BxL: jax.Array, lengths_B: jax.Array) -> tuple[jax.Array, jax.Array]:
        cfg, length = self.cfg, ids_BxL.shape[1]

        def table(name: str, rows: int) -> jax.Array:
            init = logical(nn.initializers.normal(0.02), "vocab", "embed")
            return self.param(name, init, (rows, cfg.dim))

        mask = jnp.arange(length) < lengths_B[:, None]
        positions = jnp.where(mask, jnp.arange(length) + cfg.padding + 1, cfg.padding)
        x = table("words", cfg.vocabulary)[ids_BxL] + table("places", cfg.positions)[positions] + table("types", 1)[0]
        x = LayerNorm(cfg.eps, self.dtype, name="norm")(x)
        stack = Stack(ClapTextBlock, dict(cfg=cfg, dtype=self.dtype), cfg.num_layers, scan=self.scan, name="blocks")
        x = stack(x, mask).astype(jnp.float32)
        pooled = jnp.tanh(Linear(cfg.dim, name="pooler")(x[:, 0]))
        return x, Linear(cfg.projected, name="project_out")(nn.relu(Linear(cfg.projected, name="project_in")(pooled)))

"""Mimi's transformer (Moshi, arXiv:2410.00037): LayerNorm, rotary attention, GELU MLP, layer scale; no biases."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from quarkaudio_jax.nn.init import logical, torch_kernel
from quarkaudio_jax.nn.linear import Linear
from quarkaudio_jax.nn.norm import LayerNorm
from quarkaudio_jax.nn.stack import Stack
from quarkaudio_jax.sharding.partition import gathered


def interleaved_rotary(x_BxTxHxD: jax.Array, max_period: float = 10000.0) -> jax.Array:
    """Rotary position embedding on neighboring pairs, in float32 (arXiv:2104.09864)."""
    length, dim = x_BxTxHxD.shape[1], x_BxTxHxD.shape[-1]
    frequencies = np.exp(np.arange(dim // 2, dtype=np.float32) * np.float32(-np.log(max_period) * 2 / dim))
    angle_TxD = np.arange(length, dtype=np.float32)[:, None] * frequencies[None]
    cos, sin = np.cos(angle_TxD)[:, None], np.sin(angle_TxD)[:, None]
    pairs = x_BxTxHxD.astype(jnp.float32).reshape(*x_BxTxHxD.shape[:-1], dim // 2, 2)
    real, imag = pairs[..., 0], pairs[..., 1]
    rotated = jnp.stack([real * cos - imag * sin, real * sin + imag * cos], axis=-1)
    return rotated.reshape(x_BxTxHxD.shape).astype(x_BxTxHxD.dtype)


class MimiBlock(nn.Module):
    """x + scale1 * attention(norm1(x)), then x + scale2 * mlp(norm2(x)). (B, T, D) -> same.

    context (causal only): frames that a frame attends to, itself included.
    """

    num_heads: int
    hidden: int
    layer_scale: float
    causal: bool = False
    context: int | None = None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x_BxTxD: jax.Array, mask_BxT: jax.Array | None = None) -> jax.Array:
        batch, length, dim = x_BxTxD.shape
        x = LayerNorm(1e-5, self.dtype, name="norm1")(x_BxTxD)
        kernel = self.param("qkv", logical(torch_kernel, "embed", None, "heads"), (dim, 3, dim))
        kernel = gathered(kernel.astype(self.dtype), ("embed", None, "heads"))
        q, k, v = jnp.moveaxis(jnp.einsum("btd,dce->btce", x, kernel), 2, 0)
        q, k, v = (a.reshape(batch, length, self.num_heads, -1) for a in (q, k, v))
        window = None if self.context is None or not self.causal else (self.context - 1, 0)
        x = jax.nn.dot_product_attention(
            interleaved_rotary(q),
            interleaved_rotary(k),
            v,
            mask=None if mask_BxT is None else mask_BxT[:, None, None, :],
            is_causal=self.causal,
            local_window_size=window,
        )
        linear = dict(use_bias=False, dtype=self.dtype, torch_init=True)
        x = Linear(dim, **linear, axes=("heads", "embed"), name="out")(x.reshape(batch, length, dim))
        scale = logical(nn.initializers.constant(self.layer_scale), "norm")
        x_BxTxD = x_BxTxD + self.param("scale1", scale, (dim,)).astype(self.dtype) * x
        x = LayerNorm(1e-5, self.dtype, name="norm2")(x_BxTxD)
        x = nn.gelu(Linear(self.hidden, **linear, name="up")(x), approximate=False)
        x = Linear(dim, **linear, axes=("mlp", "embed"), name="down")(x)
        return x_BxTxD + self.param("scale2", scale, (dim,)).astype(self.dtype) * x


class MimiTransformer(nn.Module):
    """Stack of Mimi blocks, (B, T, D) -> (B, T, out_dim), with projections if widths differ; no final norm."""

    dim: int
    out_dim: int
    num_layers: int
    num_heads: int
    hidden: int
    layer_scale: float = 0.01
    causal: bool = False
    context: int | None = None
    dtype: Any = jnp.float32
    scan: bool = True
    remat: str = "none"

    @nn.compact
    def __call__(self, x_BxTxD: jax.Array, mask_BxT: jax.Array | None = None) -> jax.Array:
        linear = dict(use_bias=False, dtype=self.dtype, torch_init=True)
        x = x_BxTxD
        if x.shape[-1] != self.dim:
            x = Linear(self.dim, **linear, name="project_in")(x)
        block = dict(
            num_heads=self.num_heads,
            hidden=self.hidden,
            layer_scale=self.layer_scale,
            causal=self.causal,
            context=self.context,
            dtype=self.dtype,
        )
        x = Stack(MimiBlock, block, self.num_layers, scan=self.scan, remat=self.remat, name="blocks")(x, mask_BxT)
        if self.out_dim != self.dim:
            x = Linear(self.out_dim, **linear, axes=("mlp", "embed"), name="project_out")(x)
        return x

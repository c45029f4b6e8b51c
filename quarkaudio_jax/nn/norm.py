"""Normalizations; statistics are always float32."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from quarkaudio_jax.errors import UserError
from quarkaudio_jax.nn.init import logical
from quarkaudio_jax.nn.linear import Linear


def standardize(x_BxTxD: jax.Array, eps: float) -> jax.Array:
    """Normalizes to mean 0 and variance 1 along the last axis, float32."""
    x = x_BxTxD.astype(jnp.float32)
    x = x - x.mean(-1, keepdims=True)
    return x * jax.lax.rsqrt(jnp.square(x).mean(-1, keepdims=True) + eps)


def safe_norm(x: jax.Array, axis=-1, keepdims: bool = False) -> jax.Array:
    """Euclidean norm whose gradient at 0 is 0 instead of NaN."""
    square = jnp.square(x).sum(axis, keepdims=keepdims)
    return jnp.where(square == 0, 0.0, jnp.sqrt(jnp.where(square == 0, 1.0, square)))


class LayerNorm(nn.Module):
    """Layer normalization over the last axis with scale and bias."""

    eps: float = 1e-6
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x_BxTxD: jax.Array) -> jax.Array:
        scale = self.param("scale", logical(nn.initializers.ones, "norm"), (x_BxTxD.shape[-1],))
        bias = self.param("bias", logical(nn.initializers.zeros, "norm"), (x_BxTxD.shape[-1],))
        return (standardize(x_BxTxD, self.eps) * scale + bias).astype(self.dtype)


class AdaLayerNorm(nn.Module):
    """Layer normalization with scale and bias computed from a condition (B, C) by linear layers (arXiv:2103.00993)."""

    eps: float = 1e-6
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x_BxTxD: jax.Array, condition_BxC: jax.Array) -> jax.Array:
        scale, shift = (Linear(x_BxTxD.shape[-1], name=name)(condition_BxC)[:, None] for name in ("scale", "shift"))
        return (standardize(x_BxTxD, self.eps) * scale + shift).astype(self.dtype)


class BatchNorm(nn.Module):
    """Batch normalization in inference mode (arXiv:1502.03167): the running statistics are parameters."""

    eps: float = 1e-5
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        ones, zeros = (logical(init, "norm") for init in (nn.initializers.ones, nn.initializers.zeros))
        inits = {"scale": ones, "bias": zeros, "mean": zeros, "var": ones}
        scale, bias, mean, var = (self.param(name, init, (x.shape[-1],)) for name, init in inits.items())
        x = (x.astype(jnp.float32) - mean) * jax.lax.rsqrt(var + self.eps)
        return (x * scale + bias).astype(self.dtype)


class RMSNorm(nn.Module):
    """Root-mean-square normalization over the last axis with scale (arXiv:1910.07467)."""

    eps: float = 1e-6
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x_BxTxD: jax.Array) -> jax.Array:
        scale = self.param("scale", logical(nn.initializers.ones, "norm"), (x_BxTxD.shape[-1],))
        x = x_BxTxD.astype(jnp.float32)
        x = x * jax.lax.rsqrt(jnp.square(x).mean(-1, keepdims=True) + self.eps)
        return (x * scale).astype(self.dtype)


class GroupNorm(nn.Module):
    """Group normalization with statistics over time and the channels of a group (arXiv:1803.08494).

    Frames outside the mask are excluded from the statistics, so that results do not depend on padding.
    """

    num_groups: int = 32
    eps: float = 1e-6
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x_BxTxC: jax.Array, mask_BxT: jax.Array | None = None) -> jax.Array:
        channels = x_BxTxC.shape[-1]
        if channels % self.num_groups:
            raise UserError(f"GroupNorm: {channels} channels do not divide into {self.num_groups} groups")
        scale = self.param("scale", logical(nn.initializers.ones, "norm"), (channels,))
        bias = self.param("bias", logical(nn.initializers.zeros, "norm"), (channels,))
        x = x_BxTxC.astype(jnp.float32).reshape(*x_BxTxC.shape[:2], self.num_groups, -1)
        if mask_BxT is None:
            weight = jnp.ones((1, x.shape[1], 1, 1), jnp.float32)
        else:
            weight = mask_BxT.astype(jnp.float32)[..., None, None]
        count = jnp.maximum(weight.sum(1, keepdims=True), 1.0) * x.shape[-1]
        x = x - (x * weight).sum((1, 3), keepdims=True) / count
        x = x * jax.lax.rsqrt((jnp.square(x) * weight).sum((1, 3), keepdims=True) / count + self.eps)
        return (x.reshape(x_BxTxC.shape) * scale + bias).astype(self.dtype)

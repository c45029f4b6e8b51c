"""HuBERT, wav2vec 2.0 and WavLM as configurations of one encoder (arXiv:2106.07447, 2006.11477, 2110.13900).

Computes the same hidden states as the transformers library in evaluation mode.
"""

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from quarkaudio_jax.nn.init import logical, torch_kernel
from quarkaudio_jax.nn.linear import Linear
from quarkaudio_jax.nn.norm import GroupNorm, LayerNorm
from quarkaudio_jax.nn.relative import relative_buckets
from quarkaudio_jax.nn.stack import Stack
from quarkaudio_jax.sharding.partition import gathered

EPS = 1e-5
"""Epsilon of all norms."""


@dataclasses.dataclass(frozen=True)
class SSLConfig:
    """Configuration of `SSLEncoder`.

    conv_*: layers of the waveform front end. layer_norm: LayerNorm after each of them (else GroupNorm after the first
    only). pre_norm: "stable layer norm", with a final norm after the last layer. position_*: the convolutional position
    embedding. buckets, max_distance: WavLM's gated relative position bias (0: none).
    """

    dim: int
    num_layers: int
    num_heads: int
    hidden: int
    conv_dims: tuple[int, ...] = (512,) * 7
    conv_kernels: tuple[int, ...] = (10, 3, 3, 3, 3, 2, 2)
    conv_strides: tuple[int, ...] = (5, 2, 2, 2, 2, 2, 2)
    conv_bias: bool = False
    layer_norm: bool = False
    pre_norm: bool = False
    position_kernel: int = 128
    position_groups: int = 16
    buckets: int = 0
    max_distance: int = 0

    def num_frames(self, num_samples):
        """Number of frames of `num_samples` samples (an int or an array)."""
        for kernel, stride in zip(self.conv_kernels, self.conv_strides, strict=True):
            num_samples = (num_samples - kernel) // stride + 1
        return num_samples


HUBERT_BASE = SSLConfig(768, 12, 12, 3072)
WAV2VEC2_LARGE = SSLConfig(1024, 24, 16, 4096, conv_bias=True, layer_norm=True, pre_norm=True)
WAVLM_BASE = SSLConfig(768, 12, 12, 3072, buckets=320, max_distance=800)

PUBLISHED = {
    "facebook/hubert-base-ls960": HUBERT_BASE,
    "bosonai/hubert_base": HUBERT_BASE,
    "facebook/wav2vec2-large-xlsr-53": WAV2VEC2_LARGE,
    "microsoft/wavlm-base-plus": WAVLM_BASE,
}
"""Models of the recipes by their name on the hub."""


class FrontEnd(nn.Module):
    """Strided convolutions without padding, each with exact GELU, (B, S) -> (B, T, C)."""

    cfg: SSLConfig
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, wave_BxS: jax.Array, lengths_B: jax.Array | None) -> jax.Array:
        cfg, x = self.cfg, wave_BxS[..., None].astype(self.dtype)
        shapes = zip(cfg.conv_dims, cfg.conv_kernels, cfg.conv_strides, strict=True)
        for i, (dim, size, stride) in enumerate(shapes):
            axes = ("kernel", "embed", "mlp")
            kernel = self.param(f"conv_{i}_kernel", logical(torch_kernel, *axes), (size, x.shape[-1], dim))
            kernel = gathered(kernel.astype(self.dtype), axes)
            x = jax.lax.conv_general_dilated(x, kernel, (stride,), "VALID", dimension_numbers=("NWC", "WIO", "NWC"))
            if cfg.conv_bias:
                bias = self.param(f"conv_{i}_bias", logical(nn.initializers.zeros, "mlp"), (dim,))
                x = x + bias.astype(self.dtype)
            mask = None
            if lengths_B is not None:
                lengths_B = (lengths_B - size) // stride + 1
                mask = jnp.arange(x.shape[1]) < lengths_B[:, None]
            if cfg.layer_norm:
                x = LayerNorm(EPS, self.dtype, name=f"norm_{i}")(x)
            elif i == 0:
                x = GroupNorm(dim, EPS, self.dtype, name="norm_0")(x, mask)
            x = nn.gelu(x, approximate=False)
        return x


class PositionConv(nn.Module):
    """Convolutional position embedding: grouped, with kernel = g v / |v| per tap."""

    cfg: SSLConfig
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x_BxTxD: jax.Array) -> jax.Array:
        size, groups, dim = self.cfg.position_kernel, self.cfg.position_groups, x_BxTxD.shape[-1]
        v = self.param("v", logical(torch_kernel, "kernel", None, "mlp"), (size, dim // groups, dim))
        g = self.param("g", logical(nn.initializers.ones, "kernel"), (size,))
        bias = self.param("bias", logical(nn.initializers.zeros, "mlp"), (dim,))
        norm = jnp.sqrt(jnp.square(v).sum((1, 2), keepdims=True))
        out = jax.lax.conv_general_dilated(
            x_BxTxD,
            (v * (g[:, None, None] / norm)).astype(self.dtype),
            (1,),
            [(size // 2, size - 1 - size // 2)],
            dimension_numbers=("NWC", "WIO", "NWC"),
            feature_group_count=groups,
        )
        return nn.gelu(out + bias.astype(self.dtype), approximate=False)


class SSLBlock(nn.Module):
    """Transformer layer with a GELU MLP, post-norm or `pre_norm`.

    context: (mask (B, T) or None, relative position bias (H, T, T) or None).
    """

    cfg: SSLConfig
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x_BxTxD: jax.Array, context) -> jax.Array:
        cfg = self.cfg
        norm = LayerNorm(EPS, self.dtype, name="attention_norm"), LayerNorm(EPS, self.dtype, name="mlp_norm")
        if cfg.pre_norm:
            x_BxTxD = x_BxTxD + self._attention(norm[0](x_BxTxD), *context)
            return x_BxTxD + self._mlp(norm[1](x_BxTxD))
        x_BxTxD = norm[0](x_BxTxD + self._attention(x_BxTxD, *context))
        return norm[1](x_BxTxD + self._mlp(x_BxTxD))

    def _mlp(self, x_BxTxD):
        x = nn.gelu(Linear(self.cfg.hidden, dtype=self.dtype, name="up")(x_BxTxD), approximate=False)
        return Linear(x_BxTxD.shape[-1], dtype=self.dtype, axes=("mlp", "embed"), name="down")(x)

    def _attention(self, x_BxTxD, mask_BxT, bias_HxTxT):
        batch, length, dim = x_BxTxD.shape
        heads = (batch, length, self.cfg.num_heads, dim // self.cfg.num_heads)
        q, k, v = (
            Linear(dim, dtype=self.dtype, axes=("embed", "heads"), name=name)(x_BxTxD).reshape(heads)
            for name in ("query", "key", "value")
        )
        bias = None if bias_HxTxT is None else self._gate(x_BxTxD.reshape(heads)) * bias_HxTxT
        mask = None if mask_BxT is None else mask_BxT[:, None, None, :]
        out = jax.nn.dot_product_attention(q, k, v, bias=bias, mask=mask).reshape(batch, length, dim)
        return Linear(dim, dtype=self.dtype, axes=("heads", "embed"), name="out")(out)

    def _gate(self, x_BxTxHxD):
        """WavLM's gate of the position bias (B, H, T, 1), computed from the layer's input."""
        gates = Linear(8, dtype=jnp.float32, axes=(None, None), name="gate")(x_BxTxHxD.astype(jnp.float32))
        a, b = jnp.moveaxis(nn.sigmoid(gates.reshape(*gates.shape[:-1], 2, 4).sum(-1)), -1, 0)
        constant = self.param("gate_constant", logical(nn.initializers.ones, None), (x_BxTxHxD.shape[2],))
        return (a * (b * constant - 1.0) + 2.0).swapaxes(1, 2)[..., None]


class SSLEncoder(nn.Module):
    """Waves (B, S) at 16 kHz -> all hidden states (num_layers + 1, B, T, dim) float32.

    The first state is the input of the first layer; the last includes the final norm of `pre_norm` models. lengths_B:
    valid samples, so that results do not depend on padding; states after an item's end are undefined.
    """

    cfg: SSLConfig
    dtype: Any = jnp.float32
    scan: bool = True

    @nn.compact
    def __call__(self, wave_BxS: jax.Array, lengths_B: jax.Array | None = None) -> jax.Array:
        cfg, mask = self.cfg, None
        x = FrontEnd(cfg, self.dtype, name="front")(wave_BxS, lengths_B)
        x = LayerNorm(EPS, self.dtype, name="project_norm")(x)
        x = Linear(cfg.dim, dtype=self.dtype, name="project")(x)
        if lengths_B is not None:
            mask = jnp.arange(x.shape[1]) < cfg.num_frames(lengths_B)[:, None]
            x = jnp.where(mask[..., None], x, 0.0)
        x = x + PositionConv(cfg, self.dtype, name="position")(x)
        norm = LayerNorm(EPS, self.dtype, name="norm")
        if not cfg.pre_norm:
            x = norm(x)
        bias = None
        if cfg.buckets:
            table = self.param(
                "relative_bias", logical(nn.initializers.normal(0.02), None, None), (cfg.buckets, cfg.num_heads)
            )
            bias = table[relative_buckets(x.shape[1], cfg.buckets, cfg.max_distance)].transpose(2, 0, 1)
        stack = Stack(
            SSLBlock, dict(cfg=cfg, dtype=self.dtype), cfg.num_layers, scan=self.scan, collect=True, name="blocks"
        )
        states = jnp.concatenate([x[None], stack(x, (mask, bias))]).astype(jnp.float32)
        return states.at[-1].set(norm(states[-1])) if cfg.pre_norm else states

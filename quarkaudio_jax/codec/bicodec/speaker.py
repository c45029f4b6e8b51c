"""BiCodec's speaker encoder: mel frames to 32 global tokens, and those to a speaker embedding.

ECAPA-TDNN (arXiv:2005.07143) computes features, a Perceiver resampler (arXiv:2204.14198) pools them to 32 vectors, and finite
scalar quantization turns these into tokens.
"""

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from quarkaudio_jax.codec.bicodec.quantize import FSQ, unit
from quarkaudio_jax.nn.conv import Conv1d
from quarkaudio_jax.nn.init import logical
from quarkaudio_jax.nn.linear import Linear
from quarkaudio_jax.nn.norm import BatchNorm

FEATURES = 1536
"""Width of ECAPA-TDNN's frame features, independent of its channels."""


@dataclasses.dataclass(frozen=True)
class SpeakerConfig:
    """Configuration of `SpeakerEncoder`.

    out_dim: width of the speaker embedding. latent_dim, num_tokens: width and number of the quantized vectors. levels: of
    the quantizer. scale: slices of channels in an ECAPA block.
    """

    out_dim: int
    latent_dim: int
    num_tokens: int
    levels: tuple[int, ...]
    channels: int = 512
    scale: int = 8
    bottleneck: int = 128
    heads: int = 8
    head_dim: int = 64
    resampler_layers: int = 2


class ConvReluNorm(nn.Module):
    """Convolution, ReLU, BatchNorm."""

    features: int
    kernel_size: int = 1
    dilation: int = 1
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x_BxTxC: jax.Array) -> jax.Array:
        x = Conv1d(self.features, self.kernel_size, dilation=self.dilation, dtype=self.dtype, name="conv")(x_BxTxC)
        return BatchNorm(dtype=self.dtype, name="norm")(nn.relu(x))


class SERes2Block(nn.Module):
    """Res2Net convolutions with squeeze-and-excitation: each slice of the channels adds the previous slice's output."""

    dilation: int
    scale: int
    bottleneck: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x_BxTxC: jax.Array) -> jax.Array:
        channels = x_BxTxC.shape[-1]
        x = ConvReluNorm(channels, dtype=self.dtype, name="first")(x_BxTxC)
        slices = jnp.split(x, self.scale, axis=-1)
        outputs: list[jax.Array] = []
        for i, piece in enumerate(slices[:-1]):
            piece = piece + outputs[-1] if outputs else piece
            layer = ConvReluNorm(piece.shape[-1], 3, self.dilation, self.dtype, name=f"slices_{i}")
            outputs.append(layer(piece))
        x = jnp.concatenate([*outputs, slices[-1]], axis=-1)
        x = ConvReluNorm(channels, dtype=self.dtype, name="last")(x)
        weight_BxC = nn.relu(Linear(self.bottleneck, dtype=self.dtype, name="squeeze")(x.mean(1)))
        weight_BxC = nn.sigmoid(Linear(channels, dtype=self.dtype, name="excite")(weight_BxC))
        return x_BxTxC + x * weight_BxC[:, None]


class EcapaTdnn(nn.Module):
    """Mel frames (B, T, F) to frame features (B, T, 1536), which `embedding` pools to a vector (B, out_dim)."""

    cfg: SpeakerConfig
    dtype: Any = jnp.float32

    def setup(self):
        """Creates the submodules and parameters."""
        cfg, dtype = self.cfg, self.dtype
        self.embed = ConvReluNorm(cfg.channels, 5, dtype=dtype)
        self.blocks = [SERes2Block(i, cfg.scale, cfg.bottleneck, dtype) for i in (2, 3, 4)]
        self.merge = Conv1d(FEATURES, 1, dtype=dtype)
        self.attend_in, self.attend_out = Conv1d(cfg.bottleneck, 1, dtype=dtype), Conv1d(FEATURES, 1, dtype=dtype)
        self.pooled_norm, self.project = BatchNorm(dtype=dtype), Linear(cfg.out_dim, dtype=dtype)

    def __call__(self, mel_BxTxF: jax.Array) -> jax.Array:
        """Frame features (B, T, 1536) of mel frames."""
        x = self.embed(mel_BxTxF)
        outputs = []
        for block in self.blocks:
            x = block(x)
            outputs.append(x)
        return nn.relu(self.merge(jnp.concatenate(outputs, axis=-1)))

    def embedding(self, x_BxTxC: jax.Array) -> jax.Array:
        """The x-vector (B, out_dim) of frame features, from their weighted mean and deviation over time."""
        mean = jnp.broadcast_to(x_BxTxC.mean(1, keepdims=True), x_BxTxC.shape)
        deviation = jnp.sqrt(x_BxTxC.var(1, ddof=1, keepdims=True) + 1e-7)
        context = jnp.concatenate([x_BxTxC, mean, jnp.broadcast_to(deviation, x_BxTxC.shape)], axis=-1)
        weight = jax.nn.softmax(self.attend_out(jnp.tanh(self.attend_in(context))), axis=1)
        mean = (weight * x_BxTxC).sum(1)
        deviation = jnp.sqrt(jnp.maximum((weight * jnp.square(x_BxTxC)).sum(1) - jnp.square(mean), 1e-7))
        return self.project(self.pooled_norm(jnp.concatenate([mean, deviation], axis=-1)))


class PerceiverResampler(nn.Module):
    """`num_latents` learned vectors attend to frames and to themselves: (B, T, C) -> (B, num_latents, dim)."""

    num_latents: int
    dim: int
    heads: int
    head_dim: int
    num_layers: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x_BxTxC: jax.Array) -> jax.Array:
        batch, inner, hidden = len(x_BxTxC), self.heads * self.head_dim, int(self.dim * 4 * 2 / 3)

        def dense(features: int, name: str, bias: bool = False) -> Linear:
            return Linear(features, bias, self.dtype, name=name)

        def split(x: jax.Array) -> jax.Array:
            return x.reshape(*x.shape[:2], self.heads, self.head_dim)

        x = dense(self.dim, "project_context", bias=True)(x_BxTxC)
        latents = self.param(
            "latents", logical(nn.initializers.normal(0.02), None, "embed"), (self.num_latents, self.dim)
        )
        latents = jnp.broadcast_to(latents.astype(self.dtype), (batch, *latents.shape))
        for i in range(self.num_layers):
            context = jnp.concatenate([latents, x], axis=1)
            key, value = jnp.split(dense(2 * inner, f"layers_{i}_key_value")(context), 2, axis=-1)
            query = dense(inner, f"layers_{i}_query")(latents)
            out = jax.nn.dot_product_attention(split(query), split(key), split(value))
            latents = latents + dense(self.dim, f"layers_{i}_out")(out.reshape(batch, -1, inner))
            up, gate = jnp.split(dense(2 * hidden, f"layers_{i}_up", bias=True)(latents), 2, axis=-1)
            down = dense(self.dim, f"layers_{i}_down", bias=True)
            latents = latents + down(nn.gelu(gate, approximate=False) * up)
        scale = self.param("scale", logical(nn.initializers.ones, "norm"), (self.dim,))
        return unit(latents.astype(jnp.float32)) * self.dim**0.5 * scale


class SpeakerEncoder(nn.Module):
    """Mel frames to global tokens, and those to a speaker embedding (d-vector)."""

    cfg: SpeakerConfig
    dtype: Any = jnp.float32

    def setup(self):
        """Creates the submodules and parameters."""
        cfg = self.cfg
        self.fsq = FSQ(cfg.levels)
        self.ecapa = EcapaTdnn(cfg, self.dtype)
        self.resampler = PerceiverResampler(
            cfg.num_tokens, cfg.latent_dim, cfg.heads, cfg.head_dim, cfg.resampler_layers, self.dtype
        )
        self.project_in, self.project_out = Linear(len(cfg.levels)), Linear(cfg.latent_dim)
        self.project = Linear(cfg.out_dim)

    def encode(self, mel_BxTxF: jax.Array) -> jax.Array:
        """Global tokens (B, num_tokens) int32 of mel frames."""
        return self.fsq.encode(self.project_in(self.resampler(self.ecapa(mel_BxTxF))))

    def decode(self, tokens_BxN: jax.Array) -> jax.Array:
        """Speaker embedding (B, out_dim) of global tokens."""
        latents_BxNxD = self.project_out(self.fsq.decode(tokens_BxN))
        return self.project(latents_BxNxD.swapaxes(1, 2).reshape(len(tokens_BxN), -1))

    def x_vector(self, mel_BxTxF: jax.Array) -> jax.Array:
        """ECAPA-TDNN's speaker embedding (B, out_dim), which is not quantized."""
        return self.ecapa.embedding(self.ecapa(mel_BxTxF))

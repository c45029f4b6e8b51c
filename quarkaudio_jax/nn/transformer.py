"""Transformer layer of the H-Codecs: pre-norm RMSNorm, LSTM attention, SwiGLU."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from quarkaudio_jax.nn.attention import LSTMAttention
from quarkaudio_jax.nn.dropout import dropout
from quarkaudio_jax.nn.linear import Linear
from quarkaudio_jax.nn.norm import RMSNorm


class SwiGLU(nn.Module):
    """Gated MLP without biases: w2(silu(w1 x) * w3 x) (arXiv:2002.05202). dropout: rate of the hidden values."""

    hidden: int
    torch_init: bool = False
    dtype: Any = jnp.float32
    dropout: float = 0.0

    @nn.compact
    def __call__(self, x_BxTxD: jax.Array) -> jax.Array:
        kwargs = dict(use_bias=False, dtype=self.dtype, torch_init=self.torch_init)
        gate = Linear(self.hidden, **kwargs, name="gate")(x_BxTxD)
        up = Linear(self.hidden, **kwargs, name="up")(x_BxTxD)
        down = Linear(x_BxTxD.shape[-1], **kwargs, axes=("mlp", "embed"), name="down")
        return down(dropout(self, nn.silu(gate) * up, self.dropout))


class TransformerBlock(nn.Module):
    """Pre-norm layer of LSTM attention and SwiGLU with residuals. (B, T, D) -> same."""

    num_heads: int
    hidden: int
    causal: bool = False
    window: int | None = None
    torch_init: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x_BxTxD: jax.Array, mask_BxT: jax.Array | None = None) -> jax.Array:
        attention = LSTMAttention(
            self.num_heads, self.causal, self.window, self.torch_init, self.dtype, name="attention"
        )
        x = x_BxTxD + attention(RMSNorm(dtype=self.dtype, name="attention_norm")(x_BxTxD), mask_BxT)
        mlp = SwiGLU(self.hidden, self.torch_init, self.dtype, name="mlp")
        return x + mlp(RMSNorm(dtype=self.dtype, name="mlp_norm")(x))

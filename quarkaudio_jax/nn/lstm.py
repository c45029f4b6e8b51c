"""Unidirectional LSTM layer in PyTorch's parametrisation."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from quarkaudio_jax.nn.init import logical, torch_bias
from quarkaudio_jax.nn.partition import gathered


def lstm(gates_BxTx4H: jax.Array, w_hh_Hx4H: jax.Array) -> jax.Array:
    """Runs the recurrence from a zero state; the input's share of the gates is given.

    Gates are ordered input, forget, cell, output (PyTorch's nn.LSTM). The cell state stays
    float32. Returns (B, T, H).
    """
    batch, hidden = gates_BxTx4H.shape[0], w_hh_Hx4H.shape[0]

    def step(carry, gates_Bx4H):
        h, c = carry
        i, f, g, o = jnp.split((gates_Bx4H + h @ w_hh_Hx4H).astype(jnp.float32), 4, axis=-1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = (jax.nn.sigmoid(o) * jnp.tanh(c)).astype(gates_Bx4H.dtype)
        return (h, c), h

    init = (jnp.zeros((batch, hidden), gates_BxTx4H.dtype), jnp.zeros((batch, hidden), jnp.float32))
    return jax.lax.scan(step, init, gates_BxTx4H.swapaxes(0, 1))[1].swapaxes(0, 1)


class LSTM(nn.Module):
    """One LSTM layer with both of PyTorch's biases, so that weights travel both ways unchanged. (B, T, D) -> (B, T, D)."""

    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x_BxTxD: jax.Array) -> jax.Array:
        dim = x_BxTxD.shape[-1]
        init = torch_bias(dim)
        w_ih = self.param("w_ih", logical(init, "embed", "mlp"), (dim, 4 * dim))
        w_hh = self.param("w_hh", logical(init, "embed", "mlp"), (dim, 4 * dim))
        b_ih = self.param("b_ih", logical(init, "mlp"), (4 * dim,))
        b_hh = self.param("b_hh", logical(init, "mlp"), (4 * dim,))
        w_ih, w_hh = (gathered(w.astype(self.dtype), ("embed", "mlp")) for w in (w_ih, w_hh))
        gates = x_BxTxD.astype(self.dtype) @ w_ih + (b_ih + b_hh).astype(self.dtype)
        return lstm(gates, w_hh)

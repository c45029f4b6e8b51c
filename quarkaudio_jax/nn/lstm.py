"""Unidirectional LSTM layer in PyTorch's parametrization."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from quarkaudio_jax.nn.init import logical, torch_bias
from quarkaudio_jax.sharding.partition import gathered


@jax.custom_vjp
def lstm(gates_BxTx4H: jax.Array, w_hh_Hx4H: jax.Array) -> jax.Array:
    """Runs the recurrence from a zero state, (B, T, 4H) -> (B, T, H); gates_BxTx4H: the input's part of the gates.

    Gates are ordered input, forget, cell, output (PyTorch's nn.LSTM). The cell state stays float32. The gradient of the
    weights is one matmul over all steps, instead of a sum that every step would read and write.
    """
    return _forward(gates_BxTx4H, w_hh_Hx4H)[0]


def _gates(z_Bx4H: jax.Array) -> tuple[jax.Array, ...]:
    """Input, forget, cell and output gate, float32."""
    i, f, g, o = jnp.split(z_Bx4H.astype(jnp.float32), 4, axis=-1)
    return jax.nn.sigmoid(i), jax.nn.sigmoid(f), jnp.tanh(g), jax.nn.sigmoid(o)


def _forward(gates_BxTx4H, w_hh_Hx4H):
    batch, hidden, dtype = gates_BxTx4H.shape[0], w_hh_Hx4H.shape[0], gates_BxTx4H.dtype

    def step(carry, gates_Bx4H):
        h, c = carry
        z = gates_Bx4H + h @ w_hh_Hx4H
        i, f, g, o = _gates(z)
        c = f * c + i * g
        h = (o * jnp.tanh(c)).astype(dtype)
        return (h, c), (h, c, z)

    init = (jnp.zeros((batch, hidden), dtype), jnp.zeros((batch, hidden), jnp.float32))
    h_TxBxH, c_TxBxH, z_TxBx4H = jax.lax.scan(step, init, gates_BxTx4H.swapaxes(0, 1))[1]
    return h_TxBxH.swapaxes(0, 1), (h_TxBxH, c_TxBxH, z_TxBx4H, w_hh_Hx4H)


def _backward(residuals, dout_BxTxH):
    h_TxBxH, c_TxBxH, z_TxBx4H, w_hh_Hx4H = residuals

    def previous(x_TxBxH: jax.Array) -> jax.Array:
        return jnp.concatenate([jnp.zeros_like(x_TxBxH[:1]), x_TxBxH[:-1]])

    def step(carry, inputs):
        dh, dc = carry
        z, c, c_previous, dout = inputs
        i, f, g, o = _gates(z)
        t = jnp.tanh(c)
        dh = dh + dout.astype(jnp.float32)
        dc = dc + dh * o * (1 - t * t)
        gradients = (dc * g * i * (1 - i), dc * c_previous * f * (1 - f), dc * i * (1 - g * g), dh * t * o * (1 - o))
        dz = jnp.concatenate(gradients, axis=-1).astype(z.dtype)
        return ((dz @ w_hh_Hx4H.T).astype(jnp.float32), dc * f), dz

    init = (jnp.zeros(c_TxBxH.shape[1:], jnp.float32),) * 2
    inputs = (z_TxBx4H, c_TxBxH, previous(c_TxBxH), dout_BxTxH.swapaxes(0, 1))
    dz_TxBx4H = jax.lax.scan(step, init, inputs, reverse=True)[1]
    dw = jnp.einsum("tbh,tbg->hg", previous(h_TxBxH), dz_TxBx4H, preferred_element_type=jnp.float32)
    return dz_TxBx4H.swapaxes(0, 1), dw.astype(w_hh_Hx4H.dtype)


lstm.defvjp(_forward, _backward)


class LSTM(nn.Module):
    """One LSTM layer, (B, T, D) -> (B, T, D), with both biases of PyTorch's, so that its weights convert unchanged."""

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

"""Dense layer with logical axes."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from quarkaudio_jax.nn.init import kernel_and_bias, logical
from quarkaudio_jax.sharding.partition import constrain, gathered


class Linear(nn.Module):
    """x @ kernel + bias, with kernel (in, out): float32 parameters, computed in `dtype`. zero_init: begin with zeros."""

    features: int
    use_bias: bool = True
    dtype: Any = jnp.float32
    torch_init: bool = False
    axes: Sequence[str | None] = ("embed", "mlp")
    zero_init: bool = False

    def kernel(self) -> jax.Array:
        """The initialized kernel in the form that `__call__` uses."""
        return self._prepared(nn.meta.unbox(self.variables["params"]["kernel"]))

    def _prepared(self, kernel: jax.Array) -> jax.Array:
        return gathered(kernel.astype(self.dtype), self.axes)

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        kernel_init, bias_init = kernel_and_bias(self.torch_init, x.shape[-1])
        if self.zero_init:
            kernel_init = bias_init = nn.initializers.zeros
        kernel = self.param("kernel", logical(kernel_init, *self.axes), (x.shape[-1], self.features))
        # Keeps batches sharded: XLA may otherwise shard the contraction and hold the full batch on every device.
        inner = [None] * (x.ndim - 2) + [None if self.axes[0] == "embed" else self.axes[0]]
        x = constrain(x.astype(self.dtype), "batch", *inner) if x.ndim > 1 else x.astype(self.dtype)
        out = x @ self._prepared(kernel)
        if self.use_bias:
            bias = self.param("bias", logical(bias_init, self.axes[-1]), (self.features,))
            out = out + bias.astype(self.dtype)
        return out

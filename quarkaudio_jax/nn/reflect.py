"""Weight-normalized convolution with reflection padding, channel-last (EnCodec, arXiv:2210.13438)."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from quarkaudio_jax.nn.init import logical, torch_bias, torch_kernel
from quarkaudio_jax.sharding.partition import constrain, gathered
from quarkaudio_jax.types import ceil_div


def reflect_pad(x_BxTxC: jax.Array, left: int, right: int, lengths_B: jax.Array | None = None) -> jax.Array:
    """Reflects `left` frames at the start and `right` at each item's end, without repeating the edge.

    An input no longer than the padding is zero-padded first. With `lengths_B` each item is reflected at its own end, and
    must be longer than the padding.
    """
    length = x_BxTxC.shape[1]
    if lengths_B is None:
        short = max(max(left, right) - length + 1, 0)
        x_BxTxC = jnp.pad(x_BxTxC, ((0, 0), (0, short), (0, 0)))
        x_BxTxC = jnp.pad(x_BxTxC, ((0, 0), (left, right), (0, 0)), mode="reflect")
        return x_BxTxC[:, : length + left + right]
    time_T = jnp.arange(length + right)
    last_Bx1 = lengths_B[:, None] - 1
    source_BxT = jnp.where(time_T <= last_Bx1, time_T, jnp.clip(2 * last_Bx1 - time_T, 0, length - 1))
    x_BxTxC = jnp.take_along_axis(x_BxTxC, source_BxT[..., None], axis=1)
    return jnp.pad(x_BxTxC, ((0, 0), (left, 0), (0, 0)), mode="reflect")


class ReflectConv1d(nn.Module):
    """Weight-normalized convolution, (B, T, C) -> (B, ceil(T / stride), features).

    Reflection padding of k - stride frames, half on each side (the odd one on the left; all on the left if `causal`), plus
    the rest of the last stride on the right. kernel = g v / |v| per output channel, no eps (arXiv:1602.07868).
    """

    features: int
    kernel_size: int
    stride: int = 1
    causal: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x_BxTxC: jax.Array, lengths_B: jax.Array | None = None) -> jax.Array:
        shape = (self.kernel_size, x_BxTxC.shape[-1], self.features)
        axes = ("kernel", "embed", "mlp")
        v = self.param("v", logical(torch_kernel, *axes), shape)
        norm = jnp.sqrt(jnp.square(v).sum((0, 1)))
        start = jax.lax.stop_gradient(norm)
        g = self.param("g", logical(lambda key, shape, dtype=jnp.float32: start, "mlp"), (self.features,))
        bias = self.param("bias", logical(torch_bias(shape[0] * shape[1]), "mlp"), (self.features,))
        total, length = self.kernel_size - self.stride, x_BxTxC.shape[1]
        right = 0 if self.causal else total // 2
        extra = ceil_div(length, self.stride) * self.stride - length
        x = constrain(x_BxTxC, "batch").astype(self.dtype)
        out = jax.lax.conv_general_dilated(
            reflect_pad(x, total - right, right + extra, lengths_B),
            gathered((v * (g / norm)).astype(self.dtype), axes),
            window_strides=(self.stride,),
            padding="VALID",
            dimension_numbers=("NWC", "WIO", "NWC"),
        )
        return out + bias.astype(self.dtype)

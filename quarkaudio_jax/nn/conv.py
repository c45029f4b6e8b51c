"""Convolutions over time, channel-last: (B, T, C)."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from quarkaudio_jax.nn.init import kernel_and_bias, logical, trunc_normal
from quarkaudio_jax.nn.stft import overlap_add


def zero_invalid(x_BxTxC: jax.Array, mask_BxT: jax.Array | None) -> jax.Array:
    """Sets frames outside the mask to 0, so that a convolution sees what it sees at an item's true end."""
    return x_BxTxC if mask_BxT is None else jnp.where(mask_BxT[..., None], x_BxTxC, 0)


def depthwise_conv(x_BxTxC: jax.Array, kernel_KxC: jax.Array, padding: tuple[int, int]) -> jax.Array:
    """Depthwise convolution as a sum of shifted products (a grouped convolution is far slower on CPU and TPU)."""
    x_BxTxC = jnp.pad(x_BxTxC, ((0, 0), padding, (0, 0)))
    out_len = x_BxTxC.shape[1] - kernel_KxC.shape[0] + 1
    return sum(x_BxTxC[:, k : k + out_len] * kernel_KxC[k] for k in range(kernel_KxC.shape[0]))


class Conv1d(nn.Module):
    """Convolution over time, zero-padded by `padding` (default: (k - 1) // 2 on both sides)."""

    features: int
    kernel_size: int
    stride: int = 1
    padding: tuple[int, int] | None = None
    dilation: int = 1
    use_bias: bool = True
    dtype: Any = jnp.float32
    torch_init: bool = False
    axes: Sequence[str | None] = ("kernel", "embed", "mlp")

    @nn.compact
    def __call__(self, x_BxTxC: jax.Array, mask_BxT: jax.Array | None = None) -> jax.Array:
        shape = (self.kernel_size, x_BxTxC.shape[-1], self.features)
        kernel_init, bias_init = kernel_and_bias(self.torch_init, shape[0] * shape[1])
        kernel = self.param("kernel", logical(kernel_init, *self.axes), shape)
        side = self.dilation * (self.kernel_size - 1) // 2
        out = jax.lax.conv_general_dilated(
            zero_invalid(x_BxTxC, mask_BxT).astype(self.dtype),
            kernel.astype(self.dtype),
            window_strides=(self.stride,),
            padding=[self.padding or (side, side)],
            rhs_dilation=(self.dilation,),
            dimension_numbers=("NWC", "WIO", "NWC"),
        )
        if self.use_bias:
            bias = self.param("bias", logical(bias_init, self.axes[-1]), (self.features,))
            out = out + bias.astype(self.dtype)
        return out


class DepthwiseConv1d(nn.Module):
    """Depthwise convolution over time with an odd kernel and zero padding on both sides."""

    kernel_size: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x_BxTxC: jax.Array, mask_BxT: jax.Array | None = None) -> jax.Array:
        channels = x_BxTxC.shape[-1]
        kernel = self.param("kernel", logical(trunc_normal, "kernel", "embed"), (self.kernel_size, channels))
        bias = self.param("bias", logical(nn.initializers.zeros, "embed"), (channels,))
        side = self.kernel_size // 2
        x_BxTxC = zero_invalid(x_BxTxC, mask_BxT).astype(self.dtype)
        return depthwise_conv(x_BxTxC, kernel.astype(self.dtype), (side, side)) + bias.astype(self.dtype)


class ConvTranspose1d(nn.Module):
    """Transposed convolution that multiplies the length by `stride` exactly.

    Kernel 2 * stride, padding (stride + 1) // 2, output padding stride % 2, as PyTorch counts
    them. Computed as one matrix product and an overlap-add; the kernel is (k, in, out) in
    PyTorch's tap order (not flipped).
    """

    features: int
    stride: int
    dtype: Any = jnp.float32
    torch_init: bool = False

    @nn.compact
    def __call__(self, x_BxTxC: jax.Array, mask_BxT: jax.Array | None = None) -> jax.Array:
        size = 2 * self.stride
        shape = (size, x_BxTxC.shape[-1], self.features)
        # PyTorch counts a transposed convolution's fan_in on its output side.
        kernel_init, bias_init = kernel_and_bias(self.torch_init, size * self.features)
        kernel = self.param("kernel", logical(kernel_init, "kernel", "embed", "mlp"), shape)
        bias = self.param("bias", logical(bias_init, "mlp"), (self.features,))
        x_BxTxC = zero_invalid(x_BxTxC, mask_BxT).astype(self.dtype)
        taps = jnp.einsum("btc,kcd->btkd", x_BxTxC, kernel.astype(self.dtype))
        out = overlap_add(taps, self.stride)
        left = (self.stride + 1) // 2
        return out[:, left : left + x_BxTxC.shape[1] * self.stride] + bias.astype(self.dtype)

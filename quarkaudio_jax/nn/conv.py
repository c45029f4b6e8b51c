"""Convolutions over time, channel-last: (B, T, C)."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from quarkaudio_jax.nn.init import kernel_and_bias, logical
from quarkaudio_jax.nn.linear import Linear
from quarkaudio_jax.nn.stft import overlap_add
from quarkaudio_jax.sharding.partition import constrain, gathered
from quarkaudio_jax.types import ceil_div


def zero_invalid(x_BxTxC: jax.Array, mask_BxT: jax.Array | None) -> jax.Array:
    """Sets frames outside the mask to 0, the zero padding that a convolution has at an unpadded item's end."""
    return x_BxTxC if mask_BxT is None else jnp.where(mask_BxT[..., None], x_BxTxC, 0)


def depthwise_conv(x_BxTxC: jax.Array, kernel_KxC: jax.Array, padding: tuple[int, int], dilation: int = 1) -> jax.Array:
    """Depthwise convolution as a sum of shifted products (a grouped convolution is far slower on CPU and TPU)."""
    x_BxTxC = jnp.pad(x_BxTxC, ((0, 0), padding, (0, 0)))
    starts = range(0, kernel_KxC.shape[0] * dilation, dilation)
    out_len = x_BxTxC.shape[1] - starts[-1]
    terms = [x_BxTxC[:, start : start + out_len] * kernel_KxC[k] for k, start in enumerate(starts)]
    return sum(terms[1:], terms[0])


def folded_conv2d(x_BxHxWxC: jax.Array, kernel: jax.Array, strides: tuple[int, int]) -> jax.Array:
    """`conv2d` with strides and rows folded into channels, so that it and its gradients are dense and unstrided."""
    batch, channels, features = x_BxHxWxC.shape[0], x_BxHxWxC.shape[-1], kernel.shape[-1]
    counts, taps = [], []
    for axis, stride in zip((1, 2), strides, strict=True):
        size, length = kernel.shape[axis - 1], x_BxHxWxC.shape[axis]
        counts.append((length + size // 2 * 2 - size) // stride + 1)
        taps.append(ceil_div(size, stride))
        needed = (counts[-1] + taps[-1] - 1) * stride
        widths = [(0, 0)] * 4
        widths[axis] = (size // 2, max(needed - length - size // 2, 0))
        x_BxHxWxC = jax.lax.slice_in_dim(jnp.pad(x_BxHxWxC, widths), 0, needed, axis=axis)
        widths = [(0, 0)] * 4
        widths[axis - 1] = (0, taps[-1] * stride - size)
        kernel = jnp.pad(kernel, widths)
    (high, wide), (rows, columns), (sh, sw) = counts, taps, strides
    x = x_BxHxWxC.reshape(batch, high + rows - 1, sh, wide + columns - 1, sw, channels)
    x = x.transpose(0, 1, 3, 2, 4, 5).reshape(batch, high + rows - 1, wide + columns - 1, -1)
    x = jnp.concatenate([x[:, i : i + high] for i in range(rows)], axis=-1)
    kernel = kernel.reshape(rows, sh, columns, sw, channels, features)
    kernel = kernel.transpose(2, 0, 1, 3, 4, 5).reshape(columns, -1, features)
    out = jax.lax.conv_general_dilated(
        x.reshape(batch * high, *x.shape[2:]), kernel, (1,), "VALID", dimension_numbers=("NWC", "WIO", "NWC")
    )
    return out.reshape(batch, high, wide, features)


def conv2d(x_BxHxWxC: jax.Array, kernel: jax.Array, strides: tuple[int, int]) -> jax.Array:
    """Convolution with kernel (h, w, in, out), zero-padded by h // 2 and w // 2 on both sides.

    Uses `folded_conv2d` on CPU, where gradients of strided convolutions are slow.
    """

    def native(x, kernel):
        padding = [(k // 2, k // 2) for k in kernel.shape[:2]]
        dims = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(x, kernel, strides, padding, dimension_numbers=dims)

    def folded(x, kernel):
        return folded_conv2d(x, kernel, strides)

    return jax.lax.platform_dependent(x_BxHxWxC, kernel, cpu=folded, default=native)


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
            constrain(zero_invalid(x_BxTxC, mask_BxT), "batch").astype(self.dtype),
            gathered(kernel.astype(self.dtype), self.axes),
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
    """Depthwise convolution over time with an odd kernel and zero padding on both sides (`causal`: on the left)."""

    kernel_size: int
    causal: bool = False
    dtype: Any = jnp.float32
    dilation: int = 1
    torch_init: bool = False

    @nn.compact
    def __call__(self, x_BxTxC: jax.Array, mask_BxT: jax.Array | None = None) -> jax.Array:
        channels = x_BxTxC.shape[-1]
        kernel_init, bias_init = kernel_and_bias(self.torch_init, self.kernel_size)
        if self.torch_init:  # of which the fan-in of a depthwise kernel is its length
            kernel_init = bias_init
        kernel = self.param("kernel", logical(kernel_init, "kernel", "embed"), (self.kernel_size, channels))
        bias = self.param("bias", logical(bias_init, "embed"), (channels,))
        right = 0 if self.causal else self.kernel_size // 2
        padding = self.dilation * (self.kernel_size - 1 - right), self.dilation * right
        x_BxTxC = zero_invalid(x_BxTxC, mask_BxT).astype(self.dtype)
        out = depthwise_conv(x_BxTxC, kernel.astype(self.dtype), padding, self.dilation)
        return out + bias.astype(self.dtype)


class SubpixelConv1d(nn.Module):
    """Upsampling, (B, T, C) -> (B, T * stride, features): a linear layer to `stride` frames, a depthwise convolution.

    mask_BxT is at the output's rate.
    """

    features: int
    kernel_size: int
    stride: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x_BxTxC: jax.Array, mask_BxT: jax.Array | None = None) -> jax.Array:
        x = Linear(self.stride * self.features, dtype=self.dtype, name="up")(x_BxTxC)
        x = x.reshape(x.shape[0], -1, self.features)
        return DepthwiseConv1d(self.kernel_size, dtype=self.dtype, name="smooth")(x, mask_BxT)


class ConvTranspose1d(nn.Module):
    """Transposed convolution, (B, T, C) -> (B, T * stride, features), as one matmul and an overlap-add.

    kernel_size: default 2 * stride. padding: samples cut on the left, default (stride + 1) // 2, like PyTorch's with output
    padding stride % 2. The kernel is (k, in, out) in PyTorch's tap order (not flipped).
    """

    features: int
    stride: int
    kernel_size: int | None = None
    padding: int | None = None
    dtype: Any = jnp.float32
    torch_init: bool = False

    @nn.compact
    def __call__(self, x_BxTxC: jax.Array, mask_BxT: jax.Array | None = None) -> jax.Array:
        size = 2 * self.stride if self.kernel_size is None else self.kernel_size
        left = (self.stride + 1) // 2 if self.padding is None else self.padding
        shape = (size, x_BxTxC.shape[-1], self.features)
        # PyTorch computes a transposed convolution's fan_in from its output channels.
        kernel_init, bias_init = kernel_and_bias(self.torch_init, size * self.features)
        kernel = self.param("kernel", logical(kernel_init, "kernel", "embed", "mlp"), shape)
        bias = self.param("bias", logical(bias_init, "mlp"), (self.features,))
        x_BxTxC = constrain(zero_invalid(x_BxTxC, mask_BxT), "batch").astype(self.dtype)
        kernel = gathered(kernel.astype(self.dtype), ("kernel", "embed", "mlp"))
        taps = jnp.einsum("btc,kcd->btkd", x_BxTxC, kernel)
        out = overlap_add(taps, self.stride)
        return out[:, left : left + x_BxTxC.shape[1] * self.stride] + bias.astype(self.dtype)

"""Convolutions over time, channel-last: (B, T, C)."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from quarkaudio_jax.nn.init import kernel_and_bias, logical, trunc_normal
from quarkaudio_jax.nn.linear import Linear
from quarkaudio_jax.nn.partition import constrain, gathered
from quarkaudio_jax.nn.stft import overlap_add


def zero_invalid(x_BxTxC: jax.Array, mask_BxT: jax.Array | None) -> jax.Array:
    """Sets frames outside the mask to 0, so that a convolution sees what it sees at an item's true end."""
    return x_BxTxC if mask_BxT is None else jnp.where(mask_BxT[..., None], x_BxTxC, 0)


def depthwise_conv(x_BxTxC: jax.Array, kernel_KxC: jax.Array, padding: tuple[int, int]) -> jax.Array:
    """Depthwise convolution as a sum of shifted products (a grouped convolution is far slower on CPU and TPU)."""
    x_BxTxC = jnp.pad(x_BxTxC, ((0, 0), padding, (0, 0)))
    out_len = x_BxTxC.shape[1] - kernel_KxC.shape[0] + 1
    return sum(x_BxTxC[:, k : k + out_len] * kernel_KxC[k] for k in range(kernel_KxC.shape[0]))


def folded_conv2d(x_BxHxWxC: jax.Array, kernel: jax.Array, strides: tuple[int, int]) -> jax.Array:
    """`conv2d` with strides and rows folded into channels, so that it and its gradients are dense and unstrided."""
    batch, channels, features = x_BxHxWxC.shape[0], x_BxHxWxC.shape[-1], kernel.shape[-1]
    counts, taps = [], []
    for axis, stride in zip((1, 2), strides, strict=True):
        size, length = kernel.shape[axis - 1], x_BxHxWxC.shape[axis]
        counts.append((length + size // 2 * 2 - size) // stride + 1)
        taps.append(-(-size // stride))
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
    """Convolution with kernel (h, w, in, out), padded by h // 2 and w // 2 on both sides.

    On CPU, where the gradients of strided convolutions are slow, by `folded_conv2d`.
    """

    def native(x, kernel):
        padding = [(k // 2, k // 2) for k in kernel.shape[:2]]
        dims = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(x, kernel, strides, padding, dimension_numbers=dims)

    def folded(x, kernel):
        return folded_conv2d(x, kernel, strides)

    return jax.lax.platform_dependent(x_BxHxWxC, kernel, cpu=folded, default=native)


class Blocks(NamedTuple):
    """An image whose columns are gathered, `block` at a time, in the channels: dense where channels are few.

    values: (B, H, N, block * C), the channels of a column together; 0 beyond column `width`.
    """

    values: jax.Array
    width: int
    block: int

    @property
    def size(self) -> int:
        """Values of the image, without what only fills up the last block."""
        batch, height, _, channels = self.values.shape
        return batch * height * self.width * (channels // self.block)

    def map(self, fn: Callable[[jax.Array], jax.Array]) -> "Blocks":
        """With values changed one by one; 0 must stay 0."""
        return self._replace(values=fn(self.values))

    def joined(self, block: int) -> "Blocks":
        """In blocks of `block` columns, a multiple of the present ones."""
        batch, height, count, channels = self.values.shape
        if block == self.block:
            return self
        together, rest = divmod(block, self.block)
        if rest or count % together:
            raise ValueError(f"{count} blocks of {self.block} columns can't be joined to blocks of {block}")
        return Blocks(self.values.reshape(batch, height, -1, together * channels), self.width, block)

    def image(self) -> jax.Array:
        """(B, H, W, C)."""
        batch, height, _, channels = self.values.shape
        return self.values.reshape(batch, height, -1, channels // self.block)[:, :, : self.width]


def blocks_of(x_BxHxWxC: jax.Array, block: int) -> Blocks:
    """An image in blocks of `block` columns."""
    batch, height, width, channels = x_BxHxWxC.shape
    x = jnp.pad(x_BxHxWxC, ((0, 0), (0, 0), (0, -width % block), (0, 0)))
    return Blocks(x.reshape(batch, height, -1, block * channels), width, block)


def blocked_conv2d(
    x: Blocks, kernel: jax.Array, bias_C: jax.Array, stride: int, block: int, multiple: int = 1
) -> Blocks:
    """`conv2d`, with its stride along columns, from an image in blocks to one in blocks of `block`, and a bias.

    multiple: of how many columns the values should be at least. stride * block must be a multiple of x.block. The kernel (h, w, in, out) becomes one of
    blocks, most of whose entries are 0: products that are for nothing, but fill the unit that multiplies.
    """
    padding, width = kernel.shape[1] // 2, (x.width - 1) // stride + 1
    if x.block == block == multiple == 1:
        return Blocks(conv2d(x.values, kernel, (1, stride)) + bias_C, width, 1)
    step, rest = divmod(stride * block, x.block)
    if rest:
        raise ValueError(f"blocks of {block} columns, {stride} apart, do not begin with blocks of {x.block}")
    first, last = -padding // x.block, (stride * (block - 1) - padding + kernel.shape[1] - 1) // x.block
    tap, column, out, offset = np.indices((last - first + 1, x.block, block, kernel.shape[1]))
    chosen = (tap + first) * x.block + column + padding - stride * out == offset
    wide = jnp.einsum("ajot,htcd->hajcod", chosen.astype(kernel.dtype), kernel)
    wide = wide.reshape(kernel.shape[0], last - first + 1, x.values.shape[-1], -1)
    filled = math.lcm(block, multiple)
    count, rows = -(-width // filled) * filled // block, (kernel.shape[0] // 2,) * 2
    behind = step * (count - 1) + last - (x.values.shape[2] - 1)
    dims = ("NHWC", "HWIO", "NHWC")
    values = jax.lax.conv_general_dilated(x.values, wide, (1, step), (rows, (-first, behind)), dimension_numbers=dims)
    values = values + jnp.tile(bias_C, block)
    if width % filled:
        columns = np.arange(count * block).reshape(count, block).repeat(kernel.shape[-1], 1)
        values = jnp.where(columns < width, values, 0)
    return Blocks(values, width, block)


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

    @nn.compact
    def __call__(self, x_BxTxC: jax.Array, mask_BxT: jax.Array | None = None) -> jax.Array:
        channels = x_BxTxC.shape[-1]
        kernel = self.param("kernel", logical(trunc_normal, "kernel", "embed"), (self.kernel_size, channels))
        bias = self.param("bias", logical(nn.initializers.zeros, "embed"), (channels,))
        right = 0 if self.causal else self.kernel_size // 2
        x_BxTxC = zero_invalid(x_BxTxC, mask_BxT).astype(self.dtype)
        return depthwise_conv(x_BxTxC, kernel.astype(self.dtype), (self.kernel_size - 1 - right, right)) + bias.astype(
            self.dtype
        )


class SubpixelConv1d(nn.Module):
    """Upsampling: a linear layer makes `stride` frames of each, a depthwise convolution smooths them.

    (B, T, C) -> (B, T * stride, features). `mask_BxT` is at the output's rate.
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
        x_BxTxC = constrain(zero_invalid(x_BxTxC, mask_BxT), "batch").astype(self.dtype)
        kernel = gathered(kernel.astype(self.dtype), ("kernel", "embed", "mlp"))
        taps = jnp.einsum("btc,kcd->btkd", x_BxTxC, kernel)
        out = overlap_add(taps, self.stride)
        left = (self.stride + 1) // 2
        return out[:, left : left + x_BxTxC.shape[1] * self.stride] + bias.astype(self.dtype)

"""Images with blocks of columns folded into channels: dense on TPUs, whose memory layout has 128 channels.

A convolution of blocks computes the same as an ordinary one, with a kernel most of whose entries may be 0: zero-padded
products that keep the MXU full.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from quarkaudio_jax.nn.conv import conv2d
from quarkaudio_jax.types import ceil_div, round_up


class Blocks(NamedTuple):
    """An image (B, H, W, C) as values (B, H, N, block * C), the channels of a column next to each other.

    The image has `width` columns, from column `before` on; the other columns are 0.
    """

    values: jax.Array
    width: int
    block: int
    before: int = 0

    @property
    def size(self) -> int:
        """Number of values of the image, without padding."""
        batch, height, _, channels = self.values.shape
        return batch * height * self.width * (channels // self.block)

    def map(self, fn: Callable[[jax.Array], jax.Array]) -> "Blocks":
        """Applies an elementwise function, which must map 0 to 0."""
        return self._replace(values=fn(self.values))

    def merge(self, block: int) -> "Blocks":
        """Merges to blocks of `block` columns; ValueError unless the present blocks divide evenly into them."""
        batch, height, count, channels = self.values.shape
        if block == self.block:
            return self
        factor, rest = divmod(block, self.block)
        if rest or count % factor:
            raise ValueError(f"{count} blocks of {self.block} columns can't be merged to blocks of {block}")
        values = self.values.reshape(batch, height, -1, factor * channels)
        return self._replace(values=values, block=block)

    def image(self) -> jax.Array:
        """The image (B, H, W, C)."""
        batch, height, _, channels = self.values.shape
        columns = self.values.reshape(batch, height, -1, channels // self.block)
        return columns[:, :, self.before : self.before + self.width]


def to_blocks(x_BxHxWxC: jax.Array, block: int) -> Blocks:
    """Folds an image into blocks of `block` columns."""
    batch, height, width, channels = x_BxHxWxC.shape
    x = jnp.pad(x_BxHxWxC, ((0, 0), (0, 0), (0, -width % block), (0, 0)))
    return Blocks(x.reshape(batch, height, -1, block * channels), width, block)


def blocked_conv2d(
    x: Blocks,
    kernel: jax.Array,
    bias_C: jax.Array,
    stride: int,
    block: int = 1,
    before: int = 0,
    multiple: int = 1,
) -> Blocks:
    """`conv2d` with a stride along columns and a bias, from an image in blocks to one in blocks of `block`.

    kernel: (h, w, in, out). before: empty columns before the output, a multiple of block. multiple: the number of columns
    of the output's values is a multiple of it. ValueError unless stride * block is a multiple of x.block.
    """
    size, padding, width = kernel.shape[1], kernel.shape[1] // 2, ceil_div(x.width, stride)
    if x.block == block == multiple == 1 and not x.before and not before:
        return Blocks(conv2d(x.values, kernel, (1, stride)) + bias_C, width, 1)
    step, rest = divmod(stride * block, x.block)
    if rest:
        raise ValueError(f"blocks of {block} columns, {stride} apart, do not begin with blocks of {x.block}")
    # Column `out` of an output block multiplies column `offset` of the kernel with column `column` of the input block
    # that is `first + tap` blocks further.
    shift = x.before - padding - stride * before
    first, last = shift // x.block, (shift + stride * (block - 1) + size - 1) // x.block
    tap, column, out, offset = np.indices((last - first + 1, x.block, block, size))
    connected = (tap + first) * x.block + column == shift + stride * out + offset
    wide = jnp.einsum("ajot,htcd->hajcod", connected.astype(kernel.dtype), kernel)
    wide = wide.reshape(kernel.shape[0], last - first + 1, x.values.shape[-1], -1)
    columns = round_up(before + width, math.lcm(block, multiple))
    rows, after = (kernel.shape[0] // 2,) * 2, step * (columns // block - 1) + last - (x.values.shape[2] - 1)
    dims = ("NHWC", "HWIO", "NHWC")
    values = jax.lax.conv_general_dilated(x.values, wide, (1, step), (rows, (-first, after)), dimension_numbers=dims)
    values = values + jnp.tile(bias_C, block)
    if columns != width:
        inside = (before <= np.arange(columns)) & (np.arange(columns) < before + width)
        values = jnp.where(inside.reshape(-1, block).repeat(kernel.shape[-1], 1), values, 0)
    return Blocks(values, width, block, before)

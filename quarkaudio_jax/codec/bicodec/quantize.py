"""BiCodec's two quantizers: a factorized codebook for frames, finite scalar quantization for the speaker embedding."""

import dataclasses
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from quarkaudio_jax.nn.init import logical
from quarkaudio_jax.nn.linear import Linear


def unit(x: jax.Array, eps: float = 1e-12) -> jax.Array:
    """Normalizes to unit Euclidean norm over the last axis; norms count as at least `eps`."""
    return x / jnp.maximum(jnp.sqrt(jnp.square(x).sum(-1, keepdims=True)), eps)


class FactorizedQuantizer(nn.Module):
    """A low-dimensional codebook with lookup by cosine similarity (Improved VQGAN, arXiv:2110.04627; DAC)."""

    dim: int
    codebook_size: int
    codebook_dim: int

    def setup(self):
        """Creates the submodules and parameters."""
        self.project_in, self.project_out = Linear(self.codebook_dim), Linear(self.dim)
        self.codebook_VxD = self.param(
            "codebook", logical(nn.initializers.normal(1.0), "vocab", None), (self.codebook_size, self.codebook_dim)
        )

    def encode(self, x_BxTxD: jax.Array) -> jax.Array:
        """Codes (B, T) int32 of frames (B, T, D)."""
        x, book_VxD = unit(self.project_in(x_BxTxD)), unit(self.codebook_VxD)
        distance = jnp.square(x).sum(-1, keepdims=True) - 2 * (x @ book_VxD.T) + jnp.square(book_VxD).sum(-1)
        return distance.argmin(-1).astype(jnp.int32)

    def decode(self, codes_BxT: jax.Array) -> jax.Array:
        """Frames (B, T, D) of codes."""
        return self.project_out(self.codebook_VxD[codes_BxT])


@dataclasses.dataclass(frozen=True)
class FSQ:
    """Finite scalar quantization (arXiv:2309.15505): dimension i is rounded to one of levels[i] values."""

    levels: tuple[int, ...]

    @property
    def codebook_size(self) -> int:
        """Number of codes."""
        return math.prod(self.levels)

    @property
    def _basis(self) -> np.ndarray:
        return np.cumprod((1, *self.levels[:-1])).astype(np.int32)

    @property
    def _half(self) -> np.ndarray:
        return np.asarray(self.levels, np.int32) // 2

    def encode(self, x: jax.Array) -> jax.Array:
        """(..., len(levels)) -> int32 codes."""
        levels = np.asarray(self.levels, np.int32)
        half = (levels - 1).astype(np.float32) * np.float32(1 + 1e-3) / np.float32(2)
        offset = np.where(levels % 2 == 0, np.float32(0.5), np.float32(0))
        bounded = jnp.tanh(x + np.arctanh(offset / half)) * half - offset
        return ((jnp.round(bounded).astype(jnp.int32) + self._half) * self._basis).sum(-1)

    def decode(self, codes: jax.Array) -> jax.Array:
        """int32 codes -> (..., len(levels)) in [-1, 1]."""
        levels = (codes[..., None] // self._basis) % np.asarray(self.levels, np.int32)
        return (levels - self._half).astype(jnp.float32) / self._half.astype(np.float32)

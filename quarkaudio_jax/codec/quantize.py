"""Residual vector quantization with EMA codebooks.

Follows `ResidualVQ` of vector-quantize-pytorch 1.22, with which H-Codec is trained: EMA codebooks (arXiv:1711.00937, appendix
A.1), k-means initialization and quantizer dropout (SoundStream, arXiv:2107.03312), the rotation trick (arXiv:2410.06424).
Distances and statistics are float32. Under jit with sharded inputs, sums are over the global batch.
"""

import dataclasses
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

HIGHEST = jax.lax.Precision.HIGHEST


@dataclasses.dataclass(frozen=True)
class QuantizerConfig:
    """Shape of a residual VQ, and constants of its EMA statistics."""

    num_codebooks: int
    codebook_size: int
    dim: int
    decay: float = 0.99
    eps: float = 1e-5
    kmeans_iters: int = 50


@dataclasses.dataclass(frozen=True)
class QuantizerRules:
    """How a residual VQ is trained; the defaults are in `config.CodecConfig`.

    rotation_trick: False uses the straight-through gradient. dropout: use a random number of codebooks per batch.
    revive_below: replace codes whose EMA cluster size falls below it by random vectors of the batch (0: never; ours).
    """

    rotation_trick: bool
    dropout: bool
    revive_below: float


class Codebooks(NamedTuple):
    """State of a residual VQ; the leading axis is the codebook. embed_KxVxD: the code vectors."""

    embed_KxVxD: jax.Array
    cluster_size_KxV: jax.Array
    embed_avg_KxVxD: jax.Array


class Quantized(NamedTuple):
    """Result of a training pass.

    commit_loss_K: mean squared error per codebook, 0 where dropped. codes_BxTxK: -1 where dropped or masked.
    """

    quantized_BxTxD: jax.Array
    codes_BxTxK: jax.Array
    commit_loss_K: jax.Array


def random_codebooks(cfg: QuantizerConfig, key: jax.Array) -> Codebooks:
    """Codebooks before k-means: small random vectors, with cluster sizes of 1."""
    shape = (cfg.num_codebooks, cfg.codebook_size, cfg.dim)
    embed = jax.random.normal(key, shape, jnp.float32) * cfg.dim**-0.5
    return Codebooks(embed, jnp.ones(shape[:2], jnp.float32), embed)


def nearest(x_NxD: jax.Array, embed_VxD: jax.Array) -> jax.Array:
    """Index of the nearest code vector (Euclidean), int32; the first on ties."""
    cross_NxV = jnp.matmul(x_NxD, embed_VxD.T, precision=HIGHEST)
    return jnp.argmin(jnp.square(embed_VxD).sum(-1) - 2 * cross_NxV, axis=-1).astype(jnp.int32)


@jax.custom_vjp
def rotate_to(x: jax.Array, e: jax.Array) -> jax.Array:
    """Returns `e`; the gradient reaches `x` as if e were a rotation and scaling of x (arXiv:2410.06424)."""
    return e


def _rotate_fwd(x, e):
    return e, (x, e)


def _rotate_bwd(residuals, g):
    x, e = residuals
    norm_x = jnp.linalg.norm(x, axis=-1, keepdims=True)
    norm_e = jnp.linalg.norm(e, axis=-1, keepdims=True)
    u, q = x / jnp.maximum(norm_x, 1e-6), e / jnp.maximum(norm_e, 1e-6)
    w = u + q
    w = w / jnp.maximum(jnp.linalg.norm(w, axis=-1, keepdims=True), 1e-6)

    def dot(a, b):
        return (a * b).sum(-1, keepdims=True)

    grad = norm_e / jnp.maximum(norm_x, 1e-6) * (g - 2 * dot(g, w) * w + 2 * dot(g, q) * u)
    return grad, jnp.zeros_like(e)


rotate_to.defvjp(_rotate_fwd, _rotate_bwd)


def encode(embed_KxVxD: jax.Array, x_BxTxD: jax.Array) -> jax.Array:
    """Codes of `x`, (B, T, K) int32: each codebook quantizes the residual of the previous ones."""
    x_NxD = x_BxTxD.astype(jnp.float32).reshape(-1, x_BxTxD.shape[-1])

    def step(residual_NxD, embed_VxD):
        codes_N = nearest(residual_NxD, embed_VxD)
        return residual_NxD - embed_VxD[codes_N], codes_N

    _, codes_KxN = jax.lax.scan(step, x_NxD, embed_KxVxD)
    return codes_KxN.T.reshape(*x_BxTxD.shape[:2], -1)


def decode(embed_KxVxD: jax.Array, codes_BxTxK: jax.Array) -> jax.Array:
    """Sum of the code vectors, (B, T, D). Negative codes count as 0; fewer codebooks than K are allowed."""

    def step(total, codebook):
        embed_VxD, codes_BxT = codebook
        return total + jnp.where(codes_BxT[..., None] >= 0, embed_VxD[codes_BxT], 0.0), None

    num_codebooks = codes_BxTxK.shape[-1]
    zeros = jnp.zeros((*codes_BxTxK.shape[:2], embed_KxVxD.shape[-1]), embed_KxVxD.dtype)
    return jax.lax.scan(step, zeros, (embed_KxVxD[:num_codebooks], jnp.moveaxis(codes_BxTxK, -1, 0)))[0]


def _ema_update(cfg: QuantizerConfig, book: Codebooks, x_NxD, codes_N, weight_N) -> Codebooks:
    """One codebook after an EMA step of its cluster sizes and sums."""
    onehot_NxV = jax.nn.one_hot(codes_N, cfg.codebook_size, dtype=jnp.float32) * weight_N[:, None]
    sums_VxD = jnp.matmul(onehot_NxV.T, x_NxD, precision=HIGHEST)
    rate = 1 - cfg.decay
    size_V = book.cluster_size_KxV + rate * (onehot_NxV.sum(0) - book.cluster_size_KxV)
    avg_VxD = book.embed_avg_KxVxD + rate * (sums_VxD - book.embed_avg_KxVxD)
    total = size_V.sum()
    smoothed_V = (size_V + cfg.eps) / (total + cfg.codebook_size * cfg.eps) * total
    return Codebooks(avg_VxD / smoothed_V[:, None], size_V, avg_VxD)


def _weights(x_NxD: jax.Array, mask_BxT: jax.Array | None) -> jax.Array:
    """(N,): 1 for valid rows, else 0."""
    return jnp.ones(len(x_NxD), jnp.float32) if mask_BxT is None else mask_BxT.astype(jnp.float32).reshape(-1)


def _sample_valid(key, x_NxD, weight_N, count: int) -> jax.Array:
    """`count` random valid rows, which repeat only if there are fewer."""
    order_N = jnp.argsort(jnp.where(weight_N > 0, jax.random.uniform(key, weight_N.shape, jnp.float32), 2.0))
    num_valid = jnp.maximum((weight_N > 0).sum(), 1)
    return x_NxD[order_N[jnp.arange(count) % num_valid]]


def _revive(revive_below: float, book: Codebooks, key, x_NxD, weight_N) -> Codebooks:
    """Replaces codes whose cluster is smaller than `revive_below` by random vectors of the batch."""
    dead_V = book.cluster_size_KxV < revive_below
    fresh_VxD = _sample_valid(key, x_NxD, weight_N, len(dead_V))
    return Codebooks(
        jnp.where(dead_V[:, None], fresh_VxD, book.embed_KxVxD),
        jnp.where(dead_V, revive_below, book.cluster_size_KxV),
        jnp.where(dead_V[:, None], fresh_VxD * revive_below, book.embed_avg_KxVxD),
    )


def quantize_and_update(
    cfg: QuantizerConfig,
    rules: QuantizerRules,
    books: Codebooks,
    x_BxTxD: jax.Array,
    key: jax.Array,
    mask_BxT: jax.Array | None = None,
) -> tuple[Quantized, Codebooks]:
    """Quantizes x_BxTxD (float32) with the given books, and returns them updated.

    mask_BxT: valid frames; others are excluded from losses and statistics. key: for quantizer dropout and the revival of
    dead codes.
    """
    x_NxD = x_BxTxD.astype(jnp.float32).reshape(-1, cfg.dim)
    weight_N = _weights(x_NxD, mask_BxT)
    count = jnp.maximum(weight_N.sum(), 1.0)
    cut_key, revive_key = jax.random.split(key)
    cut = jax.random.randint(cut_key, (), 0, cfg.num_codebooks) if rules.dropout else cfg.num_codebooks
    revive_keys = jax.random.split(revive_key, cfg.num_codebooks)

    def step(carry, inputs):
        residual, total = carry
        index, book, key = inputs
        active = index <= cut
        codes_N = nearest(jax.lax.stop_gradient(residual), book.embed_KxVxD)
        code_NxD = jax.lax.stop_gradient(book.embed_KxVxD[codes_N])
        loss = (jnp.square(residual - code_NxD).mean(-1) * weight_N).sum() / count
        if rules.rotation_trick:
            passed = rotate_to(residual, code_NxD)
        else:
            passed = residual + jax.lax.stop_gradient(code_NxD - residual)
        detached = jax.lax.stop_gradient(residual)
        new_book = _ema_update(cfg, book, detached, codes_N, weight_N)
        if rules.revive_below > 0:
            new_book = _revive(rules.revive_below, new_book, key, detached, weight_N)
        new_book = jax.tree.map(lambda new, old: jnp.where(active, new, old), new_book, book)
        carry = (jnp.where(active, residual - code_NxD, residual), jnp.where(active, total + passed, total))
        return carry, (jnp.where(active, codes_N, -1), jnp.where(active, loss, 0.0), new_book)

    inputs = (jnp.arange(cfg.num_codebooks), books, revive_keys)
    (_, total), (codes_KxN, loss_K, books) = jax.lax.scan(step, (x_NxD, jnp.zeros_like(x_NxD)), inputs)
    codes_BxTxK = codes_KxN.T.reshape(*x_BxTxD.shape[:2], -1)
    if mask_BxT is not None:
        codes_BxTxK = jnp.where(mask_BxT[..., None], codes_BxTxK, -1)
    books = jax.tree.map(jax.lax.stop_gradient, books)
    return Quantized(total.reshape(x_BxTxD.shape), codes_BxTxK, loss_K), books


def kmeans_codebooks(
    cfg: QuantizerConfig, x_BxTxD: jax.Array, key: jax.Array, mask_BxT: jax.Array | None = None
) -> Codebooks:
    """Codebooks by k-means of each residual in turn, with `kmeans_iters` Lloyd steps.

    Centers are initialized with random valid vectors; an empty cluster keeps its center.
    """
    x_NxD = x_BxTxD.astype(jnp.float32).reshape(-1, cfg.dim)
    weight_N = _weights(x_NxD, mask_BxT)

    def kmeans(residual_NxD, key):
        def lloyd(_, state):
            means_VxD, _ = state
            codes_N = nearest(residual_NxD, means_VxD)
            onehot_NxV = jax.nn.one_hot(codes_N, cfg.codebook_size, dtype=jnp.float32) * weight_N[:, None]
            size_V = onehot_NxV.sum(0)
            sums_VxD = jnp.matmul(onehot_NxV.T, residual_NxD, precision=HIGHEST)
            new_VxD = sums_VxD / jnp.maximum(size_V, 1.0)[:, None]
            return jnp.where(size_V[:, None] > 0, new_VxD, means_VxD), size_V

        centers = _sample_valid(key, residual_NxD, weight_N, cfg.codebook_size)
        sizes = jnp.zeros(cfg.codebook_size, jnp.float32)
        means_VxD, size_V = jax.lax.fori_loop(0, cfg.kmeans_iters, lloyd, (centers, sizes))
        book = Codebooks(means_VxD, size_V, means_VxD * size_V[:, None])
        return residual_NxD - means_VxD[nearest(residual_NxD, means_VxD)], book

    return jax.lax.scan(kmeans, x_NxD, jax.random.split(key, cfg.num_codebooks))[1]


class ResidualVQ(nn.Module):
    """Module whose codebooks are variables of the `codebooks` collection."""

    cfg: QuantizerConfig

    def setup(self):
        """Creates the submodules and parameters."""
        self.books = self.variable("codebooks", "books", lambda: random_codebooks(self.cfg, self.make_rng("params")))

    def encode(self, x_BxTxD: jax.Array) -> jax.Array:
        """(B, T, D) -> codes (B, T, K)."""
        return encode(self.books.value.embed_KxVxD, x_BxTxD)

    def decode(self, codes_BxTxK: jax.Array) -> jax.Array:
        """Codes (B, T, K) -> (B, T, D)."""
        return decode(self.books.value.embed_KxVxD, codes_BxTxK)

    def update(self, rules: QuantizerRules, x_BxTxD: jax.Array, mask_BxT: jax.Array | None) -> Quantized:
        """A training pass; requires the rng stream `codec` and mutable `codebooks`."""
        key = self.make_rng("codec")
        out, self.books.value = quantize_and_update(self.cfg, rules, self.books.value, x_BxTxD, key, mask_BxT)
        return out

    def init_codebooks(self, x_BxTxD: jax.Array, mask_BxT: jax.Array | None) -> None:
        """Initializes the codebooks by k-means; requires the rng stream `codec` and mutable `codebooks`."""
        self.books.value = kmeans_codebooks(self.cfg, x_BxTxD, self.make_rng("codec"), mask_BxT)

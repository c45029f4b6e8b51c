"""Training rules of the quantizer beyond the golden steps."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from quarkaudio_jax.codec.quantize import (
    Codebooks,
    QuantizerConfig,
    QuantizerRules,
    decode,
    encode,
    kmeans_codebooks,
    quantize_and_update,
    random_codebooks,
)

CFG = QuantizerConfig(num_codebooks=3, codebook_size=8, dim=4, kmeans_iters=20)
X = jnp.asarray(np.random.default_rng(0).standard_normal((2, 50, 4), dtype=np.float32))
RULES = QuantizerRules(rotation_trick=True, dropout=False, revive_below=0.0)
BOOKS = random_codebooks(CFG, jax.random.key(1))


def trained(cfg, rules, books, x):
    return quantize_and_update(cfg, rules, books, x, jax.random.key(0))[0]


def test_codes_decode_to_what_training_returned():
    out, _ = quantize_and_update(CFG, RULES, BOOKS, X, jax.random.key(0))
    np.testing.assert_array_equal(encode(BOOKS.embed_KxVxD, X), out.codes_BxTxK)
    np.testing.assert_allclose(decode(BOOKS.embed_KxVxD, out.codes_BxTxK), out.quantized_BxTxD, atol=1e-6)


def test_dropped_codebooks_add_nothing():
    codes = encode(BOOKS.embed_KxVxD, X)
    fewer = decode(BOOKS.embed_KxVxD, codes[..., :2])
    np.testing.assert_array_equal(decode(BOOKS.embed_KxVxD, codes.at[..., 2].set(-1)), fewer)


def test_straight_through_passes_the_gradient_unchanged():
    cfg, rules = dataclasses.replace(CFG, num_codebooks=1), dataclasses.replace(RULES, rotation_trick=False)
    books = jax.tree.map(lambda x: x[:1], BOOKS)
    g = jax.random.normal(jax.random.key(2), X.shape)
    gradient = jax.grad(lambda x: (trained(cfg, rules, books, x).quantized_BxTxD * g).sum())
    np.testing.assert_array_equal(gradient(X), g)


def test_rotation_keeps_angles():
    """The gradient's length is scaled by |e| / |x|: a rotation changes no norm."""
    cfg = dataclasses.replace(CFG, num_codebooks=1)
    books = jax.tree.map(lambda x: x[:1], BOOKS)
    g = jax.random.normal(jax.random.key(2), X.shape)
    out = trained(cfg, RULES, books, X)
    grad = jax.grad(lambda x: (trained(cfg, RULES, books, x).quantized_BxTxD * g).sum())(X)
    scale = jnp.linalg.norm(out.quantized_BxTxD, axis=-1) / jnp.linalg.norm(X, axis=-1)
    np.testing.assert_allclose(jnp.linalg.norm(grad, axis=-1), scale * jnp.linalg.norm(g, axis=-1), rtol=1e-4)


@pytest.mark.slow
def test_dropout_cuts_once_for_the_batch():
    rules = dataclasses.replace(RULES, dropout=True)
    cuts = set()
    for seed in range(12):
        out, books = quantize_and_update(CFG, rules, BOOKS, X, jax.random.key(seed))
        dropped = np.asarray((out.codes_BxTxK < 0).all((0, 1)))
        cut = int((~dropped).sum())
        cuts.add(cut)
        np.testing.assert_array_equal(dropped, np.arange(3) >= cut)
        assert (out.codes_BxTxK[..., :cut] >= 0).all() and not out.commit_loss_K[cut:].any()
        np.testing.assert_array_equal(books.embed_KxVxD[cut:], BOOKS.embed_KxVxD[cut:])
    assert cuts == {1, 2, 3}


@pytest.mark.slow
def test_kmeans_finds_clusters():
    centers = 10 * jnp.eye(4)
    x = jnp.repeat(centers, 10, axis=0)[None] + 0.01 * jax.random.normal(jax.random.key(0), (1, 40, 4))
    cfg = QuantizerConfig(num_codebooks=1, codebook_size=4, dim=4, kmeans_iters=20)
    errors = []
    for seed in range(8):
        books = kmeans_codebooks(cfg, x, jax.random.key(seed))
        codes = encode(books.embed_KxVxD, x)
        errors.append(float(jnp.square(decode(books.embed_KxVxD, codes) - x).mean()))
        assert float(books.cluster_size_KxV.sum()) == 40
    assert min(errors) < 1e-3


def test_kmeans_with_fewer_vectors_than_codes_is_finite():
    books = kmeans_codebooks(CFG, X[:1, :5], jax.random.key(0))
    assert all(bool(jnp.isfinite(leaf).all()) for leaf in books)


def test_kmeans_ignores_padding():
    mask = jnp.arange(50)[None] < jnp.asarray([50, 20])[:, None]
    spoiled = jnp.where(mask[..., None], X, 1e6)
    books = kmeans_codebooks(CFG, spoiled, jax.random.key(0), mask)
    assert float(jnp.abs(books.embed_KxVxD).max()) < 10


@pytest.mark.parametrize("threshold, revived", [(0.0, False), (0.5, True)])
def test_dead_codes_are_revived_on_demand(threshold, revived):
    rules = dataclasses.replace(RULES, revive_below=threshold)
    far = Codebooks(
        BOOKS.embed_KxVxD.at[:, 0].set(1e3), BOOKS.cluster_size_KxV.at[:, 0].set(0.01), BOOKS.embed_avg_KxVxD
    )
    _, books = quantize_and_update(CFG, rules, far, X, jax.random.key(0))
    alive = np.asarray(jnp.abs(books.embed_KxVxD[0, 0]).max() < 10)
    assert alive == revived or not revived
    if revived:
        assert any(np.allclose(books.embed_KxVxD[0, 0], v) for v in np.asarray(X).reshape(-1, 4))
        assert float(books.cluster_size_KxV[0, 0]) == threshold

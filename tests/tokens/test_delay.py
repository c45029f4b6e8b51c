"""The delay pattern written out by hand, and drawing ids."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from quarkaudio_jax.lm.sampling import Sampling, draw, filtered, guided
from quarkaudio_jax.tokens.delay import delay, delayed_length, undelay
from quarkaudio_jax.tokens.vocabulary import Vocabulary

BOOKS = Vocabulary((40, 30, 20))
S, E, N = 40, 41, 42


def test_special_ids_stand_behind_the_largest_codebook():
    assert (BOOKS.start, BOOKS.end, BOOKS.nothing, BOOKS.num_ids, BOOKS.num_codebooks) == (S, E, N, 43, 3)


def test_the_pattern_is_that_of_the_picture():
    codes = np.array([[[0, 1, 2], [10, 11, 12], [20, 21, 12], [30, 11, 2]]])
    ids = np.asarray(delay(jnp.asarray(codes), jnp.array([4]), BOOKS))
    assert ids[0].T.tolist() == [
        [S, 0, 10, 20, 30, E, N, N],
        [S, N, 1, 11, 21, 11, E, N],
        [S, N, N, 2, 12, 12, 2, E],
    ]
    assert ids.shape[1] == delayed_length(4, 3)


def test_shorter_items_end_earlier_and_come_back():
    rng = np.random.default_rng(0)
    codes, lengths = rng.integers(0, 20, (3, 5, 3)), np.array([5, 2, 1])
    ids = delay(jnp.asarray(codes), jnp.asarray(lengths), BOOKS)
    alone = delay(jnp.asarray(codes[1:2, :2]), jnp.array([2]), BOOKS)
    np.testing.assert_array_equal(np.asarray(ids)[1, : alone.shape[1]], np.asarray(alone)[0])
    assert (np.asarray(ids)[1, alone.shape[1] :] == N).all()
    back, counts = undelay(ids, BOOKS)
    assert counts.tolist() == lengths.tolist()
    for item, length in enumerate(lengths):
        np.testing.assert_array_equal(np.asarray(back)[item, :length], codes[item, :length])
        assert not np.asarray(back)[item, length:].any()


def test_without_an_end_every_frame_counts():
    ids = np.full((1, delayed_length(3, 2), 2), 7)
    codes, lengths = undelay(jnp.asarray(ids), Vocabulary((40, 40)))
    assert lengths.tolist() == [3] and codes.shape == (1, 3, 2)


LOGITS = jnp.log(jnp.array([0.5, 0.3, 0.15, 0.05]))


@pytest.mark.parametrize(
    "cfg, kept",
    [
        (Sampling(), [0, 1, 2, 3]),
        (Sampling(top_k=2), [0, 1]),
        (Sampling(top_p=0.5), [0]),
        (Sampling(top_p=0.51), [0, 1]),
        (Sampling(top_p=0.0001), [0]),
        (Sampling(top_k=3, top_p=0.85), [0, 1, 2]),
        (Sampling(top_k=3, top_p=0.84), [0, 1]),
        (Sampling(top_k=99), [0, 1, 2, 3]),
    ],
)
def test_what_may_be_drawn(cfg, kept):
    assert np.flatnonzero(np.isfinite(np.asarray(filtered(LOGITS, cfg)))).tolist() == kept


def test_drawing_follows_the_shares_and_the_seed():
    many = jnp.broadcast_to(LOGITS, (20_000, 4))
    ids = np.asarray(draw(jax.random.key(0), many, Sampling()))
    np.testing.assert_allclose(np.bincount(ids) / len(ids), [0.5, 0.3, 0.15, 0.05], atol=0.015)
    np.testing.assert_array_equal(ids, np.asarray(draw(jax.random.key(0), many, Sampling())))
    cold = np.asarray(draw(jax.random.key(0), many, Sampling(temperature=0.5)))
    shares = np.array([0.25, 0.09, 0.0225, 0.0025])
    np.testing.assert_allclose(np.bincount(cold, minlength=4) / len(cold), shares / shares.sum(), atol=0.015)
    assert not np.asarray(draw(jax.random.key(0), many, Sampling(temperature=0.0))).any()


def test_guidance():
    np.testing.assert_allclose(guided(jnp.array([2.0, 0.0]), jnp.array([1.0, 1.0]), 3.0), [4.0, -2.0])
    np.testing.assert_allclose(guided(LOGITS, -LOGITS, 1.0), LOGITS, rtol=1e-6)

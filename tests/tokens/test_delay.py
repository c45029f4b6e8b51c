"""The delay pattern written out by hand, and drawing ids."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from quarkaudio_jax.lm.sampling import Sampling, apply_guidance, filter_logits, sample
from quarkaudio_jax.tokens.delay import delay, delayed_length, undelay
from quarkaudio_jax.tokens.sequence import NO_CODE, Kind
from quarkaudio_jax.tokens.vocabulary import Vocabulary
from quarkaudio_jax.types import Tokens
from tests.tokens.reference import delayed as delayed_by_loops

BOOKS = Vocabulary((40, 30, 20))
S, E, N = 40, 41, 42


def delayed(codes, lengths):
    """Tokens of items of `lengths` frames, one a row."""
    (batch, frames, books), lengths = codes.shape, np.asarray(lengths)[:, None]
    position = np.arange(delayed_length(frames, books))
    kind = np.where(position < lengths, Kind.CODES, Kind.DELAY_PADDING)
    kind = np.where(position < lengths + books + 1, kind, Kind.PADDING)
    padded = np.full((batch, len(position), books), NO_CODE)
    padded[:, :frames] = codes
    return delay(*map(jnp.asarray, (kind, (kind > 0).astype(np.int32), padded)), BOOKS)


def test_special_ids_stand_behind_the_largest_codebook():
    assert (BOOKS.bos, BOOKS.eos, BOOKS.pad, BOOKS.num_ids, BOOKS.num_codebooks) == (S, E, N, 43, 3)


def test_the_pattern_is_that_of_the_picture():
    codes = np.array([[[0, 1, 2], [10, 11, 12], [20, 21, 12], [30, 11, 2]]])
    ids = np.asarray(delayed(codes, [4]).tokens_BxLxK)
    assert ids[0].T.tolist() == [
        [S, 0, 10, 20, 30, E, N, N],
        [S, N, 1, 11, 21, 11, E, N],
        [S, N, N, 2, 12, 12, 2, E],
    ]
    assert ids.shape[1] == delayed_length(4, 3)


def test_shorter_items_end_earlier_and_come_back():
    rng = np.random.default_rng(0)
    codes, lengths = rng.integers(0, 20, (3, 5, 3)), np.array([5, 2, 1])
    tokens = delayed(codes, lengths)
    ids, alone = np.asarray(tokens.tokens_BxLxK), delayed(codes[1:2, :2], [2]).tokens_BxLxK
    np.testing.assert_array_equal(ids[1, : alone.shape[1]], alone[0])
    np.testing.assert_array_equal(alone[0], delayed_by_loops(codes[1, :2], BOOKS))
    assert (ids[1, alone.shape[1] :] == N).all()
    back, counts, durations = undelay(tokens, BOOKS)
    assert durations is None
    assert counts.tolist() == lengths.tolist()
    for item, length in enumerate(lengths):
        np.testing.assert_array_equal(np.asarray(back)[item, :length], codes[item, :length])
        assert not np.asarray(back)[item, length:].any()


def test_without_an_end_every_frame_counts():
    ids = np.full((1, delayed_length(3, 2), 2), 7)
    codes, lengths, _ = undelay(Tokens(jnp.asarray(ids)), Vocabulary((40, 40)))
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
    assert np.flatnonzero(np.isfinite(np.asarray(filter_logits(LOGITS, cfg)))).tolist() == kept


def test_drawing_follows_the_shares_and_the_seed():
    many = jnp.broadcast_to(LOGITS, (20_000, 4))
    ids = np.asarray(sample(jax.random.key(0), many, Sampling()))
    np.testing.assert_allclose(np.bincount(ids) / len(ids), [0.5, 0.3, 0.15, 0.05], atol=0.015)
    np.testing.assert_array_equal(ids, np.asarray(sample(jax.random.key(0), many, Sampling())))
    cold = np.asarray(sample(jax.random.key(0), many, Sampling(temperature=0.5)))
    shares = np.array([0.25, 0.09, 0.0225, 0.0025])
    np.testing.assert_allclose(np.bincount(cold, minlength=4) / len(cold), shares / shares.sum(), atol=0.015)
    assert not np.asarray(sample(jax.random.key(0), many, Sampling(temperature=0.0))).any()


def test_guidance():
    np.testing.assert_allclose(apply_guidance(jnp.array([2.0, 0.0]), jnp.array([1.0, 1.0]), 3.0), [4.0, -2.0])
    np.testing.assert_allclose(apply_guidance(LOGITS, -LOGITS, 1.0), LOGITS, rtol=1e-6)

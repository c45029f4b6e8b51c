"""Fréchet distances against closed forms and another computation."""

import math

import numpy as np
import scipy.linalg

from quarkaudio_jax.metrics.embeddings import cosine, frechet_distance

RNG = np.random.default_rng(0)


def test_a_set_has_no_distance_from_itself_and_a_shift_counts_squared():
    x = RNG.standard_normal((200, 5))
    assert abs(frechet_distance(x, x)) < 1e-9
    assert math.isclose(frechet_distance(x, x + np.array([3, 0, 0, 4, 0])), 25, rel_tol=1e-9)


def test_scaled_sets_differ_by_their_standard_deviations():
    """tr(C + 4 C - 2 (4 C^2)^(1/2)) = tr(C)."""
    x = RNG.standard_normal((100, 4)) @ RNG.standard_normal((4, 4))
    x -= x.mean(0)
    assert math.isclose(frechet_distance(x, 2 * x), np.trace(np.cov(x, rowvar=False)), rel_tol=1e-9)


def test_it_equals_the_usual_computation():
    a, b = RNG.standard_normal((60, 8)), RNG.standard_normal((80, 8)) @ RNG.standard_normal((8, 8)) + 1
    covariances = [np.cov(x, rowvar=False) for x in (a, b)]
    root = scipy.linalg.sqrtm(covariances[0] @ covariances[1]).real
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(sum(covariances)) - 2 * np.trace(root)
    assert math.isclose(frechet_distance(a, b), expected, rel_tol=1e-8)


def test_fewer_than_two_have_none():
    assert math.isnan(frechet_distance(np.ones((1, 3)), np.ones((5, 3))))
    assert math.isnan(cosine(np.zeros(3), np.ones(3))) and math.isclose(cosine(np.ones(2), np.array([1, 0])), 0.5**0.5)

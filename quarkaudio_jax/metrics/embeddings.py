"""Distances between embeddings of recordings, and between sets of them."""

import numpy as np


def cosine(a_D: np.ndarray, b_D: np.ndarray) -> float:
    """Cosine of the angle between two vectors; NaN if one is zero."""
    norm = np.linalg.norm(a_D) * np.linalg.norm(b_D)
    return float(a_D @ b_D / norm) if norm else float("nan")


def frechet_distance(a_NxD: np.ndarray, b_NxD: np.ndarray) -> float:
    """Fréchet distance of the Gaussians fitted to two sets of embeddings (arXiv:1812.08466); NaN for fewer than two.

    |m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2)), C unbiased. The trace of the root is the sum of the roots of the
    eigenvalues of C_a^(1/2) C_b C_a^(1/2), which is symmetric, so all of them are real.
    """
    if min(len(a_NxD), len(b_NxD)) < 2:
        return float("nan")
    (mean_a, cov_a), (mean_b, cov_b) = (
        (x.mean(0, dtype=np.float64), np.atleast_2d(np.cov(x.astype(np.float64), rowvar=False))) for x in (a_NxD, b_NxD)
    )
    values, vectors = np.linalg.eigh(cov_a)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    mixed = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ cov_b @ root), 0)).sum()
    return float(((mean_a - mean_b) ** 2).sum() + np.trace(cov_a) + np.trace(cov_b) - 2 * mixed)

"""Buckets of relative positions of T5 (arXiv:1910.10683) and WavLM."""

import numpy as np


def relative_buckets(length: int, buckets: int, max_distance: int) -> np.ndarray:
    """Bucket of each (query, key) distance, (T, T): exact if near, logarithmic if far, half of them per direction."""
    distance = np.arange(length)[None] - np.arange(length)[:, None]
    half, near = buckets // 2, buckets // 4
    far = np.log(np.maximum(np.abs(distance), 1).astype(np.float32) / np.float32(near))
    far = far / np.float32(np.log(max_distance / near)) * np.float32(half - near)
    far = np.minimum((near + far).astype(np.int64), half - 1)
    return np.where(distance > 0, half, 0) + np.where(np.abs(distance) < near, np.abs(distance), far)

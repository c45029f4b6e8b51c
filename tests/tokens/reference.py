"""The delay pattern of one item, written as loops."""

import numpy as np


def delayed(codes_TxK, vocabulary):
    """(T + K + 1, K) ids."""
    frames, books = codes_TxK.shape
    ids = np.full((frames + books + 1, books), vocabulary.pad)
    ids[0] = vocabulary.bos
    for k in range(books):
        ids[1 + k : 1 + k + frames, k] = codes_TxK[:, k]
        ids[1 + k + frames, k] = vocabulary.eos
    return ids

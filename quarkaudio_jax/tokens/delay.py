"""The delay pattern (MusicGen, arXiv:2306.05284): codebook k stands k positions later.

For three codebooks, T = 4, with s the start, e the end, - nothing, and ab the code of frame a in codebook b:

    position  0   1   2   3   4   5   6   7
    k = 0     s  00  10  20  30   e   -   -
    k = 1     s   -  01  11  21  31   e   -
    k = 2     s   -   -  02  12  22  32   e

so that each code is predicted with all codes of earlier frames and, of its own frame, those of
the codebooks before it in view.
"""

import jax
import jax.numpy as jnp

from quarkaudio_jax.tokens.vocabulary import Vocabulary


def delayed_length(frames: int, num_codebooks: int) -> int:
    """Positions that `frames` frames take: a start, the codes, an end, and the delay."""
    return frames + num_codebooks + 1


def delay(codes_BxTxK: jax.Array, lengths_B: jax.Array, vocabulary: Vocabulary) -> jax.Array:
    """(B, T + K + 1, K) ids of codes of which each item has `lengths_B` frames; T is the longest."""
    frames, num_codebooks = codes_BxTxK.shape[1:]
    position = jnp.arange(delayed_length(frames, num_codebooks))[None, :, None]
    frame = position - 1 - jnp.arange(num_codebooks)
    lengths = lengths_B[:, None, None]
    index = jnp.broadcast_to(jnp.clip(frame, 0, frames - 1), (len(codes_BxTxK), *frame.shape[1:]))
    codes = jnp.take_along_axis(codes_BxTxK, index, axis=1)
    ids = jnp.where((frame >= 0) & (frame < lengths), codes, vocabulary.nothing)
    ids = jnp.where(frame == lengths, vocabulary.end, ids)
    return jnp.where(position == 0, vocabulary.start, ids).astype(jnp.int32)


def undelay(ids_BxLxK: jax.Array, vocabulary: Vocabulary) -> tuple[jax.Array, jax.Array]:
    """(codes (B, T, K), lengths (B,)): the inverse; an item ends with the first end of its first codebook.

    Without one it lasts as long as all codebooks reach. What lies behind an item's end is 0.
    """
    length, num_codebooks = ids_BxLxK.shape[1:]
    frames = length - num_codebooks - 1
    index = 1 + jnp.arange(frames)[:, None] + jnp.arange(num_codebooks)
    codes = jnp.take_along_axis(ids_BxLxK, jnp.broadcast_to(index, (len(ids_BxLxK), *index.shape)), axis=1)
    first = ids_BxLxK[:, 1 : frames + 2, 0]
    ended = first == vocabulary.end
    lengths = jnp.where(ended.any(axis=1), ended.argmax(axis=1), frames)
    valid = jnp.arange(frames)[None, :, None] < lengths[:, None, None]
    return jnp.where(valid, codes, 0).astype(jnp.int32), lengths.astype(jnp.int32)

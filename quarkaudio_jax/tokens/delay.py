"""The delay pattern (MusicGen, arXiv:2306.05284): codebook k is shifted by k positions.

For three codebooks and T = 4, with s for BOS, e for EOS, - for PAD, and ab for the code of frame a in codebook b:

    position  0   1   2   3   4   5   6   7
    k = 0     s  00  10  20  30   e   -   -
    k = 1     s   -  01  11  21  31   e   -
    k = 2     s   -   -  02  12  22  32   e

Each code is predicted from all codes of earlier frames and those of the preceding codebooks of its own frame.
"""

import jax
import jax.numpy as jnp

from quarkaudio_jax.tokens.sequence import Kind
from quarkaudio_jax.tokens.vocabulary import Vocabulary
from quarkaudio_jax.types import Tokens

jax.tree_util.register_dataclass(Tokens, ["tokens_BxLxK", "durations_BxL"], [])


def delayed_length(frames: int, num_codebooks: int) -> int:
    """Positions of `frames` frames: BOS, the codes, EOS and the delay."""
    return frames + num_codebooks + 1


def delay(
    kind_BxL: jax.Array,
    segment_BxL: jax.Array,
    codes_BxLxK: jax.Array,
    vocabulary: Vocabulary,
    durations_BxL: jax.Array | None = None,
) -> Tokens:
    """Tokens of packed sequences (`tokens.sequence`), PAD outside their codes and delay padding.

    The codes of frame t in codebook k move from position t of their sequence's codes to position 1 + t + k. durations_BxL
    are at the positions of the codes, and move with codebook 0.
    """
    target = kind_BxL >= Kind.CODES
    first = target & ~((shift_right(kind_BxL, 1) >= Kind.CODES) & (shift_right(segment_BxL, 1) == segment_BxL))
    ids = []
    for k in range(vocabulary.num_codebooks):
        same = target & (shift_right(segment_BxL, k + 1) == segment_BxL)
        code = same & (shift_right(kind_BxL, k + 1) == Kind.CODES)
        after_last = shift_right(kind_BxL, k + 1) == Kind.DELAY_PADDING
        eos = same & after_last & (shift_right(kind_BxL, k + 2) == Kind.CODES)
        shifted = jnp.where(code, shift_right(codes_BxLxK[..., k], k + 1), vocabulary.pad)
        ids.append(jnp.where(eos, vocabulary.eos, shifted))
    tokens_BxLxK = jnp.where(first[..., None], vocabulary.bos, jnp.stack(ids, axis=-1)).astype(jnp.int32)
    if durations_BxL is None:
        return Tokens(tokens_BxLxK)
    code = (shift_right(kind_BxL, 1) == Kind.CODES) & (shift_right(segment_BxL, 1) == segment_BxL) & target
    return Tokens(tokens_BxLxK, jnp.where(code, shift_right(durations_BxL, 1), 0))


def undelay(tokens: Tokens, vocabulary: Vocabulary) -> tuple[jax.Array, jax.Array, jax.Array | None]:
    """(codes (B, T, K), lengths (B,), durations (B, T) or None) of one sequence a row, which begins with BOS.

    An item ends at the first EOS of its first codebook; without one, it has T = L - K - 1 frames. Codes and durations
    beyond an item's length are 0.
    """
    ids_BxLxK = tokens.tokens_BxLxK
    length, num_codebooks = ids_BxLxK.shape[1:]
    frames = length - num_codebooks - 1
    index = 1 + jnp.arange(frames)[:, None] + jnp.arange(num_codebooks)
    codes = jnp.take_along_axis(ids_BxLxK, jnp.broadcast_to(index, (len(ids_BxLxK), *index.shape)), axis=1)
    eos = ids_BxLxK[:, 1 : frames + 2, 0] == vocabulary.eos
    lengths = jnp.where(eos.any(axis=1), eos.argmax(axis=1), frames)
    valid = jnp.arange(frames) < lengths[:, None]
    durations = None
    if tokens.durations_BxL is not None:
        durations = jnp.where(valid, tokens.durations_BxL[:, 1 : frames + 1], 0)
    return jnp.where(valid[..., None], codes, 0).astype(jnp.int32), lengths.astype(jnp.int32), durations


def shift_right(x_BxLx: jax.Array, by: int) -> jax.Array:
    """The values `by` positions earlier along axis 1; zeros before the first."""
    return jnp.pad(x_BxLx, [(0, 0), (by, 0)] + [(0, 0)] * (x_BxLx.ndim - 2))[:, : x_BxLx.shape[1]]


def shift_left(x_BxLx: jax.Array) -> jax.Array:
    """The values one position later along axis 1; zeros after the last."""
    return jnp.pad(x_BxLx[:, 1:], [(0, 0), (0, 1)] + [(0, 0)] * (x_BxLx.ndim - 2))

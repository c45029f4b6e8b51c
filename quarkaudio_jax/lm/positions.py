"""Positions of packed sequences: what each reaches by attention, and where it is in time."""

import jax
import jax.numpy as jnp

from quarkaudio_jax.tokens.delay import shift_right
from quarkaudio_jax.tokens.sequence import Kind


def of_segment(values_BxL: jax.Array, segment_BxL: jax.Array) -> jax.Array:
    """The largest of the values of each position's segment (at least 0), (B, L)."""
    rows, length = segment_BxL.shape
    room = jnp.zeros((rows, length + 1), values_BxL.dtype)
    room = room.at[jnp.arange(rows)[:, None], segment_BxL].max(values_BxL)
    return jnp.take_along_axis(room, segment_BxL, axis=1)


def prefix_reach(kind_BxL: jax.Array, segment_BxL: jax.Array) -> jax.Array:
    """Index in the row of the last position that each attends to: of a prefix its last one, elsewhere its own."""
    index = jnp.broadcast_to(jnp.arange(kind_BxL.shape[1]), kind_BxL.shape)
    prefix = (kind_BxL < Kind.CODES) & (segment_BxL > 0)
    return jnp.where(prefix, of_segment(jnp.where(prefix, index, 0), segment_BxL), index)


def aligned_positions(batch: dict[str, jax.Array], rate: float, durations_BxL: jax.Array | None = None) -> jax.Array:
    """Rotary positions (B, L) float32 with which the target runs beside the source in time.

    The prefix keeps its positions: each condition has its own range, one after the other. The position of the target that
    predicts frame t (of codebook 0) gets that of the source's frame t * rate, whatever the task. rate: positions of the
    source per frame of the target. durations_BxL: of `tokens.delay.delay`, for codes of several frames; frame t then begins
    after the durations before.
    """
    kind, segment, position = batch["kind"], batch["segment"], batch["position"]
    target = kind >= Kind.CODES
    before = (shift_right(kind, 1) >= Kind.CODES) & (shift_right(segment, 1) == segment)
    first = target & ~before

    def marked(values: jax.Array, mask: jax.Array) -> jax.Array:
        return of_segment(jnp.where(mask, values, 0), segment)

    frames = position if durations_BxL is None else jnp.cumsum(durations_BxL, axis=1)
    elapsed = frames - marked(frames, first)
    source = marked(position + 1, kind == Kind.SOURCE_START)
    return jnp.where(target, source + rate * elapsed, position).astype(jnp.float32)

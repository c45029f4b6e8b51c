"""Codes out of a request: prefill, then one step after another in a compiled loop with a cache of fixed size."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp

from quarkaudio_jax.lm.backbone import empty_cache
from quarkaudio_jax.lm.model import LanguageModel
from quarkaudio_jax.lm.patterns import delayed_length, undelay
from quarkaudio_jax.lm.sample import Sampling, draw, guided


@dataclasses.dataclass(frozen=True)
class Generation:
    """How to generate. guidance: 1 uses the condition alone; more needs a request without it beside each.

    predict_end: the model says when it is done (at `frames` at the latest); else every item
    gets exactly its number of frames.
    """

    sampling: Sampling = dataclasses.field(default_factory=Sampling)
    guidance: float = 1.0
    predict_end: bool = False


def choose(
    model: LanguageModel,
    how: Generation,
    keys_B: jax.Array,
    logits: tuple[Any, Any],
    index: jax.Array,
    ends_B: jax.Array,
) -> tuple[jax.Array, jax.Array | None, jax.Array]:
    """(ids (B, K), durations (B,) or None, ends (B,)) of answer position `index` + 1, from the logits at `index`.

    What the delay pattern fixes is not drawn: a codebook that has not begun or has ended says
    nothing, and ends where the first one ended. Specials are never drawn, but for the end.
    """
    words = model.cfg.vocabulary
    scores, duration_scores = logits
    codes = jnp.arange(words.num_ids)
    ids = []
    for k, size in enumerate(words.sizes):
        frame = index - k
        allowed = jnp.broadcast_to(codes < size, scores[:, k].shape)
        if k == 0 and how.predict_end:
            allowed = allowed | ((codes == words.end) & (frame >= 1))
        key = jax.vmap(functools.partial(jax.random.fold_in, data=k))(keys_B)
        masked = jnp.where(allowed, scores[:, k].astype(jnp.float32), -jnp.inf)
        drawn = jax.vmap(lambda key, row: draw(key, row, how.sampling))(key, masked)
        if k == 0 and how.predict_end:
            ends_B = jnp.where((drawn == words.end) & (frame < ends_B), frame, ends_B)
        drawn = jnp.where(frame == ends_B, words.end, jnp.where(frame > ends_B, words.nothing, drawn))
        ids.append(jnp.where(frame < 0, words.nothing, drawn))
    durations = None
    if duration_scores is not None:
        masked = duration_scores.astype(jnp.float32).at[:, 0].set(-jnp.inf)
        key = jax.vmap(functools.partial(jax.random.fold_in, data=len(words.sizes)))(keys_B)
        durations = jax.vmap(lambda key, row: draw(key, row, how.sampling))(key, masked)
        durations = jnp.where(index < ends_B, durations, 0)
    return jnp.stack(ids, axis=1).astype(jnp.int32), durations, ends_B


@functools.partial(jax.jit, static_argnames=("model", "how", "frames"))
def generate(
    model: LanguageModel,
    params: Any,
    prefix_BxPxD: jax.Array,
    lengths_B: jax.Array,
    frames_B: jax.Array,
    keys_B: jax.Array,
    frames: int,
    how: Generation,
    plain_BxPxD: jax.Array | None = None,
    plain_lengths_B: jax.Array | None = None,
) -> tuple[jax.Array, jax.Array, jax.Array | None]:
    """(codes (B, frames, K), lengths (B,), durations (B, frames) or None).

    prefix: embedded requests up to their last source frame, `lengths_B` positions each. frames_B:
    how many frames each item gets (with `predict_end`, at most), none more than `frames`. keys_B:
    one random key an item, so that an item draws the same in any batch. plain: the same requests
    without their condition, for guidance.
    """
    words = model.cfg.vocabulary
    batch = len(prefix_BxPxD)
    if how.guidance != 1.0:
        prefix_BxPxD = jnp.concatenate([prefix_BxPxD, plain_BxPxD])
        lengths_B = jnp.concatenate([lengths_B, plain_lengths_B])
    total, steps = len(prefix_BxPxD), delayed_length(frames, words.num_codebooks)
    room = prefix_BxPxD.shape[1] + steps
    cache = empty_cache(model.cfg.backbone, total, room, model.dtype, model.scan)
    slots = jnp.arange(prefix_BxPxD.shape[1])
    positions = jnp.where(slots < lengths_B[:, None], slots, -1)
    _, _, cache = model.apply({"params": params}, prefix_BxPxD, positions, cache, method="step")

    def one(carry):
        index, ids, durations, ends, out, lasts, cache = carry
        beside = None if lasts is None else durations
        x = model.apply(
            {"params": params}, ids[:, None], None if beside is None else beside[:, None], method="embed_ids"
        )
        x = jnp.tile(x, (total // batch, 1, 1)).astype(model.dtype)
        place = (lengths_B + index)[:, None]
        scores, lengths, cache = model.apply({"params": params}, x, place, cache, method="step")
        scores, lengths = scores[:, 0], None if lengths is None else lengths[:, 0]
        if how.guidance != 1.0:
            scores = guided(scores[:batch], scores[batch:], how.guidance)
            lengths = None if lengths is None else guided(lengths[:batch], lengths[batch:], how.guidance)
        keys = jax.vmap(jax.random.fold_in, (0, None))(keys_B, index)
        ids, durations, ends = choose(model, how, keys, (scores, lengths), index, ends)
        out = out.at[:, index + 1].set(ids)
        lasts = None if lasts is None else lasts.at[:, index].set(durations, mode="drop")
        return index + 1, ids, durations, ends, out, lasts, cache

    def more(carry):
        index, ends = carry[0], carry[3]
        return (index + 1 < steps) & (index < ends.max() + words.num_codebooks)

    first = jnp.full((batch, words.num_codebooks), words.start, jnp.int32)
    out = jnp.full((batch, steps, words.num_codebooks), words.nothing, jnp.int32).at[:, 0].set(words.start)
    adaptive = model.cfg.max_duration > 0
    beside = jnp.zeros(batch, jnp.int32) if adaptive else None
    lasts = jnp.zeros((batch, frames), jnp.int32) if adaptive else None
    carry = (jnp.int32(0), first, beside, frames_B.astype(jnp.int32), out, lasts, cache)
    carry = jax.lax.while_loop(more, one, carry)
    codes, lengths = undelay(carry[4], words)
    return codes, lengths, carry[5]

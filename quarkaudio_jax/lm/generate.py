"""Codes out of a request: prefill, then one step after another with a cache of fixed size.

`generate` takes the steps in a compiled loop, `stream` one by one.
"""

import dataclasses
import functools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from quarkaudio_jax.lm.backbone import Cache, empty_cache
from quarkaudio_jax.lm.model import LanguageModel
from quarkaudio_jax.lm.sampling import Sampling, draw, guided
from quarkaudio_jax.tokens.delay import delayed_length, undelay


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


@dataclasses.dataclass(frozen=True)
class Condition:
    """Requests to be answered together.

    prefix_BxPxD: embedded up to the last source frame, `lengths_B` positions each. frames_B: how
    many frames each gets (with `predict_end`, at most). keys_B: one random key each, so that an
    item draws the same in any batch. plain_BxPxD: the same requests without their condition, for
    guidance.
    """

    prefix_BxPxD: jax.Array
    lengths_B: jax.Array
    frames_B: jax.Array
    keys_B: jax.Array
    plain_BxPxD: jax.Array | None = None


@dataclasses.dataclass(frozen=True)
class Answers:
    """Answers on their way. ids_BxLxK hold positions 0 to `index`; durations_BxT those of frames before `index`."""

    index: jax.Array
    ids_BxLxK: jax.Array
    durations_BxT: jax.Array | None
    ends_B: jax.Array
    cache: Cache


for _tree in (Condition, Answers):
    jax.tree_util.register_dataclass(_tree, [field.name for field in dataclasses.fields(_tree)], [])


def begin(model: LanguageModel, params: Any, condition: Condition, frames: int) -> Answers:
    """Prefill: the requests are in the cache, the start is set. frames: the most that any item gets."""
    words = model.cfg.vocabulary
    prefix, lengths = _with_plain(condition)
    steps = delayed_length(frames, words.num_codebooks)
    cache = empty_cache(model.cfg.backbone, len(prefix), prefix.shape[1] + steps, model.dtype, model.scan)
    slots = jnp.arange(prefix.shape[1])
    positions = jnp.where(slots < lengths[:, None], slots, -1)
    cache = model.apply({"params": params}, prefix, positions, cache, method="fill")
    batch = len(condition.prefix_BxPxD)
    ids = jnp.full((batch, steps, words.num_codebooks), words.nothing, jnp.int32).at[:, 0].set(words.start)
    durations = jnp.zeros((batch, frames), jnp.int32) if model.cfg.max_duration else None
    return Answers(jnp.int32(0), ids, durations, condition.frames_B.astype(jnp.int32), cache)


def _with_plain(condition: Condition) -> tuple[jax.Array, jax.Array]:
    """(prefixes, lengths), those without condition behind the others."""
    prefix, lengths = condition.prefix_BxPxD, condition.lengths_B
    if condition.plain_BxPxD is None:
        return prefix, lengths
    return jnp.concatenate([prefix, condition.plain_BxPxD]), jnp.tile(lengths, 2)


def advance(model: LanguageModel, params: Any, condition: Condition, how: Generation, state: Answers) -> Answers:
    """One position more. The compiled loop and the stream both take this step."""
    batch, index = len(state.ids_BxLxK), state.index
    _, lengths_B = _with_plain(condition)
    ids = jax.lax.dynamic_index_in_dim(state.ids_BxLxK, index, 1)
    beside = None
    if state.durations_BxT is not None:
        last = jax.lax.dynamic_index_in_dim(state.durations_BxT, jnp.maximum(index - 1, 0), 1)
        beside = jnp.where((index > 0) & (index <= state.durations_BxT.shape[1]), last, 0)
    x = model.apply({"params": params}, ids, beside, method="embed_ids")
    x = jnp.tile(x, (len(lengths_B) // batch, 1, 1)).astype(model.dtype)
    scores, lengths, cache = model.apply(
        {"params": params}, x, (lengths_B + index)[:, None], state.cache, method="step"
    )
    scores, lengths = scores[:, 0], None if lengths is None else lengths[:, 0]
    if how.guidance != 1.0:
        scores = guided(scores[:batch], scores[batch:], how.guidance)
        lengths = None if lengths is None else guided(lengths[:batch], lengths[batch:], how.guidance)
    keys = jax.vmap(jax.random.fold_in, (0, None))(condition.keys_B, index)
    found, durations, ends = choose(model, how, keys, (scores, lengths), index, state.ends_B)
    kept = state.durations_BxT
    kept = None if kept is None else kept.at[:, index].set(durations, mode="drop")
    return Answers(index + 1, state.ids_BxLxK.at[:, index + 1].set(found), kept, ends, cache)


def unfinished(model: LanguageModel, state: Answers) -> jax.Array:
    """Whether any item still lacks codes."""
    within = state.index + 1 < state.ids_BxLxK.shape[1]
    return within & (state.index < state.ends_B.max() + model.cfg.vocabulary.num_codebooks)


@functools.partial(jax.jit, static_argnames=("model", "how", "frames"))
def generate(
    model: LanguageModel, params: Any, condition: Condition, frames: int, how: Generation
) -> tuple[jax.Array, jax.Array, jax.Array | None]:
    """(codes (B, frames, K), lengths (B,), durations (B, frames) or None); none gets more than `frames`."""
    state = jax.lax.while_loop(
        functools.partial(unfinished, model),
        functools.partial(advance, model, params, condition, how),
        begin(model, params, condition, frames),
    )
    codes, lengths = undelay(state.ids_BxLxK, model.cfg.vocabulary)
    return codes, lengths, state.durations_BxT


_begin = jax.jit(begin, static_argnums=(0, 3))
_advance = jax.jit(advance, static_argnums=(0, 3), donate_argnums=4)


def stream(
    model: LanguageModel, params: Any, condition: Condition, frames: int, how: Generation
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray | None]]:
    """(codes (B, K), valid (B,), durations (B,) or None) of one frame after the other, as soon as each is known."""
    books = model.cfg.vocabulary.num_codebooks
    state = _begin(model, params, condition, frames)
    for frame in range(frames):
        while int(state.index) < frame + books:
            state = _advance(model, params, condition, how, state)
        ends = np.asarray(state.ends_B)
        if frame >= ends.max():
            return
        ids = np.asarray(state.ids_BxLxK)[:, frame + 1 + np.arange(books), np.arange(books)]
        valid = frame < ends
        durations = None if state.durations_BxT is None else np.asarray(state.durations_BxT)[:, frame]
        yield np.where(valid[:, None], ids, 0), valid, durations

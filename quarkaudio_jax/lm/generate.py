"""Generation of codes: prefill, then one decoding step per position in a compiled loop with a cache of fixed size."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp

from quarkaudio_jax.lm.backbone import Cache, empty_cache
from quarkaudio_jax.lm.model import LanguageModel
from quarkaudio_jax.lm.sampling import Sampling, apply_guidance, sample
from quarkaudio_jax.tokens.delay import delayed_length, undelay
from quarkaudio_jax.types import Array, Tokens


@dataclasses.dataclass(frozen=True)
class GenerationConfig:
    """Settings of `generate`.

    guidance: scale of classifier-free guidance; 1 turns it off, other values need unconditional prefixes.
    predict_end: the model may end an item before its number of frames.
    """

    sampling: Sampling = dataclasses.field(default_factory=Sampling)
    guidance: float = 1.0
    predict_end: bool = False


@dataclasses.dataclass(frozen=True)
class Condition:
    """A batch of requests.

    prefix_BxPxD: embeddings of each request, `lengths_B` positions. frames_B: frames to generate (with `predict_end`,
    at most). keys_B: one random key per item, so that a sample does not depend on the batch. unconditional_BxPxD: the
    same requests without text and audio, for guidance. sources_B: position of each source's first frame, for models with
    aligned positions.
    """

    prefix_BxPxD: Array
    lengths_B: Array
    frames_B: Array
    keys_B: Array
    unconditional_BxPxD: Array | None = None
    sources_B: Array | None = None


@dataclasses.dataclass(frozen=True)
class DecodeState:
    """State of the decoding loop.

    tokens: positions 0 to `index` are filled. ends_B: frames of each item as far as known. cache: of the requests and
    positions 0 to `index` - 1.
    """

    index: jax.Array
    tokens: Tokens
    ends_B: jax.Array
    cache: Cache


for _tree in (Condition, DecodeState):
    jax.tree_util.register_dataclass(_tree, [field.name for field in dataclasses.fields(_tree)], [])


def sample_position(
    model: LanguageModel,
    cfg: GenerationConfig,
    keys_B: jax.Array,
    logits: tuple[jax.Array, jax.Array | None],
    index: jax.Array,
    ends_B: jax.Array,
) -> tuple[jax.Array, jax.Array | None, jax.Array]:
    """(ids (B, K), durations (B,) or None, ends (B,)) of position `index` + 1, from the logits at `index`.

    The delay pattern determines the ids before a codebook's first frame (PAD) and from the item's end on (EOS, PAD).
    Special ids are never sampled, except EOS of codebook 0 with `predict_end`.
    """
    vocabulary = model.cfg.vocabulary
    code_logits, duration_logits = logits
    candidates = jnp.arange(vocabulary.num_ids)
    ids = []
    for k, size in enumerate(vocabulary.sizes):
        frame = index - k
        allowed = jnp.broadcast_to(candidates < size, code_logits[:, k].shape)
        if k == 0 and cfg.predict_end:
            allowed = allowed | ((candidates == vocabulary.eos) & (frame >= 1))
        sampled = _sample(keys_B, k, jnp.where(allowed, code_logits[:, k].astype(jnp.float32), -jnp.inf), cfg.sampling)
        if k == 0 and cfg.predict_end:
            ends_B = jnp.where((sampled == vocabulary.eos) & (frame < ends_B), frame, ends_B)
        sampled = jnp.where(frame > ends_B, vocabulary.pad, sampled)
        sampled = jnp.where(frame == ends_B, vocabulary.eos, sampled)
        ids.append(jnp.where(frame < 0, vocabulary.pad, sampled))
    durations = None
    if duration_logits is not None:
        masked = duration_logits.astype(jnp.float32).at[:, 0].set(-jnp.inf)
        durations = _sample(keys_B, len(vocabulary.sizes), masked, cfg.sampling)
        durations = jnp.where(index < ends_B, durations, 0)
    return jnp.stack(ids, axis=1).astype(jnp.int32), durations, ends_B


def _sample(keys_B: jax.Array, stream: int, logits_BxV: jax.Array, sampling: Sampling) -> jax.Array:
    """Ids (B,), each item with its own key; `stream` distinguishes the samples of a position."""
    keys_B = jax.vmap(functools.partial(jax.random.fold_in, data=stream))(keys_B)
    return jax.vmap(lambda key, row: sample(key, row, sampling))(keys_B, logits_BxV)


def prefill(model: LanguageModel, params: Any, condition: Condition, frames: int) -> DecodeState:
    """The state with the requests in the cache and BOS at position 0. frames: the most that any item gets."""
    vocabulary = model.cfg.vocabulary
    prefix, lengths = _all_prefixes(condition)
    steps = delayed_length(frames, vocabulary.num_codebooks)
    empty = empty_cache(model.cfg.backbone, len(prefix), prefix.shape[1] + steps, model.dtype, model.scan)
    slots = jnp.arange(prefix.shape[1])
    positions = jnp.where(slots < lengths[:, None], slots, -1)
    cache: Any = model.apply({"params": params}, prefix, positions, empty, method="prefill")
    batch = len(condition.prefix_BxPxD)
    ids = jnp.full((batch, steps, vocabulary.num_codebooks), vocabulary.pad, jnp.int32).at[:, 0].set(vocabulary.bos)
    durations = jnp.zeros((batch, steps), jnp.int32) if model.cfg.max_duration else None
    return DecodeState(jnp.int32(0), Tokens(ids, durations), condition.frames_B.astype(jnp.int32), cache)


def _all_prefixes(condition: Condition) -> tuple[jax.Array, jax.Array]:
    """(prefixes, lengths), the unconditional ones after the others."""
    prefix, lengths = condition.prefix_BxPxD, condition.lengths_B
    if condition.unconditional_BxPxD is None:
        return prefix, lengths
    return jnp.concatenate([prefix, condition.unconditional_BxPxD]), jnp.tile(lengths, 2)


def decode_step(
    model: LanguageModel, params: Any, condition: Condition, cfg: GenerationConfig, state: DecodeState
) -> DecodeState:
    """The state with one more position."""
    tokens, index = state.tokens, state.index
    batch = len(tokens.tokens_BxLxK)
    _, lengths_B = _all_prefixes(condition)
    last = jax.tree.map(lambda x: jax.lax.dynamic_index_in_dim(x, index, 1), tokens)
    apply: Any = functools.partial(model.apply, {"params": params})
    x = apply(last, method="embed_tokens")
    x = jnp.tile(x, (len(lengths_B) // batch, 1, 1)).astype(model.dtype)
    positions, rope = (lengths_B + index)[:, None], _rope(model, condition, state)
    logits, duration_logits, cache = apply(x, positions, state.cache, rope, method="step")
    logits, duration_logits = logits[:, 0], None if duration_logits is None else duration_logits[:, 0]
    if cfg.guidance != 1.0:
        logits = apply_guidance(logits[:batch], logits[batch:], cfg.guidance)
        if duration_logits is not None:
            duration_logits = apply_guidance(duration_logits[:batch], duration_logits[batch:], cfg.guidance)
    keys = jax.vmap(jax.random.fold_in, (0, None))(condition.keys_B, index)
    ids, durations, ends = sample_position(model, cfg, keys, (logits, duration_logits), index, state.ends_B)
    next_tokens = jax.tree.map(lambda x, new: x.at[:, index + 1].set(new), tokens, Tokens(ids, durations))
    return DecodeState(index + 1, next_tokens, ends, cache)


def _rope(model: LanguageModel, condition: Condition, state: DecodeState) -> jax.Array | None:
    """Rotary positions (rows, 1) of the state's index, as `lm.positions.aligned_positions`; None if they are not aligned."""
    if not model.cfg.aligned_rate:
        return None
    assert condition.sources_B is not None, "aligned positions need Condition.sources_B"
    durations_BxL, sources_B = state.tokens.durations_BxL, jnp.asarray(condition.sources_B)
    elapsed_B = jnp.broadcast_to(state.index, sources_B.shape) if durations_BxL is None else durations_BxL.sum(1)
    positions_B = sources_B + model.cfg.aligned_rate * elapsed_B
    return jnp.tile(positions_B, 1 if condition.unconditional_BxPxD is None else 2).astype(jnp.float32)[:, None]


def unfinished(model: LanguageModel, state: DecodeState) -> jax.Array:
    """Whether any item still lacks codes."""
    within = state.index + 1 < state.tokens.tokens_BxLxK.shape[1]
    return within & (state.index < state.ends_B.max() + model.cfg.vocabulary.num_codebooks)


@functools.partial(jax.jit, static_argnames=("model", "cfg", "frames"))
def generate(
    model: LanguageModel, params: Any, condition: Condition, frames: int, cfg: GenerationConfig
) -> tuple[jax.Array, jax.Array, jax.Array | None]:
    """(codes (B, frames, K), lengths (B,), durations (B, frames) or None); no item gets more than `frames`.

    Codebooks of a second stage are the most likely ones, whatever the sampling.
    """
    state = jax.lax.while_loop(
        functools.partial(unfinished, model),
        functools.partial(decode_step, model, params, condition, cfg),
        prefill(model, params, condition, frames),
    )
    codes, lengths, durations = undelay(state.tokens, model.cfg.vocabulary)
    if model.cfg.fill_layers:
        args = (condition.prefix_BxPxD, condition.lengths_B, codes, lengths, durations, condition.sources_B)
        filled: Any = model.apply({"params": params}, *args, method="fill")
        codes = filled
    return codes, lengths, durations

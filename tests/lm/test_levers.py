"""Options of the language model: what each changes, and that packed, single and cached passes agree with it."""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from quarkaudio_jax.lm import model as lm
from quarkaudio_jax.lm.generate import Condition, GenerationConfig, generate
from quarkaudio_jax.lm.masking import masked_spans
from quarkaudio_jax.lm.positions import aligned_positions, of_segment, prefix_reach
from quarkaudio_jax.lm.sampling import Sampling
from quarkaudio_jax.tokens.sequence import Kind, stack_frames
from tests.lm.test_model import CFG, packed

ALIGNED = dict(aligned_rate=0.75)
PREFIX = dict(bidirectional_prefix=True)
ENCODER = dict(encoder_layers=2)
ALL = ALIGNED | PREFIX | ENCODER
EACH = [pytest.param(fields, id=next(iter(fields)), marks=pytest.mark.slow) for fields in (ALIGNED, PREFIX, ENCODER)]


def configured(**fields):
    return dataclasses.replace(CFG, **fields)


@functools.cache
def initialized(cfg):
    params = nn.meta.unbox(jax.jit(lm.LanguageModel(cfg).init)(jax.random.key(0), packed()))["params"]
    return jax.tree.map(lambda x: x * 4 if x.ndim > 1 and x.shape[-1] == 32 else x, params)


def logits(cfg, batch):
    return np.asarray(_logits(cfg, initialized(cfg), batch))


@functools.partial(jax.jit, static_argnums=0)
def _logits(cfg, params, batch):
    return lm.LanguageModel(cfg).apply({"params": params}, batch)[0]


def test_frames_are_stacked_and_the_last_group_is_filled_with_zeros():
    found = stack_frames(np.arange(1, 11, dtype=np.float16).reshape(5, 2), 4)
    assert found.dtype == np.float16
    assert found.tolist() == [[1, 2, 3, 4, 5, 6, 7, 8], [9, 10, 0, 0, 0, 0, 0, 0]]
    assert stack_frames(np.zeros((0, 2)), 4).shape == (0, 8)
    assert stack_frames(np.zeros((8, 2)), 4).shape == (2, 8)


@pytest.mark.parametrize("share, span", [(0.2, 5), (0.5, 1), (0.05, 20)])
def test_spans_are_masked_at_that_share(share, span):
    found = np.asarray(masked_spans(jax.random.key(0), (400, 500), share, span))
    assert found.shape == (400, 500)
    np.testing.assert_allclose(found.mean(), share, rtol=0.05)
    np.testing.assert_allclose([found[:, 0].mean(), found[:, -1].mean()], share, atol=0.08)
    edges = np.diff(np.pad(found.astype(int), ((0, 0), (1, 1))), axis=1)
    starts, stops = (np.argwhere(edges == sign) for sign in (1, -1))
    whole = (starts[:, 1] > 0) & (stops[:, 1] < 500)
    assert (stops[:, 1] - starts[:, 1])[whole].min() == span


def test_the_target_runs_beside_the_source():
    """Two requests in a row: task, source start, 3 frames, 3 of target; and one with text and reference before."""
    batch = {
        "kind": jnp.array([[1, 5, 6, 6, 6, 7, 7, 8, 1, 2, 3, 4, 5, 6, 7, 8, 0]]),
        "segment": jnp.array([[1] * 8 + [2] * 8 + [0]]),
        "position": jnp.array([[*range(8), *range(8), 0]]),
    }
    found = aligned_positions(batch, 1.0)[0].tolist()
    assert found == [0, 1, 2, 3, 4, 2, 3, 4, 0, 1, 2, 3, 4, 5, 5, 6, 0]
    assert aligned_positions(batch, 1.5)[0, 5:8].tolist() == [2, 3.5, 5]
    durations = jnp.array([[0, 0, 0, 0, 0, 0, 2, 3, 0, 0, 0, 0, 0, 0, 0, 4, 0]])
    found = aligned_positions(batch, 0.5, durations)[0]
    assert found[5:8].tolist() == [2, 3, 4.5] and found[14:16].tolist() == [5, 7]


def test_a_prefix_reaches_its_end():
    kind, segment = jnp.array([[1, 5, 6, 7, 8, 1, 6, 8, 0, 0]]), jnp.array([[1, 1, 1, 1, 1, 2, 2, 2, 0, 0]])
    assert prefix_reach(kind, segment).tolist() == [[2, 2, 2, 3, 4, 6, 6, 7, 8, 9]]
    assert of_segment(jnp.where(kind == 6, 7, 0), segment)[0, :8].tolist() == [7] * 8


@pytest.mark.parametrize("fields", [*EACH, pytest.param(ALL, id="all")])
def test_packed_examples_equal_single_ones(fields):
    cfg, batch = configured(**fields), packed()
    both = logits(cfg, batch)
    for number in (1, 2):
        alone = logits(cfg, packed(items=(number - 1,)))[0]
        here = batch["segment"][0] == number
        np.testing.assert_allclose(both[0, here], alone[: here.sum()], atol=1e-4)


@pytest.mark.parametrize("fields", [*EACH, pytest.param(ALL, id="all")])
def test_generation_agrees_with_one_pass_over_its_own_answer(fields):
    """Of a batch of requests of different lengths, greedily; beside it each one's full pass."""
    cfg = configured(**fields)
    model, params, frames = lm.LanguageModel(cfg), initialized(cfg), 3
    batch = jax.tree.map(lambda a, b: np.concatenate([a, b]), packed(items=(0,)), packed(items=(1,)))
    lengths = (batch["kind"] < Kind.CODES).sum(1, where=batch["segment"] > 0)
    sources = (batch["kind"] == Kind.SOURCE_START).argmax(1) + 1
    request = {**batch, "segment": np.where(np.arange(40) < lengths[:, None], batch["segment"], 0)}
    request["kind"] = np.where(request["segment"] > 0, batch["kind"], 0)
    prefix = model.apply({"params": params}, request, method="embed_request")[:, : lengths.max()]
    counts = map(jnp.asarray, (lengths, np.full(2, frames)))
    condition = Condition(prefix, *counts, jax.random.split(jax.random.key(0), 2), None, jnp.asarray(sources))
    codes = np.asarray(generate(model, params, condition, frames, GenerationConfig(Sampling(temperature=0.0)))[0])
    for item, first in enumerate(lengths):
        batch["kind"][item, first:], batch["codes"][item, first:] = 0, -1
        batch["segment"][item] = np.arange(40) < first + frames + cfg.delay_padding
        batch["position"][item] = np.where(batch["segment"][item], np.arange(40), 0)
        batch["kind"][item, first : first + frames] = Kind.CODES
        batch["kind"][item, first + frames : first + frames + cfg.delay_padding] = Kind.DELAY_PADDING
        batch["codes"][item, first : first + frames] = codes[item]
    scores = logits(cfg, batch)
    for item, first in enumerate(lengths):
        for frame in range(frames):
            for k, size in enumerate(cfg.codebooks):
                found = scores[item, first + frame + k, k, :size]
                assert found[codes[item, frame, k]] >= found.max() - 1e-4, (item, frame, k)


def test_a_bidirectional_prefix_sees_what_comes_later_and_the_answer_stays_causal():
    cfg, batch, other = configured(**PREFIX), packed(items=(1,)), packed(items=(1,))
    last = np.flatnonzero(batch["kind"][0] == Kind.SOURCE)[-1]
    other["features"][0, last] += 1
    hidden = jax.jit(functools.partial(lm.LanguageModel(cfg).apply, {"params": initialized(cfg)}, method="hidden"))
    length = int((batch["segment"][0] == 1).sum())
    assert (np.abs(hidden(batch) - hidden(other)).max(-1)[0, :length] > 1e-6).all()
    answer = np.flatnonzero((batch["kind"][0] >= Kind.CODES) & (batch["segment"][0] == 1))
    other = packed(items=(1,))
    other["codes"][0, answer[1], 0] = (other["codes"][0, answer[1], 0] + 1) % 10
    changed = np.abs(hidden(batch) - hidden(other)).max(-1)[0] > 1e-6
    assert np.flatnonzero(changed).tolist() == list(range(answer[2], answer[-1] + 1))


def test_the_encoder_sees_the_whole_recording_and_nothing_else():
    cfg, batch = configured(**ENCODER), packed()
    encode = jax.jit(
        functools.partial(lm.LanguageModel(cfg).apply, {"params": initialized(cfg)}, method="encode_audio")
    )
    place = np.flatnonzero((batch["kind"][0] == Kind.SOURCE) & (batch["segment"][0] == 2))
    other = packed()
    other["features"][0, place[1]] += 1
    audio = (batch["kind"][0] == Kind.SOURCE) | (batch["kind"][0] == Kind.REFERENCE)
    changed = (np.abs(encode(batch) - encode(other)).max(-1)[0] > 1e-6) & audio
    assert np.flatnonzero(changed).tolist() == place.tolist()


def test_aligned_positions_change_the_answer_alone():
    plain, batch = configured(), packed(items=(1,))
    moved = logits(configured(**ALIGNED), batch) - logits(plain, batch)
    prefix = batch["kind"][0] < Kind.CODES
    np.testing.assert_array_equal(moved[0, prefix], 0)
    assert np.abs(moved[0, ~prefix]).max() > 1e-3

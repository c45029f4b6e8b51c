"""Options of the language model: what each changes, and that packed, single and cached passes agree with it."""

import dataclasses
import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from quarkaudio_jax.lm import model as lm
from quarkaudio_jax.lm.generate import Condition, GenerationConfig, generate
from quarkaudio_jax.lm.masking import masked_spans
from quarkaudio_jax.lm.objective import score_in_pieces
from quarkaudio_jax.lm.positions import aligned_positions, of_segment, prefix_reach
from quarkaudio_jax.lm.sampling import Sampling
from quarkaudio_jax.tokens.sequence import Kind, stack_frames
from tests.lm.test_model import CFG, packed

ALIGNED = dict(aligned_rate=0.75)
PREFIX = dict(bidirectional_prefix=True)
ENCODER = dict(encoder_layers=2)
FILL = dict(ar_codebooks=(2, 0), fill_layers=1)
ALL = ALIGNED | PREFIX | ENCODER | FILL
APART = (ALIGNED, PREFIX, ENCODER, FILL)
EACH = [pytest.param(fields, id=next(iter(fields)), marks=pytest.mark.slow) for fields in APART]


def configured(**fields):
    return dataclasses.replace(CFG, **fields)


@functools.cache
def initialized(cfg):
    params = nn.meta.unbox(jax.jit(lm.LanguageModel(cfg).init)(jax.random.key(0), packed()))["params"]
    return jax.tree.map(lambda x: x * 4 if x.ndim > 1 and x.shape[-1] == 32 else x, params)


def logits(cfg, batch):
    return np.asarray(_logits(cfg, initialized(cfg), batch))


def scored(cfg, batch):
    """Losses and correctness of all codebooks, (B, L, K), 0 where they do not count."""
    return _scored(cfg, initialized(cfg), batch)


@functools.partial(jax.jit, static_argnums=0)
def _scored(cfg, params, batch):
    found = lm.LanguageModel(cfg).apply({"params": params}, batch, method="metrics")
    return [jnp.where(found.mask_BxLxK, x, 0) for x in (found.loss_BxLxK, found.correct_BxLxK)]


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
    both = scored(cfg, batch)[0]
    for number in (1, 2):
        alone = scored(cfg, packed(items=(number - 1,)))[0][0]
        here = batch["segment"][0] == number
        assert (np.asarray(alone) > 0).any(0).all()
        np.testing.assert_allclose(both[0, here], alone[: here.sum()], atol=2e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    "fields", [*EACH, pytest.param(ALL | {"max_duration": 8}, id="durations"), pytest.param(ALL, id="all")]
)
def test_generated_codes_are_what_a_full_pass_over_them_predicts(fields):
    """Of a batch of requests of different lengths, greedily; all codebooks, without the ends."""
    cfg = configured(**fields)
    model, params, frames = lm.LanguageModel(cfg), initialized(cfg), 3
    adaptive = cfg.max_duration > 0
    batch = jax.tree.map(lambda a, b: np.concatenate([a, b]), packed(items=(0,)), packed(items=(1,)))
    lengths = ((batch["kind"] < Kind.CODES) & (batch["segment"] > 0)).sum(1)
    sources = (batch["kind"] == Kind.SOURCE_START).argmax(1) + 1
    place = np.arange(40) - lengths[:, None]
    request = {name: np.where((place < 0).reshape(2, 40, *[1] * (x.ndim - 2)), x, 0) for name, x in batch.items()}
    prefix = model.apply({"params": params}, request, method="embed_request")[:, : lengths.max()]
    counts = map(jnp.asarray, (lengths, np.full(2, frames)))
    condition = Condition(prefix, *counts, jax.random.split(jax.random.key(0), 2), None, jnp.asarray(sources))
    how = GenerationConfig(Sampling(temperature=0.0))
    codes, found, durations = generate(model, params, condition, frames, how)
    assert found.tolist() == [frames] * 2 and codes.shape == (2, frames, 3) and (durations is not None) == adaptive
    whole = request | {"segment": ((place < frames + cfg.delay_padding) & True).astype(np.int32)}
    whole["position"] = np.where(whole["segment"], np.arange(40), 0)
    answer = (place >= 0) & (place < frames)
    whole["kind"] = np.where(
        answer, Kind.CODES, np.where((place >= 0) & (whole["segment"] > 0), Kind.DELAY_PADDING, request["kind"])
    )
    whole["codes"] = np.full((2, 40, 3), -1)
    whole["codes"][answer] = np.asarray(codes).reshape(-1, 3)
    whole["value"][answer] = 1 if durations is None else np.asarray(durations).reshape(-1)
    first, items = np.arange(frames) + lengths[:, None], np.arange(2)[:, None]
    scores = logits(cfg, whole)
    for stream, k in enumerate(cfg.first_stage):
        allowed = scores[items, first + stream, stream, : cfg.codebooks[k]]
        chosen = np.take_along_axis(allowed, np.asarray(codes)[..., k, None], -1)[..., 0]
        np.testing.assert_allclose(chosen, allowed.max(-1), atol=1e-4)
    correct = np.asarray(scored(cfg, whole)[1])
    assert correct[items, first][..., list(cfg.second_stage)].all()


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


@pytest.mark.slow
def test_the_second_stage_sees_all_frames_of_the_first_and_earlier_codebooks_of_its_own():
    """Codebook 2 is of the first stage; 0 and then 1 follow."""
    cfg, batch = configured(ar_codebooks=(2,), fill_layers=1), packed(items=(0,))
    place = np.flatnonzero(batch["kind"][0] == Kind.CODES)
    assert cfg.delay_padding == 2 and cfg.second_stage == (0, 1)

    def changed(frame, codebook):
        other = packed(items=(0,))
        other["codes"][0, place[frame], codebook] = (other["codes"][0, place[frame], codebook] + 1) % 10
        difference = np.abs(scored(cfg, batch)[0] - scored(cfg, other)[0])[0, place]
        return {(int(t), int(k)) for t, k in np.argwhere(difference > 1e-6)}

    assert changed(3, 2) >= {(t, k) for t in range(4) for k in (0, 1)}
    assert changed(1, 0) == {(1, 0), (1, 1)} and changed(1, 1) == {(1, 1)}


@pytest.mark.parametrize("pieces", [3, 5])
@pytest.mark.parametrize("fields", [{}, pytest.param(FILL, id="fill")])
def test_a_loss_in_pieces_is_the_whole_loss(fields, pieces):
    """With its gradient, where rows have different numbers of codes."""
    cfg = configured(**fields)
    params, batch = initialized(cfg), jax.tree.map(lambda *x: np.concatenate(x), packed(), packed(items=(1,)))

    def total(count, params):
        model = lm.LanguageModel(cfg, loss_pieces=count)
        found: Any = model.apply({"params": params}, batch, method="metrics")
        counted = [jnp.where(found.mask_BxLxK, x, 0) for x in (found.loss_BxLxK, found.correct_BxLxK)]
        return counted[0].sum(), counted

    whole, in_pieces = (
        jax.jit(jax.value_and_grad(functools.partial(total, n), has_aux=True))(params) for n in (1, pieces)
    )
    assert whole[0][0] > 0 and whole[0][1][1].any()
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5), in_pieces, whole)


def test_pieces_without_codes_are_not_computed():
    """What the score function sees: the positions of the mask first, in their order."""
    mask = jnp.array([[0, 0, 1, 0, 1, 0, 0, 0], [0, 1, 0, 0, 0, 0, 0, 0]], bool)
    seen = []

    def score(_, x_BxL):
        jax.debug.callback(lambda x: seen.append(np.asarray(x).tolist()), x_BxL)
        return x_BxL[..., None].astype(jnp.float32), x_BxL[..., None] > 3

    class Empty(nn.Module):
        def __call__(self, x_BxL):
            return score_in_pieces(self, score, mask, [x_BxL], 1, 4)

    loss, correct = Empty().apply({}, jnp.arange(1, 17).reshape(2, 8))
    jax.effects_barrier()
    assert seen == [[[3, 5], [10, 9]]]
    assert loss[..., 0].tolist() == [[0, 0, 3, 0, 5, 0, 0, 0], [9, 10, 0, 0, 0, 0, 0, 0]]
    assert correct[..., 0].tolist() == [[False] * 4 + [True] + [False] * 3, [True, True] + [False] * 6]


def test_stages_are_told_apart_by_their_numbers():
    cfg = configured(codebooks=(20, 30, 10, 40), ar_codebooks=(2, 0))
    assert cfg.vocabulary.sizes == (10, 20) and cfg.second_stage == (1, 3) and configured().second_stage == ()
    assert cfg.in_codec_order(jnp.array([[22, 0]]), jnp.array([[11, 33]])).tolist() == [[0, 11, 22, 33]]


def test_aligned_positions_change_the_answer_alone():
    plain, batch = configured(), packed(items=(1,))
    moved = logits(configured(**ALIGNED), batch) - logits(plain, batch)
    prefix = batch["kind"][0] < Kind.CODES
    np.testing.assert_array_equal(moved[0, prefix], 0)
    assert np.abs(moved[0, ~prefix]).max() > 1e-3

"""The language model on packed sequences written out by hand."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from quarkaudio_jax.lm import model as lm
from quarkaudio_jax.lm.backbone import BackboneConfig, empty_cache
from quarkaudio_jax.lm.objective import loss_and_correct, masked_mean, token_metrics, weighted_loss
from quarkaudio_jax.tokens.sequence import AUDIO_KINDS, Kind, build_sequence, scatter_features
from tests.tokens.reference import delayed

CFG = lm.LMConfig(BackboneConfig(32, 2, 4, 2, 48), (20, 20, 10), feature_dim=6)
WORDS = CFG.vocabulary
S, E, N = WORDS.bos, WORDS.eos, WORDS.pad
RNG = np.random.default_rng(0)
CODES = [RNG.integers(0, 10, (4, 3)), RNG.integers(0, 10, (2, 3))]


def packed(items=(0, 1), length=40, durations=False):
    """Two requests in one row, as the data pipeline lays them out."""
    batch = {
        "kind": np.zeros((1, length), np.int8),
        "value": np.zeros((1, length), np.int32),
        "codes": np.full((1, length, 3), -1, np.int32),
        "features": np.zeros((1, length, 6), np.float32),
        "segment": np.zeros((1, length), np.int32),
        "position": np.zeros((1, length), np.int32),
    }
    done = 0
    for number, item in enumerate(items, start=1):
        lengths = np.array([2, 1, 8, 3])[: len(CODES[item])] if durations else None
        part = build_sequence(item, b"hi" * item, item, 3, CODES[item], CFG.delay_padding, lengths)
        here = slice(done, done + len(part["kind"]))
        for name in ("kind", "value", "codes"):
            batch[name][0, here] = part[name]
        batch["segment"][0, here], batch["position"][0, here] = number, np.arange(len(part["kind"]))
        blocks = [features(item, f"r{item}", item), features(item, f"s{item}", 3)]
        scatter_features(blocks, part["kind"], AUDIO_KINDS, batch["features"][0, here])
        done = here.stop
    return batch


def features(item, name, count):
    return np.random.default_rng([item, len(name), ord(name[0])]).standard_normal((count, 6)).astype(np.float32)


@pytest.fixture(scope="module")
def params():
    return nn.meta.unbox(jax.jit(lm.LanguageModel(CFG).init)(jax.random.key(0), packed()))["params"]


def logits(params, batch, cfg=CFG):
    return np.asarray(jax.jit(lm.LanguageModel(cfg).apply)({"params": params}, batch)[0])


def test_the_numbers_are_those_of_the_layout():
    ours = [
        Kind.TASK,
        Kind.TEXT,
        Kind.REFERENCE_START,
        Kind.REFERENCE,
        Kind.SOURCE_START,
        Kind.SOURCE,
        Kind.CODES,
        Kind.DELAY_PADDING,
    ]
    assert ours == [k for k in Kind if k != Kind.PADDING]


def test_ids_of_a_row_are_those_of_the_delay_pattern():
    batch = packed()
    ids = np.asarray(lm.delayed_inputs(CFG, jax.tree.map(jnp.asarray, batch)).tokens_BxLxK)[0]
    for number, codes in enumerate(CODES, start=1):
        here = (batch["segment"][0] == number) & (batch["kind"][0] >= Kind.CODES)
        np.testing.assert_array_equal(ids[here], delayed(codes, WORDS))
    a, b, c, d = CODES[0]
    first = (batch["segment"][0] == 1) & (batch["kind"][0] >= Kind.CODES)
    assert ids[first].T.tolist() == [
        [S, a[0], b[0], c[0], d[0], E, N, N],
        [S, N, a[1], b[1], c[1], d[1], E, N],
        [S, N, N, a[2], b[2], c[2], d[2], E],
    ]


def test_requests_of_a_row_do_not_see_each_other(params):
    both, second = logits(params, packed()), logits(params, packed(items=(1,), length=25))
    here = packed()["segment"][0] == 2
    np.testing.assert_allclose(both[0, here], second[0, : here.sum()], atol=2e-5)


def test_a_code_sees_what_came_before_and_nothing_else(params):
    """Changing frame 2 of codebook 1 changes only predictions behind its place in the pattern, position 1 + 2 + 1."""
    batch, other = packed(), packed()
    answer = np.flatnonzero((batch["segment"][0] == 1) & (batch["kind"][0] >= Kind.CODES))
    other["codes"][0, answer[2], 1] = (other["codes"][0, answer[2], 1] + 1) % 10
    changed = np.abs(logits(params, batch) - logits(params, other)).max((2, 3))[0] > 1e-6
    expected = np.zeros(40, bool)
    expected[answer[4] : answer[-1] + 1] = True
    np.testing.assert_array_equal(changed, expected)


@pytest.mark.parametrize("where", [Kind.TASK, Kind.TEXT, Kind.REFERENCE, Kind.SOURCE])
def test_every_condition_counts(params, where):
    batch, other = packed(items=(1,)), packed(items=(1,))
    place = np.flatnonzero(batch["kind"][0] == where)[0]
    other["value"][0, place] += 1
    other["features"][0, place] += 1
    answer = batch["kind"][0] >= Kind.CODES
    assert np.abs(logits(params, batch) - logits(params, other))[0, answer].max() > 1e-4


def score(cfg, predictions, batch, smoothing=0.1):
    """The scores of logits of all codebooks at once."""
    targets, (scores, durations) = lm.build_targets(cfg, batch), predictions
    return token_metrics(targets, *loss_and_correct(scores, targets.ids_BxLxK, smoothing), durations, smoothing)


def loss_of(predictions, batch, weights=(1.0, 1.0, 1.0)):
    """(loss, accuracy of each codebook) without smoothing."""
    scores = score(CFG, predictions, batch, 0.0)
    accuracy = masked_mean(scores.correct_BxLxK, scores.mask_BxLxK, (0, 1))
    return weighted_loss(scores, jnp.array(weights))[0], accuracy


@pytest.mark.slow
@pytest.mark.parametrize("max_duration", [0, 8])
def test_scores_a_codebook_at_a_time_equal_those_of_the_logits(max_duration):
    cfg = lm.LMConfig(CFG.backbone, CFG.codebooks, 6, max_duration=max_duration)
    model, batch = lm.LanguageModel(cfg), packed(durations=max_duration > 0)
    params = jax.jit(model.init)(jax.random.key(0), batch)["params"]

    def whole(params):
        scores = score(cfg, model.apply({"params": params}, batch), batch, 0.1)
        return weighted_loss(scores, jnp.array([1.0, 0.5, 2.0]))[0], vars(scores)

    def apart(params):
        scores = model.apply({"params": params}, batch, None, 0.1, method="metrics")
        return weighted_loss(scores, jnp.array([1.0, 0.5, 2.0]))[0], vars(scores)

    (loss, scores), gradient = jax.jit(jax.value_and_grad(whole, has_aux=True))(params)
    (found, apart_scores), found_gradient = jax.jit(jax.value_and_grad(apart, has_aux=True))(params)
    assert float(found) == pytest.approx(float(loss), rel=1e-6)
    close = functools.partial(np.testing.assert_allclose, atol=1e-5)
    jax.tree.map(close, (apart_scores, found_gradient), (scores, gradient))


def test_a_condition_that_is_dropped_does_not_count(params):
    batch, other = packed(items=(1,)), packed(items=(1,))
    place = np.flatnonzero(batch["kind"][0] == Kind.SOURCE)[0]
    other["features"][0, place] += 1
    dropped = np.ones((1, 40), bool)
    model = lm.LanguageModel(CFG)
    apply = jax.jit(model.apply)
    a, b = (apply({"params": params}, x, dropped)[0] for x in (batch, other))
    np.testing.assert_array_equal(a, b)
    assert np.abs(np.asarray(a) - logits(params, batch)).max() > 1e-4


def test_the_loss_counts_ids_that_say_something(params):
    batch = packed()
    perfect = 30.0 * jax.nn.one_hot(
        np.roll(np.asarray(lm.delayed_inputs(CFG, batch).tokens_BxLxK), -1, axis=1), WORDS.num_ids
    )
    value, accuracy = loss_of((perfect, None), batch)
    assert float(value) < 1e-6 and accuracy.tolist() == [1.0] * 3
    flat, _ = loss_of((jnp.zeros_like(perfect), None), batch)
    assert float(flat) == pytest.approx(np.log(WORDS.num_ids), rel=1e-5)
    wrong = perfect.at[..., 2, :].set(0.0)
    weighted, _ = loss_of((wrong, None), batch, (1.0, 1.0, 0.5))
    assert float(weighted) == pytest.approx(0.2 * np.log(WORDS.num_ids), rel=1e-5)


def test_steps_with_a_cache_equal_the_whole(params):
    batch = packed(items=(1,), length=25)
    count = int((batch["segment"][0] == 1).sum())
    whole = logits(params, batch)
    model = lm.LanguageModel(CFG)
    x = model.apply({"params": params}, batch, lm.delayed_inputs(CFG, batch), method="embed")
    step = jax.jit(functools.partial(model.apply, {"params": params}, method="step"))
    cache, found = empty_cache(CFG.backbone, 1, 25), []
    for begin, stop in [(0, 8), *((i, i + 1) for i in range(8, count))]:
        positions = np.arange(begin, stop)[None]
        out, _, cache = step(x[:, begin:stop], positions, cache)
        found.append(np.asarray(out))
    np.testing.assert_allclose(np.concatenate(found, 1)[0], whole[0, :count], atol=3e-5)


def test_durations_of_the_adaptive_codec_stand_beside_codebook_0():
    cfg = lm.LMConfig(CFG.backbone, CFG.codebooks, 6, max_duration=8)
    batch = packed(items=(0,), durations=True)
    tokens = lm.delayed_inputs(cfg, batch)
    answer = batch["kind"][0] >= Kind.CODES
    assert np.asarray(tokens.durations_BxL)[0, answer].tolist() == [0, 2, 1, 8, 3, 0, 0, 0]
    assert np.asarray(tokens.tokens_BxLxK)[0, answer, 0].tolist() == [S, *CODES[0][:, 0], E, N, N]
    variables = jax.jit(lm.LanguageModel(cfg).init)(jax.random.key(0), batch)
    predictions = jax.jit(lm.LanguageModel(cfg).apply)(variables, batch)
    value, parts = weighted_loss(score(cfg, predictions, batch), jnp.ones(3))
    assert np.isfinite(float(value)) and float(parts["durations"]) > 0


def test_it_learns_a_batch_by_heart(params):
    batch = jax.tree.map(jnp.asarray, packed())
    optimizer = optax.adam(1e-2)

    @jax.jit
    def step(params, state):
        def objective(p):
            return loss_of(lm.LanguageModel(CFG).apply({"params": p}, batch), batch)

        (value, accuracy), gradient = jax.value_and_grad(objective, has_aux=True)(params)
        updates, state = optimizer.update(gradient, state)
        return optax.apply_updates(params, updates), state, value, accuracy

    state, first = optimizer.init(params), None
    for _ in range(60):
        params, state, value, accuracy = step(params, state)
        first = first or float(value)
    assert first > 2.0 and float(value) < 0.1 and accuracy.min() == 1.0

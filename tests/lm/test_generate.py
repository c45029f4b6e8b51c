"""GenerationConfig: what the pattern fixes, batches against single runs, seeds, the end, guidance."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from quarkaudio_jax.lm import model as lm
from quarkaudio_jax.lm.backbone import BackboneConfig
from quarkaudio_jax.lm.generate import Condition, GenerationConfig, decode_step, generate, prefill, unfinished
from quarkaudio_jax.lm.sampling import Sampling
from quarkaudio_jax.nn.stack import unstack_params
from quarkaudio_jax.tokens.delay import undelay
from quarkaudio_jax.types import Tokens
from tests.tokens.reference import delayed

CFG = lm.LMConfig(BackboneConfig(32, 2, 4, 2, 48), (20, 20, 10), feature_dim=6)
GREEDY = Sampling(temperature=0.0)
MODEL = lm.LanguageModel(CFG)


def batch_of(cfg, length=30):
    shapes = {"kind": (), "value": (), "codes": (3,), "features": (6,), "segment": (), "position": ()}
    return {
        name: np.zeros((1, length, *shape), np.float32 if name == "features" else np.int32)
        for name, shape in shapes.items()
    }


@pytest.fixture(scope="module")
def params():
    """Weights large enough that what comes depends on what came before."""
    params = jax.jit(MODEL.init)(jax.random.key(3), batch_of(CFG))["params"]
    return jax.tree.map(lambda x: x * 8 if x.ndim > 1 and x.shape[-1] == 32 else x, nn_unbox(params))


def nn_unbox(tree):
    import flax.linen as nn

    return nn.meta.unbox(tree)


def prefix(batch, length, seed=0):
    return jnp.asarray(np.random.default_rng(seed).standard_normal((batch, length, 32)).astype(np.float32))


def keys(*seeds):
    return jnp.stack([jax.random.key(s) for s in seeds])


def asked(x, lengths, frames_B, seeds, plain=None):
    return Condition(x, jnp.array(lengths), jnp.array(frames_B), keys(*seeds), plain)


def run(params, x, lengths, frames_B, seeds, frames, how, plain=None):
    out = generate(MODEL, params, asked(x, lengths, frames_B, seeds, plain), frames, how)
    return [None if o is None else np.asarray(o) for o in out]


def test_every_item_gets_its_frames_and_only_codes(params):
    codes, lengths, durations = run(
        params, prefix(3, 5), [5, 5, 5], [6, 2, 1], [0, 1, 2], 6, GenerationConfig(Sampling())
    )
    assert lengths.tolist() == [6, 2, 1] and durations is None and codes.shape == (3, 6, 3)
    assert codes.min() >= 0 and (codes.max((0, 1)) < [20, 20, 10]).all()
    assert not codes[1, 2:].any() and len(np.unique(codes[0])) > 3


def test_greedy_generation_agrees_with_one_pass_over_its_own_answer(params):
    x = prefix(1, 5)
    codes, _, _ = run(params, x, [5], [6], [0], 6, GenerationConfig(GREEDY))
    tokens = Tokens(jnp.asarray(delayed(codes[0], CFG.vocabulary))[None])
    variables = {"params": params}
    answer = MODEL.apply(variables, tokens, method="embed_tokens")
    whole = jnp.concatenate([x, answer], axis=1)
    positions = jnp.arange(whole.shape[1])[None]
    hidden, _ = MODEL.bind(variables).backbone(whole, positions, jnp.ones(whole.shape[:2], int))
    scores, _ = MODEL.bind(variables).predict(hidden)
    for frame in range(6):
        for k, size in enumerate(CFG.codebooks):
            assert codes[0, frame, k] == np.asarray(scores)[0, 5 + frame + k, k, :size].argmax(), (frame, k)


@pytest.mark.parametrize(
    "sampling",
    [*(pytest.param(s, marks=pytest.mark.slow) for s in (GREEDY, Sampling())), Sampling(0.8, top_k=5, top_p=0.9)],
)
def test_batches_of_different_lengths_equal_single_runs(params, sampling):
    x, lengths, frames = prefix(3, 7), [7, 4, 5], [5, 6, 2]
    together, _, _ = run(params, x, lengths, frames, [7, 8, 9], 6, GenerationConfig(sampling))
    for item in range(3):
        alone, count, _ = run(
            params,
            x[item : item + 1, : lengths[item]],
            [lengths[item]],
            [frames[item]],
            [7 + item],
            6,
            GenerationConfig(sampling),
        )
        assert count[0] == frames[item]
        np.testing.assert_array_equal(alone[0], together[item])


def test_seeds_decide(params):
    x = prefix(1, 5)
    one, again, other = (run(params, x, [5], [6], [s], 6, GenerationConfig())[0] for s in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()


def test_the_end_is_the_models_where_it_may_say(params):
    """Drawn at random, an end comes now and then: where it does, all codebooks end with it."""
    x = prefix(8, 5)
    how = GenerationConfig(Sampling(temperature=20.0), predict_end=True)
    codes, lengths, _ = run(params, x, [5] * 8, [30] * 8, range(8), 30, how)
    assert 1 <= lengths.min() < lengths.max() <= 30 and len(set(lengths.tolist())) > 2
    for item, length in enumerate(lengths):
        assert not codes[item, length:].any()
    fixed = run(params, x, [5] * 8, [30] * 8, range(8), 30, GenerationConfig(Sampling(temperature=20.0)))[1]
    assert fixed.tolist() == [30] * 8


@pytest.mark.slow
def test_guidance_of_one_is_the_condition_alone_and_more_changes_it(params):
    x, plain = prefix(2, 5), prefix(2, 5, seed=1)
    alone, _, _ = run(params, x, [5, 4], [6, 6], [0, 1], 6, GenerationConfig(GREEDY))
    same, _, _ = run(params, x, [5, 4], [6, 6], [0, 1], 6, GenerationConfig(GREEDY, guidance=1.0000001), plain)
    np.testing.assert_array_equal(alone, same)
    strong, _, _ = run(params, x, [5, 4], [6, 6], [0, 1], 6, GenerationConfig(GREEDY, guidance=5.0), plain)
    assert (strong != alone).any()


@pytest.mark.slow
def test_durations_come_with_the_codes_of_the_adaptive_codec():
    cfg = lm.LMConfig(CFG.backbone, CFG.codebooks, 6, max_duration=8)
    model = lm.LanguageModel(cfg)
    params = nn_unbox(jax.jit(model.init)(jax.random.key(0), batch_of(cfg)))["params"]
    request = asked(prefix(2, 5), [5, 5], [4, 2], [0, 1])
    codes, lengths, durations = generate(model, params, request, 4, GenerationConfig(Sampling()))
    assert codes.shape == (2, 4, 3) and lengths.tolist() == [4, 2]
    assert (np.asarray(durations)[0] >= 1).all() and (np.asarray(durations)[0] <= 8).all()
    assert (np.asarray(durations)[1, :2] >= 1).all() and not np.asarray(durations)[1, 2:].any()


@pytest.mark.slow
def test_steps_one_by_one_give_what_the_loop_gives(params):
    request = asked(prefix(3, 5), [5, 3, 4], [6, 2, 4], [0, 1, 2])
    codes, lengths, _ = generate(MODEL, params, request, 6, GenerationConfig())
    step = jax.jit(functools.partial(decode_step, MODEL, params, request, GenerationConfig()))
    state = prefill(MODEL, params, request, 6)
    while unfinished(MODEL, state):
        state = step(state)
    again, counts, _ = undelay(state.tokens, CFG.vocabulary)
    np.testing.assert_array_equal(again, codes)
    np.testing.assert_array_equal(counts, lengths)


@pytest.mark.slow
def test_unscanned_layers_give_the_same(params):
    plain = lm.LanguageModel(CFG, scan=False)
    request = asked(prefix(2, 5), [5, 4], [6, 6], [0, 1])
    a = generate(MODEL, params, request, 6, GenerationConfig(GREEDY))[0]
    b = generate(plain, unstack_params(params), request, 6, GenerationConfig(GREEDY))[0]
    np.testing.assert_array_equal(a, b)

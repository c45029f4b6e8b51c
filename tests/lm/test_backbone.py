"""The backbone against transformers' Llama and Qwen2, and its cache against itself."""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from quarkaudio_jax.lm.backbone import QWEN2_0B5, Backbone, BackboneConfig, empty_cache
from quarkaudio_jax.nn.dropout import DROPOUT
from quarkaudio_jax.weights.backbone import (
    abstract_params,
    config_from_hf,
    config_to_hf,
    import_backbone,
    table,
)
from quarkaudio_jax.weights.rules import export_params

SMALL = BackboneConfig(32, 3, 4, 2, 48, rope_theta=500.0, qkv_bias=True)


def embedded(length=9, batch=2, dim=32):
    return np.random.default_rng(0).standard_normal((batch, length, dim)).astype(np.float32)


@pytest.fixture(scope="module")
def params():
    x = embedded()
    init = jax.jit(Backbone(SMALL).init)
    return nn.meta.unbox(init(jax.random.key(0), x, np.zeros(x.shape[:2], int), np.ones((2, 9), int)))["params"]


def run(params, x, lengths=None, cfg=SMALL):
    batch, length = x.shape[:2]
    segments = (
        np.ones((batch, length), int) if lengths is None else (np.arange(length) < np.array(lengths)[:, None]) * 1
    )
    positions = np.broadcast_to(np.arange(length), (batch, length))
    return np.asarray(jax.jit(Backbone(cfg).apply)({"params": params}, x, positions, jnp.asarray(segments))[0])


@pytest.mark.parametrize("kind", ["llama", "qwen2"])
def test_it_equals_transformers_and_goes_back(kind):
    torch = pytest.importorskip("torch", reason="torch is the reference here")
    transformers = pytest.importorskip("transformers", reason="transformers is the reference here")
    torch.manual_seed(0)
    sizes = dict(vocab_size=50, hidden_size=32, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2)
    sizes |= dict(intermediate_size=48, max_position_embeddings=64, tie_word_embeddings=False)
    make = {
        "llama": (transformers.LlamaConfig, transformers.LlamaForCausalLM),
        "qwen2": (transformers.Qwen2Config, transformers.Qwen2ForCausalLM),
    }[kind]
    model = make[1](make[0](**sizes)).eval()
    for name, value in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(value)
    cfg = config_from_hf(model.config.to_dict())
    tensors = {k: v.detach().numpy() for k, v in model.state_dict().items()}
    params = import_backbone(cfg, tensors)
    ids = np.random.default_rng(0).integers(0, 50, (2, 9))
    with torch.no_grad():
        expected = model(torch.tensor(ids)).logits.numpy()
    hidden = run(params, tensors["model.embed_tokens.weight"][ids], cfg=cfg)
    np.testing.assert_allclose(hidden @ tensors["lm_head.weight"].T, expected, atol=1e-4)
    exported = export_params(table(cfg, "model."), params)
    assert set(tensors) - set(exported) == {"model.embed_tokens.weight", "lm_head.weight"}
    for name, value in exported.items():
        np.testing.assert_array_equal(value, tensors[name], err_msg=name)


@pytest.mark.parametrize("cfg", [SMALL, QWEN2_0B5, BackboneConfig(32, 2, 4, 4, 64, head_dim=12)])
def test_a_configuration_goes_there_and_back(cfg):
    back = config_from_hf(config_to_hf(cfg))
    assert back == dataclasses.replace(cfg, head_dim=cfg.head_width)


def test_the_large_size_is_that_of_qwen():
    """Qwen2.5-0.5B has 357,898,112 parameters besides its 136,134,656 of word embeddings (494,032,768 in all)."""
    assert sum(x.size for x in jax.tree.leaves(abstract_params(QWEN2_0B5))) == 494_032_768 - 151_936 * 896


def test_prefill_and_steps_equal_one_pass(params):
    x = embedded()
    whole = run(params, x)
    model = Backbone(SMALL)
    cache = empty_cache(SMALL, 2, 12)

    @jax.jit
    def call(part, positions, cache):
        return model.apply({"params": params}, part, jnp.asarray(positions), cache=cache)

    positions = np.broadcast_to(np.arange(9), (2, 9))
    out, cache = call(x[:, :5], positions[:, :5], cache)
    found = [np.asarray(out)]
    for i in range(5, 9):
        out, cache = call(x[:, i : i + 1], positions[:, i : i + 1], cache)
        found.append(np.asarray(out))
    np.testing.assert_allclose(np.concatenate(found, 1), whole, atol=2e-5)


def test_a_padded_prefix_goes_on_as_it_would_alone(params):
    """Items of 6 and 3 positions prefilled together; each then takes two steps of its own."""
    x, lengths = embedded(), np.array([6, 3])
    model = Backbone(SMALL)

    @jax.jit
    def call(part, positions, cache):
        return model.apply({"params": params}, part, jnp.asarray(positions), cache=cache)

    positions = np.where(np.arange(6) < lengths[:, None], np.arange(6), -1)
    _, cache = call(x[:, :6], positions, empty_cache(SMALL, 2, 12))
    for step in range(2):
        here = lengths + step
        out, cache = call(np.stack([x[i, here[i]] for i in range(2)])[:, None], here[:, None], cache)
    for item in range(2):
        alone = run(params, x[item : item + 1, : lengths[item] + 2])
        np.testing.assert_allclose(np.asarray(out)[item, 0], alone[0, -1], atol=2e-5)


def test_packed_sequences_do_not_see_each_other(params):
    x = embedded(batch=1)
    segments = jnp.asarray([[1, 1, 1, 1, 2, 2, 2, 0, 0]])
    positions = np.array([[0, 1, 2, 3, 0, 1, 2, 0, 0]])
    packed, _ = jax.jit(Backbone(SMALL).apply)({"params": params}, x, positions, segments)
    np.testing.assert_allclose(np.asarray(packed)[:, :4], run(params, x[:, :4]), atol=2e-5)
    np.testing.assert_allclose(np.asarray(packed)[:, 4:7], run(params, x[:, 4:7]), atol=2e-5)


@pytest.mark.parametrize(
    "remat, unroll",
    [("dots+attention", False)]
    + [
        pytest.param(remat, unroll, marks=pytest.mark.slow)
        for remat in ("dots", "full", "attention", "dots+attention")
        for unroll in (False, True)
        if (remat, unroll) != ("dots+attention", False)
    ],
)
def test_remat_and_unrolling_change_nothing(params, remat, unroll):
    x = embedded()
    positions = np.broadcast_to(np.arange(9), (2, 9))
    segments = jnp.ones((2, 9), int)

    def loss(p, **how):
        return Backbone(SMALL, **how).apply({"params": p}, x, positions, segments)[0].std()

    plain, other = (
        jax.jit(jax.grad(functools.partial(loss, **how)))(params) for how in ({}, dict(remat=remat, unroll=unroll))
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), plain, other)
    with pytest.raises(ValueError, match="remat 'some' is not one of"):
        Backbone(SMALL, remat="some").apply({"params": params}, x, positions, segments)


@pytest.mark.slow
@pytest.mark.parametrize("field", ["dropout", "attention_dropout"])
def test_dropout_takes_part_where_there_is_a_stream_and_remat_repeats_it(params, field):
    x, positions = embedded(), np.broadcast_to(np.arange(9), (2, 9))
    cfg = dataclasses.replace(SMALL, **{field: 0.2})

    @functools.partial(jax.jit, static_argnums=0)
    def value_and_grad(remat, rngs):
        def loss(p):
            out, _ = Backbone(cfg, remat=remat).apply({"params": p}, x, positions, jnp.ones((2, 9), int), rngs=rngs)
            return (out * x).mean()

        return jax.value_and_grad(loss)(params)

    streams = [{DROPOUT: jax.random.key(i)} for i in (0, 1)]
    off, one, other = (float(value_and_grad("none", rngs)[0]) for rngs in (None, *streams))
    assert len({off, one, other}) == 3
    assert off == pytest.approx((run(params, x) * x).mean(), rel=1e-5)
    plain, again = (value_and_grad(remat, streams[0]) for remat in ("none", "full"))
    jax.tree.map(functools.partial(np.testing.assert_allclose, atol=1e-6), plain, again)


@pytest.mark.parametrize(
    "config, message",
    [
        ({"model_type": "mistral"}, "should be llama or qwen2"),
        ({"model_type": "llama", "rope_scaling": {"rope_type": "yarn"}}, "'yarn' are not supported"),
        ({"model_type": "llama", "hidden_act": "gelu"}, "only 'silu' is supported"),
        ({"model_type": "llama", "attention_bias": True}, "attention_bias"),
    ],
)
def test_strange_configurations_are_refused(config, message):
    with pytest.raises(ValueError, match=message):
        config_from_hf(config)

"""The codec's training step: what moves, what waits for its turn, what is refused."""

import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from quarkaudio_jax.config import from_config_dict
from quarkaudio_jax.training.codec_program import CodecProgram
from quarkaudio_jax.training.guard import guarded
from tests.conftest import small_config
from tests.parity.test_ssl import write_folder


def start(**changes):
    program = CodecProgram(from_config_dict(small_config(**changes)))
    state = jax.jit(lambda: nn.meta.unbox(program.init()))()
    rng = np.random.default_rng(0)
    batch = {
        name: jnp.asarray(0.1 * rng.standard_normal(s.shape, dtype=np.float32))
        for name, s in program.batch_spec(2).items()
    }
    return program, state, batch


def moved(before, after) -> bool:
    return any(
        (np.asarray(a) != np.asarray(b)).any()
        for a, b in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True)
    )


@pytest.fixture(scope="module")
def stepped():
    program, state, batch = start(
        ema_decay=0.5, discriminators__from_step=1, losses__perceptual=1.0, losses__perceptual_from=1
    )
    fit, step = jax.jit(program.init_codebooks), jax.jit(guarded(program.train_step))
    fitted = fit(state, batch)
    states, metrics = [fitted], []
    for _ in range(2):
        new, values = step(states[-1], batch)
        states.append(new)
        metrics.append({k: float(v) for k, v in values.items()})
    return program, state, states, metrics, batch, fit, step


@pytest.mark.slow
def test_a_batch_that_is_not_finite_moves_nothing(stepped):
    """Neither the generator, its average and codebooks nor the discriminators, and no optimizer."""
    *_, states, _, batch, _, step = stepped
    after, metrics = step(states[2], {**batch, "wave": batch["wave"].at[0, 5].set(np.nan)})
    assert not np.isfinite([float(value) for value in metrics.values()]).all()
    assert int(after.step) == 3
    before = jax.tree.leaves((states[2].model, states[2].training))
    assert all(
        np.array_equal(a, b) for a, b in zip(before, jax.tree.leaves((after.model, after.training)), strict=True)
    )


@pytest.mark.slow
def test_the_first_batch_sets_the_codebooks(stepped):
    _, fresh, states, *_ = stepped
    assert moved(fresh.model.codebooks, states[0].model.codebooks)
    assert not moved(fresh.model.params, states[0].model.params)


@pytest.mark.slow
def test_a_step_moves_what_it_should(stepped):
    _, _, states, metrics, *_ = stepped
    assert [int(s.step) for s in states] == [0, 1, 2]
    for before, after in itertools.pairwise(states):
        assert moved(before.model.params, after.model.params)
        assert moved(before.model.codebooks, after.model.codebooks)
        assert moved(before.model.ema, after.model.ema)
    assert all(np.isfinite(list(m.values())).all() for m in metrics)
    terms = {
        "mel",
        "stft",
        "ssl",
        "commitment",
        "adversarial",
        "feature_matching",
        "perceptual",
        "total",
        "discriminator",
    }
    assert {n.removeprefix("loss/") for n in metrics[0] if n.startswith("loss/")} == terms


@pytest.mark.slow
def test_terms_wait_for_their_step(stepped):
    """Before from_step the discriminators rest and the total leaves their terms and the perceptual one out."""
    program, _, states, metrics, *_ = stepped
    assert not moved(states[0].training.adversary_params, states[1].training.adversary_params)
    assert moved(states[1].training.adversary_params, states[2].training.adversary_params)
    weights = program.cfg.losses
    for i, values in enumerate(metrics):
        names = ["mel", "stft", "ssl", "commitment"] + (["adversarial", "feature_matching", "perceptual"] if i else [])
        total = sum(getattr(weights, n) * values[f"loss/{n}"] for n in names)
        assert values["loss/total"] == pytest.approx(total, rel=1e-5)


@pytest.mark.slow
def test_the_average_follows(stepped):
    _, _, states, *_ = stepped
    want = jax.tree.map(lambda e, p: 0.5 * e + 0.5 * p, states[0].model.ema, states[1].model.params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), states[1].model.ema, want)


@pytest.mark.slow
def test_evaluation_uses_the_average(stepped):
    program, _, states, _, batch, *_ = stepped
    metrics, outputs = jax.jit(program.eval_step)(states[2], batch)
    assert metrics["mel_distance"].shape == (2,) and outputs["reconstruction"].shape == batch["wave"].shape
    swapped = states[2].replace(model=states[2].model.replace(params=states[0].model.params))
    np.testing.assert_array_equal(
        jax.jit(program.eval_step)(swapped, batch)[0]["mel_distance"], metrics["mel_distance"]
    )


SECOND = np.arange(48000) / 48000
EXTREMES = {
    "digital silence": 0 * SECOND,
    "-120 dBFS": 1e-6 * np.sin(2 * np.pi * 440 * SECOND),
    "full-scale square wave": np.sign(np.sin(2 * np.pi * 441 * SECOND + 0.1)),
    "one sample of 1e30": np.where(np.arange(48000) == 5000, 1e30, 0.1 * np.sin(2 * np.pi * 440 * SECOND)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", EXTREMES)
def test_gradients_of_extreme_waves_are_finite(stepped, name):
    """A norm is finite only if every gradient is; nothing that the step leaves is anything else."""
    _, fresh, states, _, batch, fit, step = stepped
    wave = jnp.broadcast_to(jnp.asarray(EXTREMES[name][: batch["wave"].shape[1]], jnp.float32), batch["wave"].shape)
    for state in (states[1], fit(fresh, {"wave": wave}).replace(step=states[1].step)):
        after, metrics = step(state, {"wave": wave})
        assert np.isfinite([float(v) for v in metrics.values()]).all(), metrics
        assert metrics["grad_norm/generator"] > 0 and "grad_norm/discriminator" in metrics
        assert all(np.isfinite(x).all() for x in jax.tree.leaves(after))


@pytest.mark.slow
def test_stored_features_come_from_the_batch():
    program, state, batch = start(features__recipe="precomputed", losses__adversarial=0.0, losses__feature_matching=0.0)
    assert batch["features"].shape == (2, program.crop.feature_frames, 768)
    assert np.isfinite(float(jax.jit(program.train_step)(state, batch)[1]["loss/ssl"]))


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"codec__variant": "hcodec_1k"}, "codec 'hcodec_1k' is not known"),
        ({"codec__dtype": "float8"}, "config.codec.dtype is 'float8'"),
        ({"features__recipe": "mell"}, "recipe 'mell' is not known; choose one of hubert, mel, precomputed"),
        (
            {"features__recipe": "precomputed", "losses__perceptual": 1.0},
            "perceptual needs features that can be computed",
        ),
    ],
)
def test_wrong_values_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        CodecProgram(from_config_dict(small_config(**changes)))


def test_a_run_records_the_model_of_its_features(tmp_path):
    write_folder(tmp_path / "hubert_base", "hf_hubert")
    config = from_config_dict(small_config(features__recipe="hubert", features__weights=str(tmp_path / "hubert_base")))
    assert CodecProgram.configured(config).cfg.features.model.startswith("bosonai/hubert_base crc32:")
    assert CodecProgram.configured(from_config_dict(small_config())).cfg.features.model == ""

"""Training the language model through the same loop as the codec."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.linen import meta

from quarkaudio_jax.config import (
    ConfigError,
    DatasetInfo,
    LMDataConfig,
    LMModelConfig,
    LMTrainConfig,
    OptimConfig,
    from_config_dict,
)
from quarkaudio_jax.lm.variants import SIZES, get_size
from quarkaudio_jax.tokens.sequence import build_sequence, collate
from quarkaudio_jax.tokens.tasks import TASKS
from quarkaudio_jax.training.guard import guarded
from quarkaudio_jax.training.lm_program import LMProgram, task_of
from quarkaudio_jax.training.loop import Trainer
from quarkaudio_jax.training.optim import make_schedule
from quarkaudio_jax.training.preemption import Preemption
from quarkaudio_jax.training.program import check_unchanged
from quarkaudio_jax.weights.backbone import config_to_hf
from quarkaudio_jax.weights.checkpoint import CheckpointError, find_checkpoint, read_train_config
from quarkaudio_jax.weights.files import WeightFileError
from quarkaudio_jax.weights.saved_codec import read_codec
from quarkaudio_jax.weights.saved_lm import read_lm
from tests.conftest import losses, small_lm_config

FACTS = DatasetInfo(codebooks=(16, 16), feature_width=6, tasks=tuple(TASKS))


@pytest.mark.slow
def test_a_run_logs_every_task_and_knows_its_data(trained_lm, prepared):
    found = losses(trained_lm)
    assert sorted(found) == [1, 2, 3, 4]
    names = {f"accuracy/{task}" for task in TASKS} | {f"accuracy/codebook_{k}" for k in range(8)}
    assert names | {"accuracy", "lr", "grad_norm/lm"} <= found[4].keys()
    assert 0 < found[4]["loss/total"] < found[1]["loss/total"]
    lines = [json.loads(line) for line in (trained_lm / "metrics.jsonl").read_text().splitlines()]
    (heldout,) = [line for line in lines if line["step"] == 4 and "heldout/loss" in line]
    assert {f"heldout/accuracy/{task}" for task in TASKS} <= heldout.keys()
    saved, _ = read_train_config(find_checkpoint(trained_lm))
    dataset = json.loads((prepared / "plan.json").read_text())["facts"]
    assert saved.dataset.codec == "hcodec_48k_tiny_faded" and saved.dataset.codec_weights == dataset["codec_weights"]
    assert saved.dataset.codebooks == (256,) * 8 and set(saved.dataset.tasks) == set(TASKS)


@pytest.mark.slow
def test_a_stopped_run_goes_on_as_if_it_had_not_stopped(trained_lm, prepared, tmp_path, monkeypatch):
    with monkeypatch.context() as told:
        told.setattr(Preemption, "should_stop", lambda _, step: step == 2)
        Trainer(from_config_dict(small_lm_config(prepared)), tmp_path).run()
    assert find_checkpoint(tmp_path).name == "2"
    Trainer(from_config_dict(small_lm_config(prepared)), tmp_path).run()
    assert losses(tmp_path) == losses(trained_lm)
    one, other = (read_lm(folder)[1] for folder in (tmp_path, trained_lm))
    jax.tree.map(np.testing.assert_array_equal, one, other)


@pytest.mark.slow
def test_data_made_otherwise_and_the_wrong_kind_of_checkpoint_are_refused(trained_lm, trained, prepared):
    config = from_config_dict(small_lm_config(prepared))
    saved, _ = read_train_config(find_checkpoint(trained_lm))
    program = LMProgram.configured(config)
    now = program.resume_fields(program.cfg)
    check_unchanged(program.resume_fields(saved), now, allowed=False)
    other = dataclasses.replace(saved, dataset=dataclasses.replace(saved.dataset, codec_weights=7))
    with pytest.raises(ConfigError, match="this run began with data with codec_weights = 7"):
        check_unchanged(program.resume_fields(other), now, allowed=False)
    with pytest.raises(CheckpointError, match="holds a language model, not a codec"):
        read_codec(trained_lm)
    with pytest.raises(CheckpointError, match="holds a codec, not a language model"):
        read_lm(trained)


def program_and_batch(**fields):
    """The tiny model with these fields of `config.lm`, and a batch of one example."""
    cfg = LMTrainConfig(
        lm=LMModelConfig(size="tiny", **fields), data=LMDataConfig(batch_size=1, length=32), dataset=FACTS
    )
    program = LMProgram(dataclasses.replace(cfg, ema_decay=0.9))
    rng = np.random.default_rng(0)
    row = build_sequence(0, b"", 0, 8, rng.integers(0, 16, (8, 2)), program.lm_cfg.delay_padding)
    blocks = {"features": [rng.standard_normal((8, 6)).astype(np.float16)], "text_features": []}
    return program, collate([row | blocks], 32, with_text=False)


@pytest.mark.slow
def test_dropout_of_a_step_follows_from_its_number_and_evaluation_has_none():
    (program, batch), (plain, _) = program_and_batch(dropout=0.1, attention_dropout=0.1), program_and_batch()
    state = jax.jit(lambda: meta.unbox(program.init()))()
    jax.tree.map(np.testing.assert_array_equal, state, jax.jit(lambda: meta.unbox(plain.init()))())
    step = jax.jit(program.train_step)
    one, again = (step(state, batch)[1]["loss/total"] for _ in range(2))
    later = step(state.replace(step=jnp.int32(1)), batch)[1]["loss/total"]
    without = jax.jit(plain.train_step)(state, batch)[1]["loss/total"]
    assert float(one) == float(again) and len({float(x) for x in (one, later, without)}) == 3
    found, expected = (jax.jit(p.eval_step)(state, batch)[0] for p in (program, plain))
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_features_are_masked_by_the_steps_number_and_only_in_training():
    program, batch = program_and_batch(feature_mask=0.5, feature_mask_span=2)
    batch = jax.tree.map(jnp.asarray, batch)
    one, again, other = (np.asarray(program._masked(batch, step)["features"]) for step in (0, 0, 1))
    np.testing.assert_array_equal(one, again)
    assert one.dtype == np.float16 and (one != other).any()
    zero = (one == 0).all(-1)
    assert (
        (one[~zero] == np.asarray(batch["features"])[~zero]).all() and zero[0, 2:10].any() and not zero[0, 2:10].all()
    )


@pytest.mark.slow
def test_a_batch_that_is_not_finite_moves_nothing():
    """Neither weights and average nor the optimizer and the accuracies."""
    program, batch = program_and_batch()
    state = jax.jit(lambda: meta.unbox(program.init()))()
    step = jax.jit(guarded(program.train_step))
    good, metrics = step(state, batch)
    assert np.isfinite([float(value) for value in metrics.values()]).all()
    batch["features"][0, 4, 3] = np.nan
    after, metrics = step(good, batch)
    assert np.isnan(float(metrics["loss/total"])) and int(after.step) == 2
    for name in ("model", "training"):
        jax.tree.map(np.testing.assert_array_equal, getattr(after, name), getattr(good, name))
    moved = jax.tree.map(lambda a, b: not np.array_equal(a, b), state.model.params, good.model.params)
    assert any(jax.tree.leaves(moved))


def test_the_task_of_a_position_is_that_of_its_segment():
    batch = {
        "kind": jnp.array([[1, 5, 7, 8, 1, 5, 0]]),
        "value": jnp.array([[3, 0, 1, 0, 6, 0, 0]]),
        "segment": jnp.array([[1, 1, 1, 1, 2, 2, 0]]),
    }
    assert task_of(batch)[0, :6].tolist() == [3, 3, 3, 3, 6, 6]


def test_the_published_schedule_rises_as_a_cosine_and_falls_by_a_factor():
    schedule = make_schedule(LMTrainConfig().optim, 100_000)
    assert float(schedule(999)) == pytest.approx(2.5e-4, rel=1e-5)
    assert float(schedule(1999)) == pytest.approx(5e-4, rel=1e-5)
    assert float(schedule(2000 + 1000)) == pytest.approx(5e-4 * 0.99998**1000, rel=1e-4)
    assert float(schedule(1_000_000)) == pytest.approx(1e-5, rel=1e-4)
    with pytest.raises(ValueError, match="warmup 'sudden' is not linear or cosine"):
        make_schedule(OptimConfig(warmup="sudden"), 10)


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"dtype": "float8"}, "config.lm.dtype is 'float8'"),
        ({"codebook_weights": (1.0, 2.0, 3.0)}, "has 3 weights, the codec 2 codebooks"),
        ({"ar_codebooks": (2,)}, r"config.lm.ar_codebooks is \(2,\): name some, not all, of the codec's 2 codebooks"),
        ({"ar_codebooks": (1, 0)}, "name some, not all"),
    ],
)
def test_wrong_settings_are_named(fields, message):
    with pytest.raises(ConfigError, match=message):
        LMProgram(LMTrainConfig(lm=LMModelConfig(size="tiny", **fields), dataset=FACTS))


def test_sizes():
    assert get_size("small").num_layers == 12 and get_size("small").dim == 512
    with pytest.raises(ValueError, match="size 'smal' is not known; choose one of tiny, small, base, large, 1b5"):
        get_size("smal")
    counts = {}
    for name in SIZES:
        program = LMProgram(LMTrainConfig(lm=LMModelConfig(size=name), dataset=FACTS))
        backbone = jax.eval_shape(program.init).model.params["backbone"]
        counts[name] = sum(x.size for x in jax.tree.leaves(backbone))
    assert counts == {
        "tiny": 1_771_200,
        "small": 50_344_448,
        "base": 113_265_408,
        "large": 357_898_112,
        "1b5": 1_310_340_608,
    }


@pytest.mark.slow
def test_a_backbone_starts_with_hugging_face_weights(tmp_path):
    torch = pytest.importorskip("torch", reason="torch writes the folder here")
    transformers = pytest.importorskip("transformers", reason="transformers writes the folder here")
    config = transformers.LlamaConfig(vocab_size=11, **config_to_hf(SIZES["tiny"]))
    torch.manual_seed(0)
    hf = transformers.LlamaForCausalLM(config)
    hf.save_pretrained(tmp_path)

    def program(name):
        return LMProgram(LMTrainConfig(lm=LMModelConfig(size=name, backbone=str(tmp_path)), dataset=FACTS))

    tiny = program("tiny")
    model = tiny.load_pretrained(meta.unbox(tiny.init()).model)
    layers = model.params["backbone"]["blocks"]["layers"]
    expected = hf.model.layers[2].mlp.up_proj.weight.detach().numpy().T
    np.testing.assert_array_equal(layers["mlp"]["up"]["kernel"][2], expected)
    with pytest.raises(WeightFileError, match=r"another size: dim 192 \(here 512\)"):
        small = program("small")
        small.load_pretrained(meta.unbox(jax.eval_shape(small.init)).model)


def test_unrolled_layers_save_what_a_loop_saves():
    programs = [LMProgram(LMTrainConfig(lm=LMModelConfig(size="tiny", unroll=u), dataset=FACTS)) for u in (False, True)]
    assert [program.model.unroll for program in programs] == [False, True]
    loop, unrolled = (jax.eval_shape(program.init) for program in programs)
    assert loop == unrolled

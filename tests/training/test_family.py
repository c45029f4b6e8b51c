"""The whole family trains on real audio through the one loop: two steps, saved, and used from the checkpoint."""

import importlib
import json

import flax.linen as nn
import jax
import numpy as np
import pytest

import quarkaudio_jax
from quarkaudio_jax.config import from_config_dict
from quarkaudio_jax.io import audio
from quarkaudio_jax.training.codec_program import CodecProgram
from quarkaudio_jax.training.loop import Trainer
from quarkaudio_jax.weights.checkpoint import CheckpointError, read_initial_model
from tests.conftest import shrunk

pytestmark = pytest.mark.slow


def config(name, real_audio, **changes):
    module, _, variant = name.partition(":")
    cfg = importlib.import_module(f"configs.{module}").get_config(variant or "tiny")
    shrunk(cfg, loop__steps=2, loop__eval_every=2, data__heldout=0.3, **changes)
    cfg.data.speech.paths = str(real_audio / "speech")
    cfg.data.music.paths = cfg.data.events.paths = ""
    return cfg


WITHOUT_ADVERSARY = dict(losses__adversarial=0.0, losses__feature_matching=0.0)
"""Other tests train with it, and it takes most of the time to compile."""


MONO_TO_STEREO = "codec16k_stereo:mono2stereo_tiny"


@pytest.mark.parametrize("name", ["codec16k", "codec16k_adaptive", "codec16k_stereo", MONO_TO_STEREO])
def test_it_trains_and_is_used(name, real_audio, tmp_path):
    cfg = config(name, real_audio, **WITHOUT_ADVERSARY)
    assert Trainer(from_config_dict(cfg), tmp_path / "run").run() == "finished"
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    losses = [line for line in lines if "loss/total" in line]
    assert len(losses) == 2 and all(np.isfinite(v) for line in losses for v in line.values())
    assert all(line["grad_norm/generator"] > 0 for line in losses)
    codec = quarkaudio_jax.load_codec(tmp_path / "run")
    wave = 0.1 * np.random.default_rng(0).standard_normal(9999).astype(np.float32)
    found = codec.reconstruct(wave)
    channels = codec.cfg.channels
    assert found.shape == ((len(wave),) if channels == 1 else (len(wave), channels))
    samples = list((tmp_path / "run" / "samples").rglob("*.wav"))
    assert samples and {audio.info(path)[2] for path in samples} == {channels}
    if codec.cfg.can_spatialize:
        assert all(0 <= line["loss/mapping"] <= 2 for line in losses)
        assert codec.spatialize(codec.encode(wave), azimuth=45).samples_BxS.shape[-1] == 2

    abstract = jax.eval_shape(lambda: codec_program(cfg, ema_decay=0.9).init()).model
    model = read_initial_model(str(tmp_path / "run"), nn.meta.unbox(abstract))  # what config.init_from starts with
    first = np.asarray(model.params["semantic_encoder"]["embed"]["kernel"])
    np.testing.assert_array_equal(first, codec._variables["params"]["semantic_encoder"]["embed"]["kernel"])
    np.testing.assert_array_equal(model.ema["semantic_encoder"]["embed"]["kernel"], first)
    other = codec_program(cfg, codec__variant="hcodec_48k_tiny")
    with pytest.raises(CheckpointError, match="init_from=.* does not fit this configuration"):
        read_initial_model(str(tmp_path / "run"), nn.meta.unbox(jax.eval_shape(other.init).model))


def codec_program(cfg, **changes):
    return CodecProgram(from_config_dict(shrunk(cfg.copy_and_resolve_references(), **changes)))


def test_all_losses_of_a_stereo_codec_fall_on_a_batch(real_audio):
    """Those of the third stream as well: the mapping's, and the side's share of the mean over views."""
    cfg = config(MONO_TO_STEREO, real_audio, optim__warmup_steps=1, codec__quantizer_dropout=False, **WITHOUT_ADVERSARY)
    program = codec_program(cfg)
    batch = next(iter(program.batches(0, 1)[0]))
    batch = {key: np.asarray(batch[key]) for key in program.batch_spec(2)}
    state = jax.jit(lambda: program.init_codebooks(nn.meta.unbox(program.init()), batch))()
    step = jax.jit(program.train_step)
    found = []
    for _ in range(40):
        state, metrics = step(state, batch)
        found.append({key: float(value) for key, value in metrics.items()})
    assert all(np.isfinite(list(metrics.values())).all() for metrics in found)
    fallen = {key for key in found[0] if key.startswith("loss/") and found[-1][key] < 0.9 * found[0][key]}
    assert fallen >= {"loss/mel", "loss/stft", "loss/ssl", "loss/total", "loss/mapping"}, (found[0], found[-1])

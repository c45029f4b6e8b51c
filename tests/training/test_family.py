"""The whole family trains on real audio through the one loop: two steps, saved, and used from the checkpoint."""

import importlib
import json

import numpy as np
import pytest

import quarkaudio_jax
from quarkaudio_jax.schema import from_config_dict
from quarkaudio_jax.training.loop import Trainer
from tests.conftest import shrunk

pytestmark = pytest.mark.slow


def config(name, real_audio, **changes):
    cfg = importlib.import_module(f"configs.{name}").get_config("tiny")
    shrunk(cfg, loop__steps=2, loop__eval_every=2, **changes)
    cfg.data.speech.paths = str(real_audio / "speech")
    cfg.data.music.paths = cfg.data.events.paths = ""
    return cfg


@pytest.mark.parametrize("name", ["codec16k", "codec16k_adaptive"])
def test_it_trains_and_is_used(name, real_audio, tmp_path):
    cfg = config(name, real_audio)
    assert Trainer(from_config_dict(cfg), tmp_path / "run").run() == "finished"
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    losses = [line for line in lines if "loss/total" in line]
    assert len(losses) == 2 and all(np.isfinite(v) for line in losses for v in line.values())
    assert all(line["grad_norm/generator"] > 0 for line in losses)
    codec = quarkaudio_jax.load_codec(tmp_path / "run")
    wave = 0.1 * np.random.default_rng(0).standard_normal(9999).astype(np.float32)
    assert codec.reconstruct(wave).shape == wave.shape

    fine = config(name, real_audio, init_from=str(tmp_path / "run"), ema_decay=0.9)
    trainer = Trainer(from_config_dict(fine), tmp_path / "fine")
    first = np.asarray(trainer.state.model.params["semantic_encoder"]["embed"]["kernel"])
    np.testing.assert_array_equal(first, codec._variables["params"]["semantic_encoder"]["embed"]["kernel"])
    np.testing.assert_array_equal(trainer.state.model.ema["semantic_encoder"]["embed"]["kernel"], first)

"""What a run leaves behind, and what stops it."""

import json
import re

import numpy as np
import pytest

from quarkaudio_jax.data import audio
from quarkaudio_jax.schema import CodecTrainConfig, ConfigError, from_config_dict
from quarkaudio_jax.training.checkpoint import CheckpointError, find_checkpoint, read_config
from quarkaudio_jax.training.loop import NonFiniteError, Trainer, make_program
from tests.conftest import small_config


def lines(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def test_a_run_leaves_metrics_samples_and_a_checkpoint(trained):
    steps = [line for line in lines(trained) if "loss/total" in line]
    assert [line["step"] for line in steps] == [1, 2]
    assert {"speed/steps_per_second", "speed/data_wait_share", "data/skipped", "lr"} <= steps[0].keys()
    heldout = [line for line in lines(trained) if "heldout/mel_distance" in line]
    assert [line["step"] for line in heldout] == [0, 2]
    assert list((trained / "tensorboard").glob("events*"))
    samples = trained / "samples" / "00000002"
    assert len(list(samples.glob("*.png"))) == 1
    for kind in ("target", "reconstruction"):
        (path,) = samples.glob(f"*.{kind}.wav")
        assert audio.info(path)[1] == 48000
    config, step = read_config(find_checkpoint(trained))
    assert step == 2 and config.loop.steps == 2 and isinstance(config, CodecTrainConfig)


def test_a_finished_run_stays_finished(trained):
    before = (trained / "metrics.jsonl").read_text()
    config = small_config(loop__steps=2, loop__eval_every=2, ema_decay=0.9)
    assert Trainer(from_config_dict(config), trained).run() == "finished"
    assert (trained / "metrics.jsonl").read_text() == before


def test_another_shape_is_refused_in_words(trained):
    config = small_config(loop__steps=2, loop__eval_every=2, ema_decay=0.0)
    with pytest.raises(CheckpointError, match="does not fit this configuration"):
        Trainer(from_config_dict(config), trained)


@pytest.mark.parametrize("variant", ["hcodec_48k_tiny", "hcodec_48k_base"])
def test_another_codec_is_refused_in_words(variant, trained):
    config = small_config(loop__steps=2, loop__eval_every=2, ema_decay=0.9, codec__variant=variant)
    with pytest.raises(ConfigError, match=f"began with config.codec.variant 'hcodec_48k_tiny_faded', not '{variant}'"):
        Trainer(from_config_dict(config), trained)


@pytest.mark.slow
def test_nan_stops_the_run_and_keeps_the_last_good_checkpoint(tmp_path, monkeypatch):
    config = small_config(
        loop__steps=10, loop__checkpoint_every=2, losses__adversarial=0.0, losses__feature_matching=0.0
    )
    trainer = Trainer(from_config_dict(config), tmp_path)
    real, calls = trainer.train_step, []

    def poisoned(state, batch):
        calls.append(0)
        if len(calls) == 4:  # this step's update is NaN although its losses are not
            batch = {"wave": batch["wave"].at[0, 0].set(np.nan)}
        return real(state, batch)

    monkeypatch.setattr(trainer, "train_step", poisoned)
    with pytest.raises(NonFiniteError, match=r"step 4: grad_norm/generator is nan.*loss/mel is nan.*step 2 in"):
        trainer.run()
    assert find_checkpoint(tmp_path).name == "2"


def test_wrong_values_are_named(tmp_path):
    with pytest.raises(ConfigError, match="config.program 'codecs' does not exist; did you mean 'codec'"):
        make_program(from_config_dict(small_config(program="codecs")))
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        find_checkpoint(tmp_path / "none")
    with pytest.raises(CheckpointError, match=re.escape("holds no complete checkpoint")):
        find_checkpoint(tmp_path)


def test_where_the_time_went(trained):
    *_, last = [line for line in lines(trained) if "loss/total" in line]
    shares = {name: value for name, value in last.items() if name.startswith("time/")}
    kinds = ["productive", "setup", "compile", "restore", "evaluate", "data"]
    assert list(shares) == [f"time/{kind}_share" for kind in kinds]  # the checkpoint comes later
    assert sum(shares.values()) == pytest.approx(1) and all(0 <= share < 1 for share in shares.values())
    assert shares["time/compile_share"] > 0.001

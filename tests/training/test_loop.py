"""What a run leaves behind, and what stops it."""

import json
import os
import re
import shutil

import jax
import numpy as np
import pytest

from quarkaudio_jax import load_codec
from quarkaudio_jax.config import CodecTrainConfig, ConfigError, from_config_dict
from quarkaudio_jax.data import pipeline
from quarkaudio_jax.errors import UserError
from quarkaudio_jax.io import audio
from quarkaudio_jax.training.guard import NonFiniteError
from quarkaudio_jax.training.lock import WorkdirLock
from quarkaudio_jax.training.loop import Trainer
from quarkaudio_jax.training.preemption import Preemption
from quarkaudio_jax.training.program import check_unchanged
from quarkaudio_jax.training.programs import make_program
from quarkaudio_jax.weights.checkpoint import CheckpointError, find_checkpoint, read_train_config
from quarkaudio_jax.weights.saved_codec import read_codec
from tests.conftest import TRAINED, losses, small_config


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
    config, step = read_train_config(find_checkpoint(trained))
    assert step == 2 and config.loop.steps == 2 and isinstance(config, CodecTrainConfig)


def same_config(**changes):
    """What `trained` was trained with."""
    return from_config_dict(small_config(**(TRAINED | changes)))


@pytest.mark.slow
def test_a_finished_run_stays_finished_though_a_newer_step_is_half_a_copy(trained, tmp_path, caplog):
    workdir = tmp_path / "run"
    shutil.copytree(trained, workdir)
    newer = workdir / "checkpoints" / "4"
    shutil.copytree(workdir / "checkpoints" / "2", newer)
    largest = max(newer.rglob("ocdbt.process_0/d/*"), key=lambda path: path.stat().st_size)
    os.truncate(largest, largest.stat().st_size // 2)
    assert Trainer(same_config(), workdir).run() == "finished"
    assert (workdir / "metrics.jsonl").read_text() == (trained / "metrics.jsonl").read_text()
    (aside,) = (workdir / "checkpoints").glob("4.damaged-*")
    assert "is damaged" in caplog.text and largest.name in caplog.text and aside.name in caplog.text
    assert find_checkpoint(workdir).name == "2"


def test_another_run_is_refused_and_leaves_nothing(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(Trainer, "_compile", None)  # it is refused before that
    workdir = tmp_path / "run"
    shutil.copytree(trained, workdir)
    before = {path: path.read_bytes() for path in workdir.rglob("*.json*")}
    refused = [
        ({"losses__mel": 3.0}, r"began with config.losses.mel = 15.0 \(now 3.0\): .*allow_changes=True"),
        ({"features__recipe": "precomputed"}, "config.features.recipe = 'mel'"),
        ({"data__music__paths": "embedded:events"}, "config.data.music.paths = 'embedded:music'"),
        ({"seed": 1}, "config.seed = 0"),
    ]
    for changes, message in refused:
        with pytest.raises(ConfigError, match=message):
            Trainer(same_config(**changes), workdir)
    notes = json.loads((workdir / "checkpoints/2/data/process_0-of-1.json").read_text())
    notes["sources"]["number of speech recordings"] += 1
    (workdir / "checkpoints/2/data/process_0-of-1.json").write_text(json.dumps(notes))
    with pytest.raises(ConfigError, match="began with number of speech recordings = "):
        Trainer(same_config(), workdir)
    (workdir / "checkpoints/2/data/process_0-of-1.json").write_bytes(
        before[workdir / "checkpoints/2/data/process_0-of-1.json"]
    )
    assert {path: path.read_bytes() for path in workdir.rglob("*.json*")} == before


def test_changes_are_told_where_they_are_allowed(caplog):
    check_unchanged({"a": 1, "old": 2}, {"a": 1, "new": 3}, allowed=False)
    check_unchanged({"a": 1, "b": 2}, {"a": 1, "b": 3}, allowed=True)
    assert "this run began with b = 2 (now 3)" in caplog.text


@pytest.mark.slow
def test_another_shape_is_refused_in_words(trained, tmp_path):
    workdir = tmp_path / "run"
    shutil.copytree(trained, workdir)
    before = (workdir / "config.json").read_text()
    with pytest.raises(CheckpointError, match="does not fit this configuration"):
        Trainer(same_config(codec__variant="hcodec_48k_base", loop__allow_changes=True), workdir)
    assert (workdir / "config.json").read_text() == before


def test_two_runs_in_one_directory_do_not_mix(tmp_path):
    lock = WorkdirLock(tmp_path)
    with pytest.raises(UserError, match="another training run"):
        Trainer(same_config(), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["train.lock"]
    lock.release()
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="can't be written"):
        Trainer(same_config(), tmp_path / "file")


@pytest.fixture
def poisoned(tmp_path, monkeypatch):
    """Configurations on a folder of 8 recordings, two of which give NaN."""
    folder = tmp_path / "recordings"
    for i in range(8):
        audio.write(folder / f"{i}.wav", 0.1 * np.random.default_rng(i).standard_normal(48000), 48000)
    real = pipeline.make_crop

    def make_crop(source, index, spec, position, *place):
        crop = real(source, index, spec, position)
        if source.name(index).endswith(("3.wav", "5.wav")):
            crop["wave"] = np.full_like(crop["wave"], np.nan)
        return crop

    monkeypatch.setattr(pipeline, "make_crop", make_crop)

    def configured(**changes):
        quick = dict(losses__adversarial=0.0, losses__feature_matching=0.0, ema_decay=0.9, data__heldout=0.0)
        config = small_config(**quick, loop__steps=8, data__speech__paths=str(folder), **changes)
        config.data.music.paths = config.data.events.paths = ""
        return from_config_dict(config)

    return configured


@pytest.mark.parametrize("variant", ["hcodec_48k_tiny", "hcodec_48k_base"])
def test_another_codec_is_refused_in_words(variant, trained):
    with pytest.raises(ConfigError, match=f"config.codec.variant = 'hcodec_48k_tiny_faded' .now '{variant}'"):
        Trainer(same_config(codec__variant=variant), trained)


@pytest.mark.slow
def test_bad_batches_are_skipped_and_a_stopped_run_ends_the_same(poisoned, tmp_path, monkeypatch, caplog):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert Trainer(poisoned(), whole).run() == "finished"
    skipped = [
        int(n) for n in re.findall(r"step (\d+) skipped \(\d+ so far\): grad_norm/generator is nan", caplog.text)
    ]
    named = re.findall(r"its examples: (.*)", caplog.text)
    assert skipped and all(set(re.findall(r"(\d).wav", line)) <= {"3", "5"} for line in named)
    assert all(len(line.split(", ")) <= 2 and ".wav" in line for line in named)
    last = lines(whole)[-1]
    assert last["step"] == 8 and last["steps/skipped"] == len(skipped) < 8
    for stop in (skipped[0], skipped[-1] - 1):
        with monkeypatch.context() as told:
            told.setattr(Preemption, "should_stop", lambda _, step, stop=stop: step >= stop)
            Trainer(poisoned(), parts).run()
    assert Trainer(poisoned(), parts).run() == "finished"
    assert losses(parts) == losses(whole)
    one, other = (read_codec(workdir)[1] for workdir in (whole, parts))
    jax.tree.map(np.testing.assert_array_equal, one, other)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(one))


@pytest.mark.slow
def test_too_many_bad_steps_in_a_row_end_the_run(poisoned, tmp_path, monkeypatch):
    trainer = Trainer(poisoned(loop__checkpoint_every=2, loop__bad_steps=1), tmp_path / "run")
    real, calls = trainer.train_step, []

    def poison(state, batch):
        calls.append(0)
        wave = np.random.default_rng(0).standard_normal(batch["wave"].shape, np.float32)
        wave *= np.nan if len(calls) in (4, 5) else 0.1
        return real(state, {"wave": jax.device_put(wave, batch["wave"].sharding)})

    monkeypatch.setattr(trainer, "train_step", poison)
    with pytest.raises(NonFiniteError, match=r"step 5: grad_norm/generator is nan.*loss/mel is nan.*step 4 in"):
        trainer.run()
    assert find_checkpoint(tmp_path / "run").name == "4"
    assert json.loads((tmp_path / "run/checkpoints/4/config/metadata").read_text())["bad_steps"] == {
        "in_a_row": 1,
        "total": 1,
    }


def test_wrong_values_are_named(tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match="config.program 'codecs' does not exist; did you mean 'codec'"):
        make_program(from_config_dict(small_config(program="codecs")))
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        find_checkpoint(tmp_path / "none")
    (tmp_path / "x.safetensors").touch()
    with pytest.raises(
        CheckpointError, match=r"x.safetensors is a file, not a checkpoint; .*convert import x.safetensors"
    ):
        find_checkpoint(tmp_path / "x.safetensors")
    monkeypatch.setenv("HOME", str(tmp_path))
    for load in (find_checkpoint, load_codec):
        with pytest.raises(CheckpointError, match=f"{tmp_path}/none: no such checkpoint"):
            load("~/none")
    with pytest.raises(CheckpointError, match=re.escape("holds no complete checkpoint")):
        find_checkpoint(tmp_path)


@pytest.mark.slow
def test_a_wrong_model_to_start_with_is_refused_before_compiling(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(Trainer, "_compile", None)
    with pytest.raises(ConfigError, match="was trained as hcodec_48k_tiny_faded"):
        Trainer(same_config(init_from=str(trained), codec__variant="hcodec_48k_tiny"), tmp_path / "front_end")
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        Trainer(same_config(init_from=str(tmp_path / "none")), tmp_path / "missing")


def test_where_the_time_went(trained):
    *_, last = [line for line in lines(trained) if "loss/total" in line]
    shares = {name: value for name, value in last.items() if name.startswith("time/")}
    kinds = ["productive", "setup", "compile", "restore", "evaluate", "data"]
    assert list(shares) == [f"time/{kind}_share" for kind in kinds]  # the checkpoint comes later
    assert sum(shares.values()) == pytest.approx(1) and all(0 <= share < 1 for share in shares.values())
    assert shares["time/compile_share"] > 0.001

"""prepare: what it writes, killed and resumed, by several processes, on a full disk, and what reads it."""

import hashlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import soundfile

from quarkaudio_jax import load_codec
from quarkaudio_jax.config import DataConfig, DomainConfig, PrepareConfig, from_config_dict
from quarkaudio_jax.data import manifest
from quarkaudio_jax.data.crops import SourceError
from quarkaudio_jax.data.heldout import heldout_end
from quarkaudio_jax.data.pipeline import crop_spec, training_batches
from quarkaudio_jax.data.records import Records, parts_of
from quarkaudio_jax.data.simulation.example import Inputs
from quarkaudio_jax.data.simulation.registry import simulate
from quarkaudio_jax.data.sources import open_source
from quarkaudio_jax.data.utterance import Utterance
from quarkaudio_jax.tokens.tasks import TASKS
from quarkaudio_jax.weights.ssl import load_extractor
from tests.preparing import COUNTS, arguments, call


def digests(folder):
    """{name: hash} of every file that the next stage reads."""
    files = [p for p in pathlib.Path(folder).rglob("*") if p.is_file() and ".work" not in p.parts]
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_records_hold_what_the_simulation_made(prepared, trained):
    codec = load_codec(trained)
    config = json.loads((prepared / "plan.json").read_text())["config"]
    cfg = from_config_dict({**config, "codec": ""}, PrepareConfig)
    inputs = Inputs(cfg.sources, cfg.simulation, codec.sample_rate)
    assert set(TASKS) < set(parts_of(prepared))
    for task, about in TASKS.items():
        records = Records(prepared / task)
        assert len(records) == 6
        record = records[5]
        example, _ = simulate(task, inputs, cfg.seed, 5)
        assert record["id"] == f"{task}/5" and record["text"] == example.text
        assert json.loads(record["meta"]) == example.meta
        assert record["source"].shape == (len(example.source_S) // 960, 96) and record["source"].dtype == np.float16
        assert len(record["reference"]) == len(example.reference_S) // 960 > 0 or not about.reference
        alone = codec.encode(example.target_S)
        for stream in ("acoustic", "semantic"):
            assert record[stream].shape[1:] == getattr(alone, f"{stream}_BxTxK").shape[2:]
            equal = record[stream] == np.asarray(getattr(alone, f"{stream}_BxTxK"))[0]
            assert equal.mean() > 0.99  # a batch rounds otherwise than an item alone
        assert not len(record["durations"])


@pytest.mark.slow
def test_draws_of_a_target_share_its_codes_and_stay_on_one_side_of_the_heldout_ones(trained, tmp_path):
    fields = {"examples.restoration": 6, "draws": 3, "simulation.degrade.reverberation": 0.0, "simulation.seconds": 1.0}
    call(*arguments(trained, tmp_path, **fields, **{"simulation.level": "(-40.0,-35.0)"}))
    records = Records(tmp_path / "restoration")
    found = [records[i] for i in range(6)]
    assert [json.loads(r["meta"]).get("draw", 0) for r in found] == [0, 1, 2, 0, 1, 2]
    for group in (found[:3], found[3:]):
        assert all((r["acoustic"] == group[0]["acoustic"]).all() for r in group)
        assert (group[1]["source"] != group[0]["source"]).any()
    assert heldout_end(records, 0.2) == 3 and heldout_end(records, 0.5) == 3 and heldout_end(records, 0.0) == 0


def test_tfds_opens_it(prepared):
    import tensorflow_datasets as tfds

    source = tfds.builder_from_directory(str(prepared / "lass" / "1.0.0")).as_data_source(split="train")
    ours = Records(prepared / "lass")
    assert len(source) == len(ours) == 6
    for theirs, mine in zip(source, (ours[i] for i in range(6)), strict=True):
        assert theirs["text"].decode() == mine["text"]
        np.testing.assert_array_equal(theirs["source"], mine["source"])


def test_the_report_adds_up(prepared):
    report = json.loads((prepared / "report.json").read_text())
    for part, row in report.items():
        records = Records(prepared / part)
        files = (prepared / part).rglob("*.array_record-*")
        assert row["examples"] == len(records) and row["bytes"] == sum(path.stat().st_size for path in files)
        assert row["seconds"] > 0 and row["left_out"] == 0


def test_audio_for_codec_training_is_cropped_with_its_features(prepared):
    paths = f"prepared:{prepared}/codec_speech"
    source = open_source(paths)
    whole = source.read(2, None, 0.0)
    crop = source.read(2, 0.4, 0.5)
    first = round(crop.start * 50)
    assert len(whole.samples_SxC) == len(whole.features_TxD) * 960
    np.testing.assert_array_equal(crop.features_TxD, whole.features_TxD[first : first + 20])
    np.testing.assert_array_equal(crop.samples_SxC, whole.samples_SxC[first * 960 : first * 960 + 19200])
    none = DomainConfig("", 0.0)
    data = DataConfig(speech=DomainConfig(paths, 1.0), music=none, events=none, batch_size=2, crop_seconds=0.4)
    batches, _ = training_batches(data, crop_spec(data, 48000, 3840, 960, 96), seed=0)
    batch = next(batches)
    assert batch["wave"].shape == (2, 19200) and batch["features"].shape == (2, 20, 96)
    with pytest.raises(SourceError, match="holds examples of a task"):
        open_source(f"prepared:{prepared}/lass").read(0, None, 0.0)


@pytest.mark.slow
@pytest.mark.parametrize("recipe, model", [("hubert", "hubert"), ("wav2vec2", "wav2vec2_stable17"), ("wavlm", "wavlm")])
def test_real_models_make_the_features(trained, tmp_path, recipe, model):
    """Every kind of SSL model by the name of its recipe, from a Hugging Face folder with the golden weights."""
    from tests.parity.test_ssl import write_folder

    width = write_folder(tmp_path / "model", f"hf_{model}")
    fields = {"examples.separation": 2, "features.recipe": recipe, "features.weights": tmp_path / "model"}
    call(*arguments(trained, tmp_path / "out", **fields, dtype="bfloat16"))
    record = Records(tmp_path / "out" / "separation")[0]
    assert record["source"].shape[1] == width and record["source"].dtype.name == "bfloat16"
    extractor = load_extractor(recipe, tmp_path / "model")
    config = json.loads((tmp_path / "out" / "plan.json").read_text())["config"]
    cfg = from_config_dict({**config, "codec": "", "codec_features": ""}, PrepareConfig)
    example, _ = simulate("separation", Inputs(cfg.sources, cfg.simulation, 48000), 0, 0)
    frames = len(example.source_S) // 960
    alone = extractor(extractor.params, example.source_S[None, : frames * 960], 48000, 960, width)
    difference = np.abs(record["source"].astype(np.float32) - np.asarray(alone)[0, :frames])
    assert len(record["source"]) == frames and difference.max() < 0.01 * np.abs(alone).max()


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"examples.restoration": 0}, "nothing to prepare"),
        ({"examples.restoration": 1, "codec": ""}, "config.codec is empty"),
        ({"examples.restoration": 1, "dtype": "float8"}, "choose float16 or bfloat16"),
        ({"examples.codec_speech": 10**9}, "its source has 200000 clips"),
        ({"examples.restoration": 1, "features.recipe": "precomputed"}, "can't be computed"),
        ({"examples.restoration": 1, "sources.speech": "/no/such/folder"}, "no such file or folder"),
        ({"examples.lass": 1, "features.recipe": "wavlm"}, "https://huggingface.co/microsoft/wavlm-base-plus into a"),
        (
            {"examples.lass": 1, "text.recipe": "t5"},
            "neither a folder with config.json, tokenizer.json and model.safetensors",
        ),
        ({"examples.lass": 1, "sources.events": ""}, "config.sources.events, which is empty"),
    ],
)
def test_wrong_requests_get_one_line(trained, tmp_path, fields, message, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(SystemExit) as caught:
        call(*arguments(trained, tmp_path / "out", **fields))
    assert message in str(caught.value) and len(str(caught.value).splitlines()) == 1


def test_another_plan_is_refused_and_a_finished_one_is_left_alone(prepared, trained):
    before = digests(prepared)
    written = {name: (prepared / name).stat().st_mtime_ns for name in before}
    call(*arguments(trained, prepared, **COUNTS, clip_seconds=1.0))
    assert {name: (prepared / name).stat().st_mtime_ns for name in digests(prepared)} == written
    lost = next(prepared.rglob("dataset_info.json"))
    lost.unlink()
    call(*arguments(trained, prepared, **COUNTS, clip_seconds=1.0))
    assert digests(prepared) == before
    with pytest.raises(SystemExit, match=r"begun with another config.seed \(0, now 1\)"):
        call(*arguments(trained, prepared, **COUNTS, clip_seconds=1.0, seed=1))


def start(args, **environment):
    command = [sys.executable, "-m", "quarkaudio_jax.prepare", *args]
    return subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **environment}
    )


@pytest.mark.slow
def test_killed_and_shared_by_two_processes_the_result_is_the_same_to_the_byte(trained, tmp_path):
    counts = {"examples.restoration": 24, "examples.audio_editing": 12}
    call(*arguments(trained, tmp_path / "one", **counts))
    args = arguments(trained, tmp_path / "two", **counts)
    done = tmp_path / "two" / ".work"
    for wanted in (1, 3):
        process = start(args)
        while len(list(done.glob("*.json"))) < wanted and process.poll() is None:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
    kept = {p: p.stat().st_mtime_ns for p in (tmp_path / "two").rglob("*.array_record-*") if not p.name.startswith(".")}
    together = [start([*args, "--config.workers=1"]), start(args)]
    assert [p.wait() for p in together] == [0, 0], [p.stderr.read() for p in together]
    assert digests(tmp_path / "one") == digests(tmp_path / "two")
    assert kept and all(p.stat().st_mtime_ns == when for p, when in kept.items())
    assert not [p for p in (tmp_path / "two").rglob("*.part")]


@pytest.mark.slow
def test_a_full_disk_stops_the_shard_and_the_next_start_finishes(trained, tmp_path):
    """The kernel refuses to let files grow beyond 8 kB, as a full disk would."""
    args = arguments(trained, tmp_path / "out", **{"examples.separation": 8})
    code = (
        "import resource, signal, sys\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "from quarkaudio_jax.cli import prepare\n"
        "from quarkaudio_jax.preparation import run\n"
        "begin = run.Preparation.run\n"
        "def limited(self):\n"
        "    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))\n"
        "    begin(self)\n"
        "run.Preparation.run = limited\n"
        f"prepare.main(['prepare', *{args!r}])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1 and "error: separation-00000: " in done.stderr, done.stderr
    assert not list((tmp_path / "out").rglob("*array_record*")) and not parts_of(tmp_path / "out")
    call(*args)
    assert len(Records(tmp_path / "out" / "separation")) == 8


def test_a_file_that_cannot_be_opened_stops_its_shard_and_the_next_start_finishes(trained, tmp_path):
    rng = np.random.default_rng(0)
    for number in range(8):
        soundfile.write(tmp_path / f"{number}.wav", 0.1 * rng.standard_normal(48000), 48000)
    lines = [Utterance(str(i), f"{i}.wav", duration=1.0) for i in range(8)]
    manifest.write(tmp_path / "m.jsonl", lines)
    os.rename(tmp_path / "5.wav", tmp_path / "away")
    args = arguments(
        trained, tmp_path / "out", **{"examples.codec_speech": 8, "sources.speech": tmp_path / "m.jsonl", "codec": ""}
    )
    with pytest.raises(SystemExit) as caught:
        call(*args)
    assert str(caught.value) == f"error: codec_speech-00001: {tmp_path}/5.wav: No such file or directory"
    assert len(list((tmp_path / "out").rglob("*array_record-*"))) == 1 and not parts_of(tmp_path / "out")
    os.rename(tmp_path / "away", tmp_path / "5.wav")
    call(*args)
    assert len(Records(tmp_path / "out" / "codec_speech")) == 8


def test_a_file_that_can_t_be_used_is_named_and_the_exit_status_says_so(tmp_path, capsys):
    for name, wave in (("a", np.ones(16000)), ("b", np.full(16000, np.nan)), ("c", np.ones(16000))):
        (tmp_path / "in").mkdir(exist_ok=True)
        soundfile.write(tmp_path / "in" / f"{name}.wav", wave, 16000, "FLOAT")
    config = {"sources.speech": tmp_path / "in", "sample_rate": 16000, "examples.codec_speech": 3}
    for _ in range(2):  # also where nothing is left to do
        with pytest.raises(SystemExit) as stopped:
            call(*arguments("", tmp_path / "out", **config))
        printed = capsys.readouterr().out
        assert stopped.value.code == 1 and "2 examples" in printed and "b.wav: samples are NaN" in printed

"""Benchmarks from the command line, with a codec and a language model trained in the tests."""

import csv
import json
import math
import shutil
import subprocess
import sys

import numpy as np
import pytest

from quarkaudio_jax.cli import evaluate
from quarkaudio_jax.evaluation import systems
from quarkaudio_jax.evaluation.benchmarks import BENCHMARKS
from quarkaudio_jax.io import audio
from quarkaudio_jax.report import tables
from tests.conftest import ROOT
from tests.evaluation import sets

CHEAP = "--metrics=mel_distance,si_sdr"


def call(*arguments):
    evaluate.main(["quarkaudio evaluate", *map(str, arguments)])


def copied(items, folder):
    """Outputs made elsewhere: the targets themselves, or the source, in the layout that --reconstructions takes."""
    for item in items:
        found = item.targets or (item.source,)
        for i, path in enumerate(found, 1):
            name = item.name if len(found) == 1 else f"{item.name}.{i}"
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, folder / f"{name}{path.suffix}")


@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_row_measures_outputs_made_elsewhere(name, tmp_path, capsys):
    sets.MAKERS[name](tmp_path / "data")
    items = BENCHMARKS[name].read(tmp_path / "data")
    copied(items, tmp_path / "made")
    call(
        *(f"--benchmark={name}", f"--data={tmp_path / 'data'}", f"--reconstructions={tmp_path / 'made'}"),
        *(f"--output={tmp_path / 'out'}", "--metrics=mel_distance"),
    )
    found = json.loads((tmp_path / "out" / "results.json").read_text())
    assert [row["file"] for row in found["files"]] == [item.name for item in items] and not found["failed"]
    assert found["settings"]["published"] == BENCHMARKS[name].published and "numpy" in found["settings"]["versions"]
    for item, row in zip(items, found["files"], strict=True):
        assert row["mel_distance"] == (0.0 if item.targets else None)
    rows = list(csv.DictReader((tmp_path / "out" / "results.csv").open()))
    assert [row["file"] for row in rows] == [item.name for item in items]
    assert f"| mean of {len(items)}" in capsys.readouterr().out


@pytest.mark.slow
def test_the_usual_metrics_of_a_row(tmp_path, capsys):
    """All that need no weights get values; those that do say what they want, and have no column."""
    sets.librispeech(tmp_path)
    copied(BENCHMARKS["librispeech"].read(tmp_path), tmp_path / "made")
    given = ["--benchmark=librispeech", f"--data={tmp_path}", f"--reconstructions={tmp_path / 'made'}", "--limit=1"]
    call(*given, f"--output={tmp_path / 'out'}")
    said = capsys.readouterr()
    assert "left out: wer: it needs an ASR model: a transformers model such as openai/whisper" in said.err
    assert "left out: speaker: it needs a speaker encoder" in said.err
    (row,) = json.loads((tmp_path / "out" / "results.json").read_text())["files"]
    assert row["stoi"] == pytest.approx(1, abs=1e-6) and "wer" not in row and "speaker_similarity" not in row


def test_talkers_are_matched_and_all_outputs_count(tmp_path):
    sets.libri2mix(tmp_path)
    (item,) = BENCHMARKS["libri2mix-separation"].read(tmp_path)
    for i, path in enumerate(reversed(item.targets), 1):  # the other way round
        audio.write(tmp_path / "made" / f"{item.name}.{i}.wav", audio.read(path)[0], sets.RATE)
    given = [f"--data={tmp_path}", f"--reconstructions={tmp_path / 'made'}", "--benchmark=libri2mix-separation"]
    call(*given, f"--output={tmp_path / 'out'}", CHEAP)
    (row,) = json.loads((tmp_path / "out" / "results.json").read_text())["files"]
    assert row["mel_distance"] < 1e-3 and row["si_sdr"] > 60
    waves = [sets.talk(0.5, pitch) for pitch in (100, 200)]
    found = systems.in_order(waves[::-1], waves, sets.RATE)
    assert all(a is b for a, b in zip(found, waves, strict=True))


def test_it_goes_on_where_it_stopped_and_refuses_other_settings(tmp_path, capsys):
    sets.librispeech(tmp_path)
    copied(BENCHMARKS["librispeech"].read(tmp_path), tmp_path / "made")
    given = ["--benchmark=librispeech", f"--data={tmp_path}", f"--reconstructions={tmp_path / 'made'}", CHEAP]
    given += [f"--output={tmp_path / 'out'}"]
    call(*given)
    whole = (tmp_path / "out" / "results.csv").read_text()
    path = tmp_path / "out" / "results.1of1.jsonl"
    first, second, _ = path.read_text().splitlines()
    marked = first.replace('"seconds": 1.2', '"seconds": 77.0')
    path.write_text(marked + "\n" + second[:20])  # killed in the middle of a line
    call(*given)
    assert (tmp_path / "out" / "results.csv").read_text() == whole.replace(",1.2,", ",77.0,", 1)
    with pytest.raises(SystemExit, match=r"error: .*out holds results with seed 0, not 1: use the same command, or"):
        call(*given, "--seed=1")


@pytest.mark.slow
def test_several_processes_share_the_work(tmp_path, capsys):
    sets.librispeech(tmp_path)
    copied(BENCHMARKS["librispeech"].read(tmp_path), tmp_path / "made")
    given = ["--benchmark=librispeech", f"--data={tmp_path}", f"--reconstructions={tmp_path / 'made'}", CHEAP]
    call(*given, f"--output={tmp_path / 'alone'}")
    command = [sys.executable, "-m", "quarkaudio_jax.evaluate", *given, f"--output={tmp_path / 'both'}"]
    running = [
        subprocess.Popen([*command, f"--share={i}/2", "--workers=1"], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        for i in (1, 2)
    ]
    said = [process.communicate(timeout=120)[0] for process in running]
    assert [process.returncode for process in running] == [0, 0] and any("mean of 3" in text for text in said)
    for name in ("results.csv", "results.md"):
        assert (tmp_path / "both" / name).read_text() == (tmp_path / "alone" / name).read_text()


def test_files_that_fail_are_listed(tmp_path):
    sets.librispeech(tmp_path)
    items = BENCHMARKS["librispeech"].read(tmp_path)
    copied(items[:2], tmp_path / "made")
    (tmp_path / "made" / f"{items[1].name}.flac").write_bytes(b"fLaC")
    with pytest.raises(SystemExit) as stopped:
        call(
            *("--benchmark=librispeech", f"--data={tmp_path}", f"--reconstructions={tmp_path / 'made'}", CHEAP),
            f"--output={tmp_path / 'out'}",
        )
    message = str(stopped.value)
    assert message.startswith("not measured:") and message.count("\n") == 2
    assert f"{items[2].name}: {items[2].name}: no file of that name in" in message and "0001.flac" in message
    found = json.loads((tmp_path / "out" / "results.json").read_text())
    assert len(found["files"]) == 1 and [row["file"] for row in found["failed"]] == [i.name for i in items[1:]]


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([], "give a folder of audio, or --benchmark=NAME"),
        (["--benchmark=librispech", "--data=.", "--reconstructions=."], "did you mean 'librispeech'"),
        (["--benchmark=musdb", "--data=/none", "--reconstructions=."], "--data=/none is not a folder; musdb wants musdb18hq"),
        (["."], "give a model"),
        ([".", "--reconstructions=/none"], "/none: no such folder"),
        ([".", "--reconstructions=.", "--share=3/2", "--output=x"], "--share=3/2 is not i/n"),
        ([".", "--reconstructions=.", "--share=1/2"], "--share needs a folder"),
        ([".", "--reconstructions=.", "--metrics=mos"], "metric 'mos' does not exist; choose from mel_distance"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sets.write(tmp_path / "a.wav")
    with pytest.raises(SystemExit, match=f"error: .*{message}"):
        call(*arguments)


def test_means_of_error_rates_count_what_was_said():
    rows = [{"file": "a", "wer": 0.5, "words": 2, "x": 1.0}, {"file": "b", "wer": 0.0, "words": 8, "x": float("nan")}]
    assert tables.means(rows) == {"wer": pytest.approx(0.1), "words": 10, "x": 1.0}
    assert tables.means([{"file": "a", "wer": float("nan"), "words": 0.0}])["words"] == 0
    assert json.loads(tables.to_json({"a": [float("nan"), 1.0]})) == {"a": [None, 1.0]}


def test_a_mean_says_over_how_many():
    """The tables' last row, and the counts beside the means."""
    rows = [{"file": name, "x": x, "y": 1.0} for name, x in (("a", 1.0), ("b", math.nan), ("c", 2.0))]
    last = tables.markdown([*rows, {"file": "d", "y": 1.0}], {"fad": 0.25}, {"fad": 3}).splitlines()[-1]
    assert [cell.strip() for cell in last.split("|")[1:-1]] == ["mean of 4", "1.500 (2)", "1.000", "0.250 (3)"]
    assert tables.counts(rows) == {"x": 2, "y": 3}
    last = tables.markdown(rows[:1]).splitlines()[-1]
    assert [cell.strip() for cell in last.split("|")[1:-1]] == ["mean of 1", "1.000", "1.000"]


def test_results_say_over_how_many(tmp_path):
    """Of a set of which one recording has no target."""
    sets.packet_loss(tmp_path)
    copied(BENCHMARKS["plc"].read(tmp_path), tmp_path / "made")
    given = ["--benchmark=plc", f"--data={tmp_path}", f"--reconstructions={tmp_path / 'made'}", "--fad=mel"]
    call(*given, "--metrics=mel_distance,fad", f"--output={tmp_path / 'out'}")
    found = json.loads((tmp_path / "out" / "results.json").read_text())
    assert found["counts"] == {"seconds": 2, "mel_distance": 1, "fad": 1} and len(found["files"]) == 2
    assert found["means"]["mel_distance"] == pytest.approx(0, abs=1e-6)
    last = (tmp_path / "out" / "results.md").read_text().splitlines()[-1]
    assert "| 0.000 (1) " in last and last.startswith("| mean of 2")


def test_fad_without_any_target_is_left_out(tmp_path, capsys):
    sets.seed_tts(tmp_path)
    copied(BENCHMARKS["seedtts-editing"].read(tmp_path), tmp_path / "made")
    given = ["--benchmark=seedtts-editing", f"--data={tmp_path}", f"--reconstructions={tmp_path / 'made'}", "--fad=mel"]
    call(*given, "--metrics=mel_distance,fad", f"--output={tmp_path / 'out'}")
    found = json.loads((tmp_path / "out" / "results.json").read_text())
    line = "fad: no item has a target to compare with"
    assert found["left_out"] == [line] and "fad" not in found["means"] and line in capsys.readouterr().err


def test_files_of_one_stem_are_told_apart(tmp_path):
    """Outputs made elsewhere of song.flac and song.wav keep the suffix, or are refused."""
    for name, pitch in (("song.flac", 100), ("song.wav", 200), ("alone.wav", 150)):
        audio.write(tmp_path / "in" / name, sets.talk(0.5, pitch), sets.RATE)
    names = ["alone.wav", "song.flac", "song.wav"]
    given = [tmp_path / "in", "--metrics=mel_distance"]
    call(*given, f"--reconstructions={tmp_path / 'in'}", f"--output={tmp_path / 'itself'}")
    for name in names:
        (tmp_path / "made").mkdir(exist_ok=True)
        shutil.copy(tmp_path / "in" / name, tmp_path / "made" / ("alone.wav" if name == "alone.wav" else f"{name}.x"))
    for name in names[1:]:
        audio.write(tmp_path / "made" / f"{name}.wav", audio.read(tmp_path / "in" / name)[0], sets.RATE)
    call(*given, f"--reconstructions={tmp_path / 'made'}", f"--output={tmp_path / 'kept'}")
    for out in ("itself", "kept"):
        found = json.loads((tmp_path / out / "results.json").read_text())
        assert [row["file"] for row in found["files"]] == names
        assert all(row["mel_distance"] == pytest.approx(0, abs=1e-3) for row in found["files"])
    audio.write(tmp_path / "one" / "song.wav", sets.talk(0.5, 100), sets.RATE)
    audio.write(tmp_path / "one" / "alone.wav", sets.talk(0.5, 150), sets.RATE)
    with pytest.raises(SystemExit, match=r"song.flac: song.flac: no file of that name"):
        call(*given, f"--reconstructions={tmp_path / 'one'}")


def test_a_name_that_is_not_utf8_is_measured(tmp_path, capsys):
    name = f"x{chr(0xDCFF)}.wav"
    audio.write(tmp_path / "in" / name, sets.talk(0.5), sets.RATE)
    given = [tmp_path / "in", f"--reconstructions={tmp_path / 'in'}", CHEAP, f"--output={tmp_path / 'out'}"]
    call(*given, f"--report={tmp_path / 'page'}")
    found = json.loads((tmp_path / "out" / "results.json").read_text("utf-8"))
    assert [row["file"] for row in found["files"]] == [r"x\udcff.wav"] and not found["failed"]
    assert "data:image/jpeg" in (tmp_path / "page" / "index.html").read_text("utf-8")


def test_what_is_in_the_way_is_said_before_the_work(tmp_path):
    sets.write(tmp_path / "in" / "a.wav")
    (tmp_path / "old.csv").write_text("old")
    (tmp_path / "page").mkdir()
    (tmp_path / "page" / "index.html").write_text("old")
    given = [tmp_path / "in", f"--reconstructions={tmp_path / 'in'}", CHEAP]
    for more, message in (
        ([f"--output={tmp_path / 'old.csv'}"], "old.csv exists already: --overwrite replaces it"),
        ([f"--report={tmp_path / 'page'}"], "index.html exists already: --overwrite replaces it"),
        ([f"--output={tmp_path / 'in' / 'a.wav'}"], "a.wav is a file, but should be a folder"),
    ):
        with pytest.raises(SystemExit, match=f"error: .*{message}"):
            call(*given, *more)
    assert (tmp_path / "old.csv").read_text() == "old" == (tmp_path / "page" / "index.html").read_text()
    call(*given, f"--output={tmp_path / 'old.csv'}", f"--report={tmp_path / 'page'}", "--overwrite")
    assert "a.wav" in (tmp_path / "old.csv").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["musdb", "vctk-conversion", "plc", "libri2mix-extraction", "libri2mix-separation", "seedtts-editing"])  # fmt: skip
def test_a_model_answers_every_kind_of_row(name, trained, trained_lm, tmp_path):
    sets.MAKERS[name](tmp_path / "data")
    models = [f"--checkpoint={trained}"] if name == "musdb" else [f"--checkpoint={trained_lm}", f"--codec={trained}"]
    given = [f"--benchmark={name}", f"--data={tmp_path / 'data'}", "--limit=1", "--metrics=mel_distance", *models]
    call(*given, f"--output={tmp_path / 'out'}", f"--report={tmp_path / 'page'}")
    found = json.loads((tmp_path / "out" / "results.json").read_text())
    (row,) = found["files"]
    item = BENCHMARKS[name].read(tmp_path / "data")[0]
    assert row["mel_distance"] is None if not item.targets else np.isfinite(row["mel_distance"])
    kept = sorted(path.stem for path in (tmp_path / "out" / "audio" / item.name).iterdir())
    expected = {
        "musdb": ["input", "output"],
        "libri2mix-separation": ["ceiling 1", "ceiling 2", "input", "output 1", "output 2", "target 1", "target 2"],
    }
    usual = ["ceiling", "input", "output", "target"] if item.targets else ["input", "output"]
    assert kept == expected.get(name, usual)
    assert (tmp_path / "page" / "index.html").read_text().count("data:image/jpeg") == len(kept)

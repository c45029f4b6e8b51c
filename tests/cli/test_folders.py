"""Folders as they are: nothing is written over, a run goes on where it stopped, one bad file ends nothing."""

import shutil

import numpy as np
import pytest
import soundfile

from quarkaudio_jax.cli import decode, encode, manifest
from quarkaudio_jax.cli import tasks as generate
from quarkaudio_jax.io import audio

RATE = 16000
NOT_UTF8 = f"caf{chr(0xDCE9)}"


def call(verb, *arguments):
    verb.main(["quarkaudio", *map(str, arguments)])


def noise(folder, *names):
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for name in names:
        audio.write(folder / name, 0.1 * rng.standard_normal(1600).astype(np.float32), RATE)


def found(folder):
    return sorted(path.name for path in folder.iterdir())


class TestEncodeAndDecode:
    @pytest.fixture
    def encoded(self, trained, tmp_path):
        noise(tmp_path / "in", "a.wav", "song.flac", "song.wav", f"{NOT_UTF8}.wav")
        call(encode, tmp_path / "in", "--checkpoint", trained, "--output", tmp_path / "tokens")
        return tmp_path

    def test_every_file_gets_tokens_and_sound_of_its_own(self, encoded, trained, capfdbinary):
        tokens = sorted(["a.qka", f"{NOT_UTF8}.qka", "song.flac.qka", "song.wav.qka"])
        assert found(encoded / "tokens") == tokens
        call(decode, encoded / "tokens", "--checkpoint", trained, "--output", encoded / "out")
        assert found(encoded / "out") == sorted(name.replace(".qka", ".wav") for name in tokens)

    def test_a_second_run_is_refused_or_goes_on(self, encoded, trained, capsys):
        folders = [encoded / "in", "--checkpoint", trained, "--output", encoded / "tokens"]
        before = {path.name: path.stat().st_mtime_ns for path in (encoded / "tokens").iterdir()}
        with pytest.raises(SystemExit, match=r"a.qka exists already \(and 3 more\): --skip-existing resumes"):
            call(encode, *folders)
        (encoded / "tokens" / "a.qka").unlink()
        capsys.readouterr()
        call(encode, *folders, "--skip-existing")
        said = capsys.readouterr()
        assert said.out.count("kbit/s with header") == 1 and "3 of 4 files exist already" in said.err
        after = {path.name: path.stat().st_mtime_ns for path in (encoded / "tokens").iterdir()}
        assert {name for name in after if after[name] == before[name]} == set(before) - {"a.qka"}
        call(encode, encoded / "in" / "a.wav", "--overwrite", *folders[1:])
        assert (encoded / "tokens" / "a.qka").stat().st_mtime_ns > after["a.qka"]

    def test_nothing_is_loaded_where_nothing_is_to_do(self, encoded):
        call(
            *(encode, encoded / "in", "--checkpoint", "/nowhere", "--output", encoded / "tokens", "--skip-existing"),
        )

    def test_names_that_are_too_long_are_named(self, trained, tmp_path):
        long = "x" * 250  # .wav fits into 255 bytes, .wav.qka does not
        noise(tmp_path / "in", "a.wav")
        for suffix in ("wav", "flac"):
            shutil.copy(tmp_path / "in" / "a.wav", tmp_path / "in" / f"{long}.{suffix}")  # libsndfile looks inside
        with pytest.raises(SystemExit) as stopped:
            call(encode, tmp_path / "in", "--checkpoint", trained, "--output", tmp_path / "tokens")
        lines = str(stopped.value).splitlines()
        assert len(lines) == 2 and all(f"{long}." in line and line.endswith("File name too long") for line in lines)
        assert found(tmp_path / "tokens") == ["a.qka"]

    def test_tokens_are_not_written_over_by_their_sound(self, encoded):
        folder = encoded / "mixed"
        folder.mkdir()
        shutil.copy(encoded / "tokens" / "a.qka", folder / "a.wav")
        with pytest.raises(SystemExit, match=r"a.wav is a source, .*a.wav: choose another --output"):
            call(decode, folder / "a.wav", "--checkpoint", "/nowhere", "--output", folder, "--overwrite")


@pytest.mark.parametrize(
    "verb, more, message",
    [
        ("restore", [], "is a source"),
        ("convert-voice", ["--reference"], "is a source"),
        ("separate", [], "exists already"),
    ],
)
def test_a_model_s_answer_is_not_written_over_what_it_is_asked_about(verb, more, message, tmp_path):
    noise(tmp_path, ["in", "a.wav"][-1], "a.1.wav", "voice.wav")
    models = ["--checkpoint=/nowhere", "--codec=/nowhere"]
    if more:  # the sample of a voice lies where an answer would
        noise(tmp_path / "other", "voice.wav")
        given = [tmp_path / "other" / "voice.wav", f"--reference={tmp_path / 'voice.wav'}", "--overwrite"]
    else:
        given = [tmp_path / "a.wav"]
    with pytest.raises(SystemExit, match=message):
        generate.main(["quarkaudio", verb, *map(str, given), *models, f"--output={tmp_path}"])


def test_a_manifest_names_what_it_leaves_out_and_is_not_written_over(tmp_path, capsys):
    noise(tmp_path / "in", "a.wav", "b.wav")
    (tmp_path / "in" / "b.wav").write_bytes(b"RIFF")
    with pytest.raises(SystemExit) as stopped:
        call(manifest, tmp_path / "in", f"--output={tmp_path / 'list.jsonl'}")
    said = capsys.readouterr()
    assert stopped.value.code == 1 and "1 utterances" in said.out and "left out" in said.err and "b.wav" in said.err
    (tmp_path / "in" / "b.wav").unlink()
    with pytest.raises(SystemExit, match="list.jsonl exists already: --overwrite replaces it"):
        call(manifest, tmp_path / "in", f"--output={tmp_path / 'list.jsonl'}")
    call(manifest, tmp_path / "in", f"--output={tmp_path / 'list.jsonl'}", "--overwrite")


def test_an_output_that_is_a_file_is_one_line(tmp_path):
    noise(tmp_path / "in", "a.wav")
    soundfile.write(tmp_path / "file", np.zeros(10), RATE, format="WAV")
    for verb in (encode, decode):
        source = tmp_path / "in" / "a.wav"
        with pytest.raises(SystemExit, match=r"^error: --output=.*file is a file, but should be a folder$"):
            call(verb, source, "--checkpoint=/nowhere", f"--output={tmp_path / 'file'}")

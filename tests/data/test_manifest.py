"""Manifests: made from folders, lists and sets; checked; read back."""

import json

import numpy as np
import pytest
import soundfile

from quarkaudio_jax.cli import manifest as verb
from quarkaudio_jax.data import manifest
from quarkaudio_jax.data.crops import SourceError
from quarkaudio_jax.data.source import Joined
from quarkaudio_jax.data.sources import list_utterances, open_source
from quarkaudio_jax.data.utterance import Utterance, Word, from_json, to_json


@pytest.fixture
def folder(tmp_path):
    """Two speakers with transcripts, and a file that is no audio."""
    rng = np.random.default_rng(0)
    for name, text in {"anna/1.wav": "hello there", "anna/2.flac": "good morning", "ben/1.wav": ""}.items():
        path = tmp_path / "speech" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, 0.1 * rng.standard_normal(16000), 16000)
        if text:
            path.with_suffix(".txt").write_text(text + "\n")
    (tmp_path / "speech" / "broken.wav").write_bytes(b"RIFF")
    return tmp_path / "speech"


def made(spec, domain, **kwargs):
    skipped = []
    return list(list_utterances(str(spec), domain, skipped, **kwargs)), skipped


def test_a_folder_gives_speakers_and_transcripts(folder):
    found, skipped = made(folder, "speech")
    assert [(u.id, u.speaker, u.transcript, u.duration) for u in found] == [
        ("anna/1", "anna", "hello there", 1.0),
        ("anna/2", "anna", "good morning", 1.0),
        ("ben/1", "ben", "", 1.0),
    ]
    assert len(skipped) == 1 and "broken.wav" in skipped[0]
    events, _ = made(folder, "events")
    assert events[0].caption == "hello there" and not events[0].speaker


def test_the_verb_writes_what_the_pools_read(folder, tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:  # as something was left out
        verb.main(["quarkaudio manifest", str(folder), "--output", str(tmp_path / "speech.jsonl")])
    assert stopped.value.code == 1
    assert "3 utterances, 0.00 h, 2 speakers, 1 files left out" in capsys.readouterr().out
    lines = [json.loads(line) for line in (tmp_path / "speech.jsonl").read_text().splitlines()]
    assert lines[0]["audio"] == "speech/anna/1.wav"  # relative, so that the folder can move
    source = open_source(str(tmp_path / "speech.jsonl"))
    assert len(source) == 3 and list(source.same_speaker(0)) == [0, 1] and source.speaker(2) == "ben"
    assert len(source.clip(0, 8000).samples_S) == 8000


def test_the_three_kinds_of_lists(folder, tmp_path):
    (tmp_path / "rir.scp").write_text("r1 speech/anna/1.wav\n# comment\n\n")
    (tmp_path / "speech.scp").write_text(
        "u1 anna speech/anna/1.wav\nu2 ben speech/ben/1.wav\nu3 x speech/missing.wav\n"
    )
    (tmp_path / "noise.scp").write_text("n1 16000 4000 8000 speech/ben/1.wav\n")
    assert [u.id for u in made(tmp_path / "rir.scp", "rir")[0]] == ["r1"]
    speech, skipped = made(tmp_path / "speech.scp", "speech")
    assert [(u.id, u.speaker) for u in speech] == [("u1", "anna"), ("u2", "ben")] and "missing.wav" in skipped[0]
    (noise,), _ = made(tmp_path / "noise.scp", "noise")
    assert (noise.start, noise.duration) == (0.25, 0.5)
    source = open_source(str(tmp_path / "noise.scp"), domain="noise")
    np.testing.assert_array_equal(
        source.clip(0, 16000).samples_S, soundfile.read(folder / "ben/1.wav", dtype="float32")[0][4000:12000]
    )


@pytest.mark.parametrize(
    "domain, line, message",
    [
        ("rir", "only-an-id", "line 1: 'only-an-id' is not `id path`"),
        ("noise", "n1 8000 0 100 speech/ben/1.wav", "the list says 8000 Hz, the file has 16000 Hz"),
        ("noise", "n1 16000 0 99999 speech/ben/1.wav", "lie outside the file, which has 16000"),
        ("noise", "n1 16000 zero 100 speech/ben/1.wav", "should be whole numbers"),
        ("music", "m1 sox speech/ben/1.wav -t wav - |", "is not `id path` .pipes and .ark archives can't be read."),
        ("speech", "u1 anna speech/anna/1.wav\nu2 speech/anna/1.wav", "line 2: .* is not `id speaker path`"),
    ],
)
def test_wrong_lists_are_named(folder, tmp_path, domain, line, message):
    (tmp_path / "x.scp").write_text(line + "\n")
    with pytest.raises(SourceError, match=message):
        made(tmp_path / "x.scp", domain)


@pytest.mark.parametrize("texts, said", [(("text",), "TEXT"), (("text_original", "text_normalized"), "NORMALIZED")])
def test_a_tfds_set(tmp_path, texts, said):
    """Sets with the fields of LibriSpeech and LibriTTS, stored as TFDS stores them."""
    from tests.data.tfds_sets import write_speech_set

    write_speech_set(tmp_path, "librispeech_like", count=3, texts=texts)
    found, _ = made("tfds:librispeech_like:train", "speech", tfds_dir=str(tmp_path))
    assert {u.speaker for u in found} == {"7", "8"} and {u.transcript for u in found} == {
        f"{said} {i}" for i in range(3)
    }
    manifest.write(tmp_path / "set.jsonl", found)
    source = open_source(str(tmp_path / "set.jsonl"), str(tmp_path))
    lengths = sorted(len(source.clip(i, 16000).samples_S) for i in range(3))
    assert lengths == [16000, 16001, 16002]


def test_lines_survive_writing_and_reading(tmp_path):
    utterance = Utterance("ü/1", "a.wav", "speech", 0.5, 2.0, "x", "héllo you", (Word("héllo", 0.1, 0.4),))
    event = Utterance("e", "b.wav", "events", caption="a bell", paraphrases=("the bell", "ringing"))
    assert from_json(json.loads(json.dumps(to_json(utterance)))) == utterance
    manifest.write(tmp_path / "m.jsonl", [utterance, event])
    read = manifest.Manifest(tmp_path / "m.jsonl")
    assert [read[0], read[1]] == [utterance, event]


@pytest.mark.parametrize(
    "line, message",
    [
        ('{"id": "a"}', "field 'audio' is missing"),
        ('{"id": "a", "audio": "x.wav", "speeker": "b"}', "unknown field 'speeker'"),
        ('{"id": "a", "audio": "x.wav", "start": -1}', "start is -1"),
        ('{"id": "a", "audio": "x.wav", "duration": "long"}', "duration is 'long'"),
        ('{"id": "a", "audio": "x.wav", "domain": "noises"}', "domain is 'noises'"),
        ('{"id": "a", "audio": "x.wav", "words": [["b", 1.0, 0.5]]}', "ends before it starts"),
        ('{"id": "a", "audio": "x.wav", "words": [["b", 1.0]]}', "should hold"),
        ('{"id": "a", "audio": "x.wav", "duration": 1.0, "words": [["b", 1.0, 9.0]]}', "after the utterance"),
        ('{"id": "a", "audio"', "Expecting"),
        ("[1]", "is not an object"),
        ('{"id": "ok", "audio": "x.wav"}', "id 'ok' was used above"),
    ],
)
def test_wrong_lines_are_named(tmp_path, line, message):
    (tmp_path / "m.jsonl").write_text('{"id": "ok", "audio": "x.wav"}\n' + line + "\n")
    with pytest.raises(SourceError, match=f"m.jsonl, line 2: .*{message}"):
        manifest.Manifest(tmp_path / "m.jsonl")


def test_nothing_is_left_half_written(tmp_path):
    def failing():
        yield Utterance("a", "a.wav")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        manifest.write(tmp_path / "m.jsonl", failing())
    with pytest.raises(SourceError, match="nothing to write"):
        manifest.write(tmp_path / "m.jsonl", [])
    assert not list(tmp_path.iterdir())


def test_joined_pools_keep_speakers_apart(folder):
    source = open_source(f"{folder},embedded:speech", check=True)
    assert isinstance(source, Joined) and source.speaker(0) != source.speaker(3)
    assert list(source.same_speaker(1)) == [0, 1]
    assert source.clip(3, 16000).utterance.id == "embedded:speech#0"
    with pytest.raises(SourceError, match="no such file or folder"):
        open_source("/no/such/folder", check=True)

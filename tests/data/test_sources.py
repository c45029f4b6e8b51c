"""Sources: folders, globs, lists, TFDS sets, the embedded corpus."""

import pickle

import numpy as np
import pytest
import soundfile

from quarkaudio_jax.data.sources import SourceError, open_source, split_heldout
from tests.data.tfds_sets import write_speech_set


@pytest.fixture
def folder(tmp_path):
    for i, (name, rate) in enumerate({"a.wav": 16000, "b.flac": 44100, "sub/c.ogg": 48000, "d.mp3": 32000}.items()):
        path = tmp_path / "audio" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, 0.1 * np.random.default_rng(i).standard_normal((3 * rate, 1 + i % 2)), rate)
    (tmp_path / "audio" / "notes.txt").write_text("not audio")
    return tmp_path / "audio"


def test_a_folder_holds_its_audio_files(folder):
    source = open_source(str(folder))
    assert [source.name(i) for i in range(len(source))] == ["a.wav", "b.flac", "d.mp3", "sub/c.ogg"]
    crop = source.read(1, 1.0, 0.5)
    assert crop.rate == 44100 and crop.samples_SxC.shape == (44100, 2) and crop.start == pytest.approx(1.0)


def test_globs_lists_and_several_at_once(folder, tmp_path):
    assert len(open_source(f"{folder}/*.wav,{folder}/**/*.ogg")) == 2
    scp = tmp_path / "list.scp"
    scp.write_text("# comment\nutt1 audio/a.wav\n\nutt2\taudio/sub/c.ogg\n")
    source = open_source(f"{scp}, {folder / 'b.flac'}")
    assert [source.name(i) for i in range(3)] == ["utt1", "utt2", "b.flac"]
    assert [source.read(i, 0.1, 0).rate for i in range(3)] == [16000, 48000, 44100]


@pytest.mark.parametrize(
    "spec, message",
    [
        ("/no/such/folder", "no such file or folder"),
        ("", "no audio in"),
        ("embedded:whales", "choose one of speech, music, events"),
        ("tfds:no_such_set:train", "no ArrayRecord files"),
    ],
)
def test_wrong_sources_are_named(spec, message):
    with pytest.raises(SourceError, match=message):
        open_source(spec)


def test_wrong_lists_and_empty_folders_are_named(tmp_path):
    scp = tmp_path / "x.scp"
    scp.write_text("ok a.wav\nutt sox a.wav -t wav - |\n")
    with pytest.raises(SourceError, match="x.scp, line 2"):
        open_source(str(scp))
    with pytest.raises(SourceError, match="holds no audio files"):
        open_source(str(tmp_path))


def test_heldout_parts_are_apart_and_stable(folder):
    source = open_source(str(folder))
    train, heldout = split_heldout(source, 0.3)
    names = [[s.name(i) for i in range(len(s))] for s in (train, heldout)]
    assert names[1] and sorted(names[0] + names[1]) == [source.name(i) for i in range(4)]
    assert names == [[s.name(i) for i in range(len(s))] for s in split_heldout(open_source(str(folder)), 0.3)]
    assert len(split_heldout(source, 0.0)[1]) == 1 and len(split_heldout(source, 1.0)[0]) == 1


@pytest.mark.parametrize("lazy", [False, True])
def test_a_tfds_set(tmp_path, lazy):
    write_speech_set(tmp_path, "tiny_audio", 3, lazy)
    source = open_source("tfds:tiny_audio:train", str(tmp_path))
    assert len(source) == 3
    crops = [source.read(i, None, 0.0) for i in range(3)]
    assert {len(c.samples_SxC) - 16000 for c in crops} == {0, 1, 2} and crops[0].rate == 16000
    assert max(float(c.samples_SxC.max()) for c in crops) == pytest.approx(2000 / 32768)
    assert len(pickle.loads(pickle.dumps(source)).read(0, 0.5, 0.5).samples_SxC) == 8000
    with pytest.raises(SourceError, match="no ArrayRecord files of that set and split"):
        open_source("tfds:tiny_audio:test", str(tmp_path))

"""Lists of files, and of sources, as people write them."""

import json

import numpy as np
import pytest
import soundfile

from quarkaudio_jax.data import manifest
from quarkaudio_jax.data.crops import SourceError
from quarkaudio_jax.data.lists import split_specs
from quarkaudio_jax.data.sources import list_utterances, open_source


@pytest.fixture
def folder(tmp_path):
    for name in ("a.wav", "b c.wav", "d,e.WAV"):
        soundfile.write(tmp_path / name, np.full(1600, 0.1), 16000, format="WAV")
    return tmp_path


@pytest.mark.parametrize("name", ["list.scp", "LIST.SCP"])
def test_scp_with_a_byte_order_mark_and_comments(folder, name):
    (folder / name).write_bytes(b"\xef\xbb\xbf# made by hand\r\nfirst a.wav\r\n\r\nsecond b c.wav\r\n")
    source = open_source(str(folder / name))
    assert [source.name(i) for i in range(len(source))] == ["first", "second"]
    assert all(len(source.read(i, None, 0.0).samples_SxC) == 1600 for i in range(2))


@pytest.mark.parametrize("name", ["list.txt", "list.lst", "LIST.TXT"])
def test_plain_lists_have_a_path_a_line(folder, name):
    (folder / name).write_text(f"# comment\n{folder / 'a.wav'}\nb c.wav\nd,e.WAV\n")
    source = open_source(str(folder / name))
    assert len(source) == 3 and all(len(source.read(i, None, 0.0).samples_SxC) == 1600 for i in range(3))


@pytest.mark.parametrize(
    "data, reason",
    [
        ("é a.wav".encode("latin-1"), "line 1: not UTF-8"),
        ("a a.wav".encode("utf-16"), "line 1: not UTF-8"),
        (b"a a\0b", "NUL"),
    ],
)
@pytest.mark.parametrize("name", ["list.scp", "list.txt"])
def test_other_encodings_are_named(folder, name, data, reason):
    (folder / name).write_bytes(data)
    with pytest.raises(SourceError, match=f"{name}.*{reason}"):
        open_source(str(folder / name))
    if name.endswith(".scp"):
        with pytest.raises(SourceError, match=f"{name}.*{reason}"):
            list(list_utterances(str(folder / name), "noise", []))


def test_commas_in_paths(folder):
    path = folder / "d,e.WAV"
    assert split_specs(f"{path}, {folder / 'a.wav'},embedded:music,") == [
        str(path),
        str(folder / "a.wav"),
        "embedded:music",
    ]
    assert split_specs("x,y") == ["x", "y"] and split_specs(" , ") == []
    assert len(open_source(f"{path},{folder / 'a.wav'}")) == 2
    inner = folder / "one, two"
    inner.mkdir()
    soundfile.write(inner / "x.wav", np.full(1600, 0.1), 16000)
    assert len(open_source(f"{inner},{inner}", domain="noise", check=True)) == 2


def test_damage_in_the_middle_keeps_a_file_out_of_a_manifest(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("bad.flac", "good.flac"):
        soundfile.write(tmp_path / name, 0.1 * rng.standard_normal(32000), 16000)
    data = (tmp_path / "bad.flac").read_bytes()
    middle = len(data) // 2
    (tmp_path / "bad.flac").write_bytes(data[:middle] + bytes(64) + data[middle + 64 :])
    (tmp_path / "good.txt").write_bytes(b"\xef\xbb\xbfwords")
    skipped = []
    found = list(list_utterances(str(tmp_path), "speech", skipped))
    assert [u.transcript for u in found] == ["words"]
    assert len(skipped) == 1 and "bad.flac: not readable" in skipped[0]


def test_deep_json_is_named(tmp_path):
    (tmp_path / "m.jsonl").write_text("[" * 100_000)
    with pytest.raises(SourceError, match=r"m.jsonl, line 1"):
        manifest.Manifest(tmp_path / "m.jsonl")
    (tmp_path / "n.jsonl").write_text(json.dumps({"id": "é"}), encoding="latin-1")
    with pytest.raises(SourceError, match=r"n.jsonl, line 1"):
        manifest.Manifest(tmp_path / "n.jsonl")

"""A source means the same clips to codec training and to simulation, however it is written."""

import json

import numpy as np
import pytest
import soundfile

from quarkaudio_jax.config import DataConfig, DomainConfig, PrepareConfig, SourcesConfig
from quarkaudio_jax.data import manifest, records
from quarkaudio_jax.data.pipeline import open_domains
from quarkaudio_jax.data.simulation.example import Inputs
from quarkaudio_jax.data.sources import SourceError, list_utterances, open_source
from quarkaudio_jax.io.transforms import resample, to_mono
from tests.data.tfds_sets import write_speech_set

RATE = 16000
NONE = DomainConfig("", 0.0)


def to_train(spec, tfds_dir="", domain="speech"):
    """What `train` reads: both parts of the domain."""
    domains = dict.fromkeys(("speech", "music", "events"), NONE) | {domain: DomainConfig(spec, 1.0)}
    kept, heldout, _ = open_domains(DataConfig(**domains, tfds_dir=tfds_dir, heldout=0.5))[domain]
    return kept, heldout


def to_simulate(spec, tfds_dir="", domain="speech"):
    """What `prepare` and `simulate` read."""
    sources = {**dict.fromkeys(("speech", "music", "events"), ""), domain: spec, "tfds_dir": tfds_dir}
    return Inputs(SourcesConfig(**sources), PrepareConfig().simulation, RATE).source(domain)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("audio")
    rng = np.random.default_rng(0)
    for name, rate in (("anna/1.wav", 16000), ("anna/2.flac", 44100), ("ben/1.ogg", 48000), ("ben/b c.wav", 22050)):
        (root / name).parent.mkdir(exist_ok=True)
        soundfile.write(root / name, 0.1 * rng.standard_normal((rate + 7, 2)), rate)
    (root / "anna" / "1.txt").write_text("hello there")
    (root / "two.scp").write_text("a anna/1.wav\nb anna/2.flac\nc ben/b c.wav\n")
    (root / "three.scp").write_text("a anna anna/1.wav\nb anna anna/2.flac\nc ben ben/b c.wav\n")
    (root / "segments.scp").write_text("a 16000 100 8000 anna/1.wav\nb 22050 441 10000 ben/b c.wav\n")
    (root / "paths.lst").write_text("anna/1.wav\nben/b c.wav\n")
    manifest.write(root / "m.jsonl", list_utterances(str(root), "speech", [], relative_to=root))
    lines = [
        {"id": "part", "audio": "anna/1.wav", "start": 0.1, "duration": 0.5, "speaker": "anna"},
        {"id": "end", "audio": "ben/1.ogg", "start": 0.31},
        {"id": "made", "audio": "embedded:speech/test#3"},
        {"id": "stored", "audio": "tfds:stored:train#1", "start": 0.2, "duration": 0.4},
    ]
    (root / "parts.jsonl").write_text("\n".join(map(json.dumps, lines)))
    write_speech_set(root / "tfds", "stored", 3)
    features = records.audio_features(4, "float16")
    writer = records.ShardWriter(records.shard_path(root / "prepared", "codec_speech", 0, 1), features)
    for index in range(3):
        meta = {"id": f"u{index}", "speaker": "ab"[index % 2], "transcript": f"text {index}"}
        wave = rng.integers(-3000, 3000, 48000).astype(np.int16)
        row = {"id": str(index), "wave": wave, "rate": 48000, "features": np.zeros((50, 4), np.float16)}
        writer.write({**row, "meta": json.dumps(meta)})
    writer.finish()
    records.write_metadata(root / "prepared", "codec_speech", features, [3], writer.bytes, "")
    return root


SAID = {"embedded:speech/test#3": "embedded:speech#129"}

SPECS = {
    "a folder": ("{root}/ben", 2, ["1", "b c"], ["", ""]),
    "a folder of speakers": ("{root}", 4, ["anna/1", "anna/2", "ben/1", "ben/b c"], ["anna", "anna", "ben", "ben"]),
    "a glob": ("{root}/*/*.wav", 2, ["anna/1", "ben/b c"], ["anna", "ben"]),
    "a file": ("{root}/anna/1.wav", 1, ["1"], [""]),
    "scp of paths": ("{root}/two.scp", 3, ["a", "b", "c"], ["", "", ""]),
    "scp with speakers": ("{root}/three.scp", 3, ["a", "b", "c"], ["anna", "anna", "ben"]),
    "scp of segments": ("{root}/segments.scp", 2, ["a", "b"], ["", ""]),
    "a list of paths": ("{root}/paths.lst", 2, ["anna/1", "ben/b c"], ["", ""]),
    "a manifest": ("{root}/m.jsonl", 4, ["anna/1", "anna/2", "ben/1", "ben/b c"], ["anna", "anna", "ben", "ben"]),
    "parts of everything": ("{root}/parts.jsonl", 4, ["part", "end", "made", "stored"], ["anna", "", "", ""]),
    "TFDS": ("tfds:stored:train", 3, None, None),
    "prepared": ("prepared:{root}/prepared/codec_speech", 3, ["u0", "u1", "u2"], ["a", "b", "a"]),
    "several": ("{root}/two.scp, {root}/m.jsonl", 7, None, ["", "", "", "3/anna", "3/anna", "3/ben", "3/ben"]),
}


@pytest.mark.parametrize("kind", SPECS)
def test_both_read_the_same_clips(folder, kind):
    spec, count, ids, speakers = SPECS[kind]
    spec = spec.format(root=folder)
    source = to_simulate(spec, str(folder / "tfds"))
    assert len(source) == count
    assert ids is None or [source.utterance(i).id for i in range(count)] == ids
    assert speakers is None or [source.speaker(i) for i in range(count)] == speakers
    parts = to_train(spec, str(folder / "tfds"))
    crops = {part.name(i): part.read(i, None, 0.0) for part in parts for i in range(len(part))}
    assert len(crops) == len({source.name(i) for i in range(count)})
    for index in range(count):
        crop, clip = crops[source.name(index)], source.clip(index, RATE)
        grid = round(crop.start * RATE)  # crops begin on a grid of 20 ms of the file, segments anywhere
        assert 0 <= grid <= RATE // 50
        read = resample(to_mono(crop.samples_SxC), crop.rate, RATE)
        size = len(clip.samples_S) - grid
        assert abs(len(read) - size) <= 2  # a manifest's times are rounded
        if crop.rate == RATE or not grid:
            size = min(size, len(read)) - 200  # at its end the resampler sees what is beyond it
            np.testing.assert_allclose(read[:size], clip.samples_S[grid : grid + size], atol=2e-4)
        line = source.utterance(index)  # of the embedded corpus a clip says more than the line
        assert clip.utterance.id == (SAID[line.audio] if line.audio.startswith("embedded:") else line.id)


@pytest.mark.parametrize("name, count", [("speech/test", 18858), ("events/train", 18000), ("music", 20000)])
def test_the_embedded_corpus_and_its_splits(name, count):
    domain = name.partition("/")[0]
    source = to_simulate(f"embedded:{name}", domain=domain)
    kept, heldout = to_train(f"embedded:{name}", domain=domain)
    assert len(source) == len(kept) + len(heldout) == count
    index = next(i for i in range(100) if source.name(i) == kept.name(0))
    crop = kept.read(0, None, 0.0)
    np.testing.assert_allclose(resample(crop.samples_SxC[:, 0], crop.rate, RATE), source.clip(index, RATE).samples_S)


@pytest.mark.parametrize(
    "spec, message",
    [
        ("/no/such/folder", "/no/such/folder: no such file or folder, and no file matches it as a pattern"),
        ("/no/such/list.scp", "list.scp: no such file or folder"),
        ("/no/such/m.jsonl", "m.jsonl: no such file or folder"),
        ("embedded:whales", "embedded:whales does not exist; choose one of speech, music, events"),
        ("embedded:speech/dev", "its splits are train and test"),
        ("tfds:no_such_set:train", "tfds:no_such_set:train: no ArrayRecord files"),
        ("prepared:/no/such/folder", "not finished by prepare, or not made by it"),
        ("{root}/empty", "empty holds no audio files"),
        ("{root}/wrong.scp", "wrong.scp, line 2: 'only-an-id' is not `id path`"),
        ("{root}/wrong.jsonl", "wrong.jsonl, line 1: field 'audio' is missing"),
    ],
)
def test_both_refuse_the_same_with_the_same_words(folder, spec, message):
    (folder / "empty").mkdir(exist_ok=True)
    (folder / "wrong.scp").write_text("a anna/1.wav\nonly-an-id\n")
    (folder / "wrong.jsonl").write_text('{"id": "a"}\n')
    said = []
    for consumer in (to_train, to_simulate):
        with pytest.raises(SourceError, match=message) as caught:
            consumer(spec.format(root=folder), str(folder / "tfds"))
        said.append(str(caught.value))
    assert said[0] == said[1]


def test_a_wrong_segment_is_refused_by_both(folder):
    (folder / "rate.scp").write_text("a 8000 0 100 anna/1.wav\n")
    source = open_source(str(folder / "rate.scp"))
    for call in (lambda: source.read(0, 1.0, 0.0), lambda: source.clip(0, RATE), lambda: source.utterance(0)):
        with pytest.raises(SourceError, match="rate.scp, line 1: the list says 8000 Hz, the file has 16000 Hz"):
            call()


def test_simulation_leaves_out_what_cannot_be_read(tmp_path, caplog):
    for name in ("a.wav", "b.wav"):
        soundfile.write(tmp_path / name, np.full(1600, 0.1), 16000)
    (tmp_path / "broken.wav").write_bytes(b"RIFF")
    source = to_simulate(str(tmp_path))
    assert [source.name(i) for i in range(len(source))] == ["a.wav", "b.wav"]
    assert "left out 1 of 3 clips, the first: " in caplog.text and "broken.wav" in caplog.text
    assert len(open_source(str(tmp_path))) == 3


def test_segments_keep_to_the_grid_of_precomputed_features(tmp_path):
    rng = np.random.default_rng(0)
    soundfile.write(tmp_path / "a.wav", 0.1 * rng.standard_normal(16000), 16000, "FLOAT")
    np.save(tmp_path / "a.features.npy", np.arange(50.0)[:, None])
    (tmp_path / "m.jsonl").write_text('{"id": "x", "audio": "a.wav", "start": 0.105, "duration": 0.5}\n')
    source = open_source(str(tmp_path / "m.jsonl"))
    crop = source.read(0, None, 0.0)  # 0.12 s is the first frame in it
    assert crop.start == pytest.approx(0.015) and len(crop.samples_SxC) == 16000 * 0.485
    np.testing.assert_array_equal(crop.features_TxD[:, 0], np.arange(6, 31))
    crop = source.read(0, 0.2, 0.999)
    first = round((0.105 + crop.start) * 50)
    np.testing.assert_array_equal(crop.features_TxD[:, 0], np.arange(first, first + 10))
    whole, _ = soundfile.read(tmp_path / "a.wav", dtype="float32")
    np.testing.assert_array_equal(crop.samples_SxC[:, 0], whole[first * 320 : first * 320 + 3200])


def test_a_manifest_can_be_made_of_all_that_is_read(folder, tmp_path):
    """Also of another manifest, whose relative paths are found from the new place; not of prepared records."""
    for spec in ("{root}/ben/*.wav", "{root}/paths.lst", "{root}/parts.jsonl", "{root}/segments.scp"):
        source = open_source(spec.format(root=folder), str(folder / "tfds"))
        lines = list_utterances(spec.format(root=folder), "speech", [], str(folder / "tfds"), tmp_path)
        manifest.write(tmp_path / "m.jsonl", lines)
        again = open_source(str(tmp_path / "m.jsonl"), str(folder / "tfds"))
        assert len(again) == len(source)
        for index in range(len(source)):
            expected = source.clip(index, RATE)
            np.testing.assert_array_equal(again.clip(index, RATE).samples_S, expected.samples_S)
    with pytest.raises(SourceError, match="manifests can't refer to prepared records"):
        list(list_utterances(f"prepared:{folder}/prepared/codec_speech", "speech", []))

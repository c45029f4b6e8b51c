"""Every published layout, read from a tiny copy of it."""

import shutil

import pytest

from quarkaudio_jax.errors import UserError
from quarkaudio_jax.evaluation.benchmarks import BENCHMARKS, RECONSTRUCTION, listing
from quarkaudio_jax.io import audio
from quarkaudio_jax.metrics.registry import METRICS
from quarkaudio_jax.tokens.tasks import TASKS
from tests.evaluation import sets


def read(name, root):
    sets.MAKERS[name](root)
    return BENCHMARKS[name].read(root)


@pytest.mark.parametrize(
    "name, expected",
    [
        ("librispeech", [(f"1089/134686/1089-134686-000{i}", f"HE HOPED THERE WOULD BE STEW {i}", "") for i in range(3)]),
        ("seedtts-en", [("one", "Get the trust fund", ""), ("two", "Other prompt.", "")]),
        ("seedtts-zh", [("one", "他把球踢出去", ""), ("two", "Other prompt.", "")]),
        ("audioset", [("--4gqARaEJE", "", ""), ("-0RWZT-miFs", "", "")]),
        ("musdb", [("AM Contra - Heart Peripheral", "", ""), ("Al James - Schoolboy Facination", "", "")]),
        ("plc", [("1", "", ""), ("2", "", "")]),
        ("libri2mix-extraction", [(f"{sets.MIX}-s1", "", ""), (f"{sets.MIX}-s2", "", "")]),
        ("libri2mix-separation", [(sets.MIX, "", "")]),
        ("seedtts-editing", [("1-one", "他把球踢", "删除“出去”"), ("2-voice-1", "他说", "添加“他”")]),
        (
            "vctk-conversion",
            [(f"{name}-to-{other}", "Please call Stella.", "") for name, other in zip(("p225_001", "p225_002", "p226_001"), ("p226", "p226", "p225"), strict=True)],
        ),
    ],
)  # fmt: skip
def test_every_layout(name, expected, tmp_path):
    items = read(name, tmp_path)
    assert [(item.name, item.text, item.prompt) for item in items] == expected
    for item in items:
        for path in (item.source, *item.targets, *([item.voice] if item.voice else [])):
            assert audio.info(path)[0] > 0


def test_what_goes_in_and_what_should_come_out(tmp_path):
    lossy = read("plc", tmp_path / "plc")
    assert [path.parent.name for path in lossy[0].targets] == ["clean_signals"] and lossy[1].targets == ()
    (mixed,) = read("libri2mix-separation", tmp_path / "mix")
    assert [p.parent.name for p in (mixed.source, *mixed.targets)] == ["mix_clean", "s1", "s2"]
    first, second = BENCHMARKS["libri2mix-extraction"].read(tmp_path / "mix")
    assert [p.parent.name for p in first.targets + second.targets] == ["s1", "s2"]
    assert first.voice.stem == "4077-13751-0003" and second.voice.stem == "5142-36586-0002"
    for item in read("vctk-conversion", tmp_path / "vctk"):
        assert item.voice.parent.name == item.name.split("-to-")[1] and "mic1" in item.source.name
    track = read("musdb", tmp_path / "musdb")[0]
    assert track.source == track.targets[0] and track.source.name == "mixture.wav"


def test_the_folder_may_be_named_at_any_level(tmp_path):
    sets.librispeech(tmp_path)
    for root in (tmp_path, tmp_path / "LibriSpeech", tmp_path / "LibriSpeech" / "test-clean"):
        assert len(BENCHMARKS["librispeech"].read(root)) == 3
    (tmp_path / "other").mkdir()
    with pytest.raises(
        UserError, match=r"other holds none of LibriSpeech/test-clean/; see `quarkaudio evaluate --list`"
    ):
        BENCHMARKS["librispeech"].read(tmp_path / "other")


def test_broken_lists_are_named(tmp_path):
    sets.seed_tts(tmp_path)
    folder = tmp_path / "seedtts_testset" / "en"
    (folder / "meta.lst").write_text("one|text|prompt-wavs/voice-0.wav|said\ntwo|text\n")
    with pytest.raises(UserError, match=r"meta.lst, line 2: 2 fields, but should be at least 4, separated by '\|'"):
        BENCHMARKS["seedtts-en"].read(tmp_path)
    (folder / "meta.lst").write_text("three|text|prompt-wavs/none.wav|said\n")
    with pytest.raises(UserError, match=r"line 1: .*none.wav does not exist"):
        BENCHMARKS["seedtts-en"].read(tmp_path)
    (folder / "meta.lst").unlink()
    with pytest.raises(UserError, match=r"meta.lst: no such file"):
        BENCHMARKS["seedtts-en"].read(tmp_path)
    sets.libri2mix(tmp_path)
    mix = tmp_path / "Libri2Mix" / "wav16k" / "min" / "test"
    shutil.rmtree(mix / "enrolment")
    with pytest.raises(UserError, match=r"map_mixture2enrollment, line 1: .*4077-13751-0003 does not exist"):
        BENCHMARKS["libri2mix-extraction"].read(tmp_path)
    (mix / "map_mixture2enrollment").write_text("a_b a x\n")
    with pytest.raises(UserError, match=r"line 1: no mixture a_b in mix_clean/ with a"):
        BENCHMARKS["libri2mix-extraction"].read(tmp_path)


def test_every_row_is_told_and_can_be_measured():
    text = listing()
    for row in BENCHMARKS.values():
        assert row.name in text and row.published in text and row.files in text
        assert set(row.metrics) <= set(METRICS) and len(set(row.metrics)) == len(row.metrics)
        assert row.task == RECONSTRUCTION or row.task in TASKS
    assert set(sets.MAKERS) == set(BENCHMARKS)

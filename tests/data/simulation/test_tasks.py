"""Ground truth of every task: what is recorded is what is heard."""

import dataclasses
import json
import pickle
import re
import zlib

import numpy as np
import pytest
import soundfile

from quarkaudio_jax.config import (
    PrepareConfig,
    SourcesConfig,
    TaskExamples,
    TaskWeights,
    from_config_dict,
    to_config_dict,
)
from quarkaudio_jax.configs import prepare
from quarkaudio_jax.data import manifest
from quarkaudio_jax.data.crops import SourceError
from quarkaudio_jax.data.example_producer import CLIPS
from quarkaudio_jax.data.simulation.example import Inputs
from quarkaudio_jax.data.simulation.registry import REDRAWN, SIMULATORS, simulate
from quarkaudio_jax.data.simulation.speech_editing import splice
from quarkaudio_jax.data.utterance import Utterance, Word
from quarkaudio_jax.io.audio import AudioError
from quarkaudio_jax.io.levels import peak, rms
from quarkaudio_jax.tokens.tasks import TASKS

RATE = 16000


def inputs(sources=None, **changes):
    """Inputs with simulation fields changed, dots as __."""
    config = to_config_dict(PrepareConfig())
    for name, value in changes.items():
        *groups, field = name.split("__")
        group = config.simulation
        for part in groups:
            group = group[part]
        group[field] = value
    return Inputs(SourcesConfig(**(sources or {})), from_config_dict(config, PrepareConfig).simulation, RATE)


@pytest.fixture(scope="module")
def usual():
    return inputs()


def decibels(signal, other):
    return 20 * np.log10(rms(signal) / rms(other))


def test_every_task_has_a_simulator():
    assert set(SIMULATORS) == set(TASKS) and len({t.number for t in TASKS.values()}) == len(TASKS)


def test_the_table_of_tasks_is_all_that_the_configuration_needs():
    assert [f.name for f in dataclasses.fields(TaskWeights)] == list(TASKS)
    assert [f.name for f in dataclasses.fields(TaskExamples)][: len(TASKS)] == list(TASKS)
    assert set(to_config_dict(TaskExamples())) == {*TASKS, *CLIPS}
    assert pickle.loads(pickle.dumps(TaskExamples(lass=3))) == TaskExamples(lass=3)
    assert all(prepare.get_config("tiny").examples[task] == 64 for task in TASKS)


@pytest.mark.parametrize("task", REDRAWN)
def test_draws_mix_the_same_target_anew(task):
    plain = inputs(degrade__reverberation=0.0, level=(-40.0, -35.0))
    first, second, third = (simulate(task, plain, 0, 3, draw)[0] for draw in range(3))
    assert first.meta == simulate(task, plain, 0, 3)[0].meta and "draw" not in first.meta
    for draw, example in enumerate((second, third), start=1):
        assert example.meta["draw"] == draw and example.meta["talker.id"] == first.meta["talker.id"]
        assert len(example.source_S) == len(first.source_S) and (example.source_S != first.source_S).any()
        if task != "separation":  # whose target is the louder talker
            np.testing.assert_array_equal(example.target_S, first.target_S)
    assert (second.source_S != third.source_S).any()


@pytest.mark.parametrize("interferer", [0.0, 1.0])
@pytest.mark.parametrize("task", ["restoration", "extraction", "reverse_extraction"])
def test_final_peaks_are_within_their_bounds(task, interferer):
    low, high = 0.1, 0.99
    final = inputs(final_peak=(low, high), talkers__restoration=interferer)
    for index in range(6):
        example, _ = simulate(task, final, 0, index)
        source, target = peak(example.source_S), peak(example.target_S)
        assert max(source, target, peak(example.other_S)) <= high + 1e-5
        if task != "restoration":
            peaks = source, target, peak(example.other_S)
            assert min(peaks) >= low - 1e-5 or max(peaks) == pytest.approx(high, abs=1e-5)
        elif not interferer:
            wanted = min(example.meta["target_peak"], high * target / max(source, target))
            assert target == pytest.approx(wanted, abs=1e-5) and low <= example.meta["target_peak"] <= high
        assert ("target_peak" in example.meta) == (task == "restoration" and not interferer)


@pytest.mark.parametrize("task", SIMULATORS)
def test_examples_keep_their_promises(usual, task):
    for index in range(6):
        example, _ = simulate(task, usual, 0, index)
        about = TASKS[task]
        longest = round(usual.cfg.seconds * RATE)
        for samples in (example.source_S, example.target_S, example.reference_S, example.other_S):
            assert samples.dtype == np.float32 and np.isfinite(samples).all() and len(samples) <= longest
            assert np.abs(samples).max(initial=0) <= 0.99 + 1e-6
        assert rms(example.source_S) > 1e-4 and rms(example.target_S) > 1e-4
        assert bool(example.text) == about.text and bool(len(example.reference_S)) == about.reference
        if about.aligned:
            assert len(example.source_S) == len(example.target_S)
        assert json.loads(json.dumps(example.meta)) == example.meta


def fingerprint(example):
    total = zlib.crc32(example.text.encode())
    for samples in (example.source_S, example.target_S, example.reference_S):
        total = zlib.crc32(samples.tobytes(), total)
    return total


@pytest.mark.parametrize("task", SIMULATORS)
def test_examples_follow_from_seed_and_number(usual, task):
    other_process = pickle.loads(pickle.dumps(usual))
    first = fingerprint(simulate(task, usual, 5, 3)[0])
    assert fingerprint(simulate(task, other_process, 5, 3)[0]) == first
    assert fingerprint(simulate(task, usual, 6, 3)[0]) != first


def test_noise_has_the_ratio_that_is_recorded():
    clean = {f"degrade__{k}": 0.0 for k in ("reverberation", "bandwidth", "clipping", "packet_loss", "codec")}
    noisy = inputs(degrade__noise=1.0, talkers__restoration=0.0, **clean)
    for index in range(4):
        example, _ = simulate("restoration", noisy, 0, index)
        noise = example.source_S - example.target_S
        assert decibels(example.target_S, noise) == pytest.approx(example.meta["noise.snr_db"], abs=0.05)


def test_talkers_have_the_ratio_that_is_recorded():
    dry = {f"degrade__{k}": 0.0 for k in ("noise", "reverberation", "bandwidth", "clipping", "packet_loss", "codec")}
    for task, sign in (("extraction", 1), ("reverse_extraction", -1), ("separation", 1)):
        for index in range(3):
            example, _ = simulate(task, inputs(**dry), 0, index)
            np.testing.assert_allclose(example.source_S, example.target_S + example.other_S, atol=1e-5)
            ratio = sign * decibels(example.target_S, example.other_S)
            assert ratio == pytest.approx(example.meta["sir_db"], abs=0.05)
            if task == "separation":
                assert ratio >= -0.05


def test_the_reference_is_the_targets_voice_in_another_utterance(usual):
    for index in range(5):
        meta = simulate("extraction", usual, 0, index)[0].meta
        assert meta["talker.speaker"] != meta["other.speaker"] and meta["reference.id"] != meta["talker.id"]
        number = int(meta["reference.id"].partition("#")[2])
        assert usual.source("speech").speaker(number) == meta["talker.speaker"]


def test_lass_mixtures_are_sums_and_the_query_is_of_the_target(usual):
    for index in range(5):
        example, _ = simulate("lass", usual, 0, index)
        np.testing.assert_allclose(example.source_S, example.target_S + example.other_S, atol=1e-5)
        asked = usual.source("events").clip(int(example.meta["sound0.id"].partition("#")[2]), RATE).utterance
        assert example.text in (asked.caption, *asked.paraphrases)


def replaced(text, words, others):
    """Every text in which one occurrence of `words` gives way to `others`; without `words`, nothing."""
    if not words:
        return []
    places = [m.start() for m in re.finditer(re.escape(words), text)]
    return [" ".join((text[:i] + others + text[i + len(words) :]).split()) for i in places]


@pytest.mark.parametrize("kind", ["insert", "delete", "substitute"])
@pytest.mark.parametrize("spoken", [0.0, 1.0])
def test_speech_edits_say_what_they_do(kind, spoken):
    weights = {f"speech_editing__{k}": float(k == kind) for k in ("insert", "delete", "substitute")}
    made_of = inputs(speech_editing__spoken=spoken, **weights)
    for index in range(4):
        example, _ = simulate("speech_editing", made_of, 0, index)
        meta = example.meta
        removed, inserted = meta["removed"].lower(), meta["inserted"].lower()
        before, after = (" ".join(meta[n].lower().rstrip(".").split()) for n in ("before", "after"))
        assert after in replaced(before, removed, inserted) or before in replaced(after, inserted, removed)
        assert bool(removed) == (kind != "insert") and bool(inserted) == (kind != "delete")
        for words in (meta["removed"], meta["inserted"]):
            assert not words or f'"{words}"' in example.text
        if kind != "substitute":
            longer, shorter = sorted((example.source_S, example.target_S), key=len, reverse=True)
            assert len(longer) > len(shorter)
            assert (longer is example.source_S) == (kind == "delete")


@pytest.mark.parametrize("kind", ["add", "remove", "replace", "loudness", "speed", "reorder"])
def test_audio_edits_do_what_they_say(kind):
    weights = {
        f"audio_editing__{k}": float(k == kind) for k in ("add", "remove", "replace", "loudness", "speed", "reorder")
    }
    for index in range(4):
        example, _ = simulate("audio_editing", inputs(**weights), 0, index)
        meta = example.meta
        if kind == "speed":
            ratio = len(example.source_S) / len(example.target_S)
            expected = meta["factor"] if meta["direction"] == "faster" else 1 / meta["factor"]
            assert ratio == pytest.approx(expected, rel=0.02)
            continue
        before, after = meta["before"], meta["after"]
        changed = np.abs(example.target_S - example.source_S) > 1e-4
        assert changed.any() and len(example.source_S) == len(example.target_S)
        if kind == "add":
            assert [n for n in after if n in before] == before and len(after) == len(before) + 1
        elif kind == "remove":
            assert len(after) == len(before) - 1 and set(after) < set(before)
        elif kind == "replace":
            assert sum(a != b for a, b in zip(before, after, strict=True)) == 1
        elif kind == "reorder":
            assert before != after and sorted(before) == sorted(after)
        else:
            assert before == after
            louder = rms(example.target_S[changed]) > rms(example.source_S[changed])
            assert louder == (meta["direction"] == "louder")
        if kind in ("add", "remove", "loudness"):
            assert (~changed).mean() > 0.1  # the rest of the scene is left alone


def test_splices_keep_what_is_around(usual):
    clip = usual.clip("speech", 11)
    words = clip.utterance.words
    cut = splice(clip, 2, 4, np.zeros(0, np.float32), 0.0)
    begin, end = (round(words[i].start * RATE) for i in (2, 4))
    np.testing.assert_array_equal(cut, np.concatenate([clip.samples_S[:begin], clip.samples_S[end:]]))
    faded = splice(clip, 2, 4, np.zeros(0, np.float32), 0.01)
    assert len(cut) - len(faded) == 160 * 1 and np.isfinite(faded).all()


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    """A manifest with two speakers, words and no embedded voice; one file is broken, one silent."""
    folder = tmp_path_factory.mktemp("recordings")
    rng = np.random.default_rng(0)
    lines = []
    for number in range(6):
        speaker, path = f"s{number % 2}", folder / f"{number}.wav"
        soundfile.write(path, 0.1 * rng.standard_normal(3 * RATE), RATE)
        words = tuple(Word(f"w{number}{i}", 0.5 * i, 0.5 * i + 0.4) for i in range(6))
        lines.append(Utterance(path.stem, path.name, "speech", 0.0, 3.0, speaker, "", words))
    (folder / "5.wav").write_bytes(b"nothing")
    soundfile.write(folder / "4.wav", np.zeros(3 * RATE), RATE)
    manifest.write(folder / "m.jsonl", lines)
    return folder


@pytest.mark.parametrize("task", ["restoration", "extraction", "conversion", "speech_editing"])
def test_recordings_work_too_and_bad_files_are_told(recordings, task):
    made_of = inputs({"speech": str(recordings / "m.jsonl")}, degrade__reverberation=1.0)
    problems = []
    for index in range(12):
        example, found = simulate(task, made_of, 0, index)
        problems += found
        assert rms(example.target_S) > 1e-3
    assert any("5.wav" in p for p in problems) and any("4" in p and "silent" in p for p in problems)


def test_given_room_responses_are_used(recordings, tmp_path):
    response = np.zeros(2000, np.float32)
    response[[10, 1500]] = 1.0, 0.5
    soundfile.write(tmp_path / "r.wav", response, RATE, subtype="FLOAT")
    (tmp_path / "rirs.scp").write_text("r1 r.wav\n")
    quiet = {f"degrade__{k}": 0.0 for k in ("noise", "bandwidth", "clipping", "packet_loss", "codec")}
    made_of = inputs(
        {"rirs": str(tmp_path / "rirs.scp")}, degrade__reverberation=1.0, talkers__restoration=0.0, **quiet
    )
    example, _ = simulate("restoration", made_of, 0, 1)
    expected = example.target_S.copy()
    expected[1490:] += 0.5 * example.target_S[:-1490]  # behind the early part
    np.testing.assert_allclose(example.source_S, expected, atol=1e-4)


def test_what_is_missing_is_said(recordings, tmp_path):
    with pytest.raises(SourceError, match="speech with known speakers"):
        simulate("extraction", inputs({"speech": str(recordings)}), 0, 0)
    with pytest.raises(SourceError, match=r"word timings|known speakers"):
        simulate("speech_editing", inputs({"speech": str(recordings)}), 0, 0)
    with pytest.raises(SourceError, match=r"config.sources.events, which is empty"):
        simulate("lass", inputs({"events": ""}), 0, 0)
    with pytest.raises(AudioError, match="no caption"):
        simulate("lass", inputs({"events": str(recordings)}), 0, 0)
    with pytest.raises(SourceError, match="choose among mp3, opus, vorbis, mu-law"):
        inputs(degrade__codecs=("mp3", "aac"))


def test_one_speaker_is_not_enough(tmp_path):
    for number in range(2):
        soundfile.write(tmp_path / f"{number}.wav", 0.1 * np.random.default_rng(0).standard_normal(RATE), RATE)
    manifest.write(tmp_path / "m.jsonl", [Utterance(str(i), f"{i}.wav", speaker="a") for i in range(2)])
    with pytest.raises(SourceError, match="one speaker only"):
        simulate("separation", inputs({"speech": str(tmp_path / "m.jsonl")}), 0, 0)

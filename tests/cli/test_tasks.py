"""The verbs that ask a language model, over a codec, prepared data and a model trained in the tests: the full cycle."""

import dataclasses
import itertools
import pickle

import numpy as np
import pytest

import quarkaudio_jax
from quarkaudio_jax.cli import tasks as generate
from quarkaudio_jax.config import from_config_dict
from quarkaudio_jax.errors import UserError
from quarkaudio_jax.inference.task_model import TaskModel
from quarkaudio_jax.io import audio
from quarkaudio_jax.io.transforms import cross_faded
from quarkaudio_jax.lm.sampling import Sampling
from quarkaudio_jax.training.loop import Trainer
from tests import preparing
from tests.conftest import shrunk, small_lm_config

pytestmark = pytest.mark.slow

RATE = 48000


def tone(seconds, rate=RATE, pitch=220.0):
    time = np.arange(round(seconds * rate)) / rate
    return (0.1 * np.sin(2 * np.pi * pitch * time) * (1 + np.sin(2 * np.pi * 3 * time))).astype(np.float32)


@pytest.fixture(scope="module")
def model(trained_lm, trained):
    return quarkaudio_jax.load_task_model(trained_lm, trained, batch=2)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    audio.write(folder / "short.wav", tone(1.0, 16000), 16000)
    audio.write(folder / "inner" / "stereo.flac", np.stack([tone(0.7)] * 2, axis=1), RATE)
    return folder


def call(trained_lm, trained, output, verb, *more):
    models = [f"--checkpoint={trained_lm}", f"--codec={trained}", f"--output={output}"]
    generate.main(["quarkaudio", verb, *map(str, more), *models])


def test_a_model_can_be_pickled(model):
    copy = pickle.loads(pickle.dumps(model))
    assert copy.tasks == model.tasks and copy.window_seconds == model.window_seconds
    np.testing.assert_array_equal(copy("restoration", tone(0.3)), model("restoration", tone(0.3)))


@pytest.mark.parametrize(
    "wave, message",
    [
        (np.zeros(640, np.int16), "integers"),
        (np.full(640, np.nan), "NaN"),
        (np.zeros((640, 2)), r"should be \(samples,\)"),
        ("speech.wav", "not samples"),
    ],
)
def test_what_can_not_be_a_recording_is_refused(model, wave, message):
    with pytest.raises(UserError, match=message):
        model("restoration", wave)


def test_a_folder_is_restored_at_the_rate_of_the_codec(trained_lm, trained, inputs, tmp_path):
    call(trained_lm, trained, tmp_path, "restore", inputs)
    assert audio.info(tmp_path / "short.wav") == (RATE, RATE, 1)
    assert audio.info(tmp_path / "inner" / "stereo.wav") == (round(0.7 * RATE), RATE, 1)


@pytest.mark.parametrize(
    "verb, more",
    [
        ("extract", ["--enrollment"]),
        ("extract", ["--reverse", "--enrollment"]),
        ("convert-voice", ["--reference"]),
        ("lass", ["a dog barks"]),
        ("edit-speech", ["delete the word hello"]),
        ("edit-audio", ["remove the bell"]),
    ],
)
def test_every_verb_answers(trained_lm, trained, inputs, tmp_path, verb, more):
    voice = inputs / "inner" / "stereo.flac"
    more = [f"{x}={voice}" if x in ("--enrollment", "--reference") else x for x in more]
    call(trained_lm, trained, tmp_path, verb, *more, inputs / "short.wav")
    samples, rate = audio.read(tmp_path / "short.wav")
    assert rate == RATE and np.isfinite(samples).all() and 0 < len(samples) <= 2 * RATE


def test_separation_gives_two(trained_lm, trained, inputs, tmp_path):
    call(trained_lm, trained, tmp_path, "separate", inputs / "short.wav")
    assert [audio.info(tmp_path / f"short.{i}.wav")[0] for i in (1, 2)] == [RATE, RATE]


def test_long_audio_goes_through_in_windows(model):
    """5.3 s in windows of 2 s that share 0.48 s: the length is kept, and a block depends on its windows alone."""
    wave = np.concatenate([tone(2.6), tone(2.7, pitch=330.0)])
    assert model.window_seconds == 2.0 and model.num_windows(len(wave)) == 4
    request = model.request("restoration")
    reads = []

    def read(start, stop):
        reads.append((start, stop))
        return wave[start:stop]

    blocks = list(model.stream(request, read, len(wave), (0.1, 0.2)))
    assert sum(map(len, blocks)) == len(wave) and len(blocks) == 4
    assert all(0 <= b - a <= 4 * RATE for a, b in reads) and all(x[0] <= y[0] for x, y in itertools.pairwise(reads))
    first = model.stream(request, lambda a, b: wave[a:b], 2 * RATE, (0.1, 0.2))
    np.testing.assert_allclose(np.concatenate(list(first))[: len(blocks[0])], blocks[0], atol=1e-4)


def test_a_batch_of_windows_says_what_one_says_alone(model, trained_lm, trained):
    wave = tone(3.0)
    alone = quarkaudio_jax.load_task_model(trained_lm, trained, batch=1)
    np.testing.assert_allclose(model("restoration", wave), alone("restoration", wave), atol=1e-4)
    drawn = dict(sampling=Sampling(temperature=1.0), seed=3)
    np.testing.assert_allclose(model("restoration", wave, **drawn), alone("restoration", wave, **drawn), atol=1e-4)


def test_loudness_is_kept(model):
    wave = tone(1.0)
    loud, soft = model("restoration", wave), model("restoration", 0.01 * wave)
    np.testing.assert_allclose(soft, 0.01 * loud, atol=1e-6)
    silent = model("restoration", np.zeros(RATE // 2, np.float32))
    assert np.isfinite(silent).all() and len(silent) == RATE // 2


def test_seeds_and_guidance(model):
    wave, drawn = tone(0.5), Sampling(temperature=1.0)
    one, again, other = (model("restoration", wave, sampling=drawn, seed=s) for s in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()
    guided = model("lass", wave, text="rain", guidance=3.0)
    assert np.isfinite(guided).all() and len(guided) == len(wave)


@pytest.mark.parametrize(
    "ask, message",
    [
        (lambda m: m("restoration", np.zeros(0)), r"shape \(0,\); it should be \(samples,\), not empty"),
        (lambda m: m("extraction", tone(0.5)), "extraction needs an enrollment recording of the speaker"),
        (lambda m: m("lass", tone(0.5), text=" "), "lass needs a description of the sound, which is empty"),
        (lambda m: m("speech_editing", tone(3.0), text="cut"), "takes up to 2 s, what the model was trained on"),
        (lambda m: m("dereverberation", tone(0.5)), "was not trained for dereverberation; it knows"),
    ],
)
def test_what_is_missing_is_said(model, ask, message):
    with pytest.raises(UserError, match=message):
        ask(model)


@pytest.mark.parametrize(
    "verb, more, message",
    [
        ("extract", [], "error: extract needs an enrollment recording of the speaker: --enrollment=FILE"),
        ("convert-voice", [], "error: convert-voice needs a reference recording of the voice: --reference=FILE"),
        ("edit-speech", ["  "], "error: edit-speech needs a text, which is empty"),
        ("restore", ["--top-p=0"], r"error: --top-p is 0.0, but should be in \(0, 1\]"),
    ],
)
def test_errors_are_one_line(trained_lm, trained, inputs, tmp_path, verb, more, message):
    with pytest.raises(SystemExit, match=message):
        call(trained_lm, trained, tmp_path, verb, *more, inputs / "short.wav")


def test_an_empty_file_is_named_and_the_others_go_on(trained_lm, trained, inputs, tmp_path):
    (tmp_path / "in").mkdir()
    audio.write(tmp_path / "in" / "a.wav", tone(0.3), RATE)
    audio.write(tmp_path / "in" / "none.wav", np.zeros(0, np.float32), RATE)
    with pytest.raises(SystemExit, match="none.wav: the file holds no samples"):
        call(trained_lm, trained, tmp_path / "out", "restore", tmp_path / "in")
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["a.wav"]


def test_a_recording_that_is_too_long_to_edit_is_named_and_the_others_go_on(trained_lm, trained, tmp_path):
    (tmp_path / "in").mkdir()
    for name, seconds in (("a", 0.5), ("b", 60.0), ("c", 0.7)):
        audio.write(tmp_path / "in" / f"{name}.wav", tone(seconds, 16000), 16000)
    with pytest.raises(SystemExit, match="b.wav: .* s"):
        call(trained_lm, trained, tmp_path / "out", "edit-speech", "delete the word hello", tmp_path / "in")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["a.wav", "c.wav"]


def test_another_codec_is_refused(model):
    dataset = dataclasses.replace(model.cfg.dataset, codec_weights=7)
    cfg = dataclasses.replace(model.cfg, dataset=dataset)
    with pytest.raises(UserError, match="codes of hcodec_48k_tiny_faded with other weights"):
        TaskModel(cfg, {}, model.codec, None, None)


def test_a_cross_fade_joins_without_a_step():
    ones = np.ones(10, np.float32)
    np.testing.assert_allclose(cross_faded(ones[:4], ones), ones)
    np.testing.assert_allclose(cross_faded(np.zeros(2, np.float32), ones)[:3], [0.25, 0.75, 1.0])
    assert cross_faded(ones[:0], ones) is ones


def test_the_adaptive_codec_goes_all_the_way(tmp_path):
    """Trained a step, data prepared with it, a language model trained on codes and durations, and asked."""
    from quarkaudio_jax.configs.codec16k_adaptive import get_config

    changes = dict(loop__steps=1, loop__eval_every=0, losses__adversarial=0.0, losses__feature_matching=0.0)
    codec, data, lm = tmp_path / "codec", tmp_path / "data", tmp_path / "lm"
    assert Trainer(from_config_dict(shrunk(get_config("tiny"), **changes)), codec).run() == "finished"
    counts = {"examples.restoration": 4, "examples.speech_editing": 4}
    preparing.call(*preparing.arguments(codec, data, **counts, clip_seconds=1.0))
    config = small_lm_config(data, loop__steps=2, loop__eval_every=2, data__heldout=0.3)
    assert Trainer(from_config_dict(config), lm).run() == "finished"
    model = quarkaudio_jax.load_task_model(lm, codec)
    assert model.cfg.dataset.max_duration > 1
    audio.write(tmp_path / "in.wav", tone(1.0, 16000), 16000)
    for verb, more in (("restore", []), ("edit-speech", ["delete the word hello"])):
        call(lm, codec, tmp_path / verb, verb, *more, tmp_path / "in.wav")
        samples, rate = audio.read(tmp_path / verb / "in.wav")
        assert rate == 16000 and np.isfinite(samples).all()
        assert len(samples) == 16000 if verb == "restore" else len(samples) > 0

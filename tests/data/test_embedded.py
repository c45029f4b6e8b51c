"""The embedded corpus: deterministic by index, 48 kHz, with its text."""

import itertools
import subprocess
import sys

import numpy as np
import pytest

from quarkaudio_jax.data.crops import SourceError
from quarkaudio_jax.data.synthetic import embedded, espeak, events, grammar
from quarkaudio_jax.data.synthetic.source import EmbeddedSource


def fingerprint(kind, index):
    return float(np.abs(embedded.KINDS[kind].make(index).samples_S).sum(dtype=np.float64))


@pytest.mark.parametrize("kind", embedded.KINDS)
def test_items_are_sound(kind):
    captions = set()
    for index in range(6):
        item = embedded.KINDS[kind].make(index)
        assert item.samples_S.dtype == np.float32 and item.samples_S.ndim == 1
        assert len(item.samples_S) >= 2 * embedded.SAMPLE_RATE
        assert 0.1 < np.abs(item.samples_S).max() <= 1.2 and np.isfinite(item.samples_S).all()
        captions.add(item.utterance.caption or item.utterance.transcript)
    assert len(captions) > 2


def test_events_are_of_many_kinds_and_all_can_be_heard():
    items = [embedded.event(i) for i in range(len(events.KINDS))]
    assert len({i.utterance.caption for i in items}) == len(events.KINDS) >= 20
    for item in items:
        assert len(item.utterance.paraphrases) >= 3 and item.utterance.caption not in item.utterance.paraphrases
        assert np.isfinite(item.samples_S).all() and np.abs(item.samples_S).max() > 0.5, item.utterance.caption


def test_sentences_do_not_repeat():
    for language in grammar.GRAMMARS:
        count = min(grammar.size(language), 50_000)
        assert len({grammar.sentence(language, i).phrases for i in range(count)}) == count
        assert grammar.size(language) > 2 * embedded.KINDS["speech"].size
    with pytest.raises(ValueError, match="it has"):
        grammar.sentence("de", grammar.size("de"))


def test_speakers_are_hundreds_in_several_languages():
    assert len(set(embedded.SPEAKERS)) >= 300
    assert len({embedded.language(s) for s in embedded.SPEAKERS}) >= 5
    number = len(embedded.SPEAKERS)
    first, again = embedded.speech(3), embedded.speech(3 + number)
    assert first.utterance.speaker == again.utterance.speaker
    assert first.utterance.transcript != again.utterance.transcript


def test_parallel_utterances_say_the_same_in_another_voice():
    one, two = embedded.parallel(7)
    assert one.utterance.transcript == two.utterance.transcript and one.utterance.speaker != two.utterance.speaker
    assert embedded.language(one.utterance.speaker) == embedded.language(two.utterance.speaker)
    assert 0.7 < len(one.samples_S) / len(two.samples_S) < 1.4


@pytest.mark.parametrize("kind", embedded.KINDS)
def test_items_do_not_depend_on_what_was_made_before(kind):
    first = embedded.KINDS[kind].make(3).samples_S
    embedded.KINDS[kind].make(8)
    np.testing.assert_array_equal(embedded.KINDS[kind].make(3).samples_S, first)


def test_speech_is_the_same_in_any_order():
    """eSpeak keeps state, draws from the C library and leaves memory unset; none of it may show."""
    first = [embedded.speech(i).samples_S for i in range(80)]
    for i in reversed(range(80)):
        np.testing.assert_array_equal(embedded.speech(i).samples_S, first[i], err_msg=str(i))


def test_another_process_makes_the_same():
    code = (
        "from tests.data.test_embedded import fingerprint\n"
        "print([fingerprint(k, 5) for k in ('events', 'speech', 'music')])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == str([fingerprint(k, 5) for k in ("events", "speech", "music")])


def test_words_have_times():
    item = embedded.speech(0)
    words = item.utterance.words
    assert " ".join(w.text for w in words) == item.utterance.transcript.replace(".", "")
    assert all(a.end <= b.start + 1e-9 for a, b in itertools.pairwise(words))
    assert words[-1].end <= len(item.samples_S) / embedded.SAMPLE_RATE + 0.01
    quiet = np.abs(item.samples_S[: int(words[0].start * 48000)]).max(initial=0)
    assert quiet < 0.05


def test_an_unknown_voice_is_named():
    with pytest.raises(ValueError, match="no voice 'klingon-xx'"):
        espeak.speak("hello", espeak.Voice("klingon-xx"))


def test_splits_share_no_voice_and_no_sentence():
    def said(split):
        source = EmbeddedSource(f"speech/{split}")
        scripts = [source.script(i) for i in range(3000)]
        return {speaker for speaker, _ in scripts}, {s.text for _, sentences in scripts for s in sentences}

    (voices, texts), (other_voices, other_texts) = said("train"), said("test")
    assert (len(voices), len(other_voices)) == (672, 70)
    assert not voices & other_voices and not texts & other_texts
    first, second = EmbeddedSource("speech/test").parallel(3, 16000)
    assert {first.utterance.speaker, second.utterance.speaker} <= other_voices
    whole, parts = EmbeddedSource("events"), [EmbeddedSource(f"events/{split}") for split in ("train", "test")]
    assert len(whole) == sum(map(len, parts))
    with pytest.raises(SourceError, match="embedded:speech/dev does not exist; its splits are train and test"):
        EmbeddedSource("speech/dev")

"""The embedded corpus: deterministic by index, 48 kHz, with its text."""

import subprocess
import sys

import numpy as np
import pytest

from quarkaudio_jax.data import embedded, espeak


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
        captions.add(item.caption)
    assert len(captions) > 2


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
    assert " ".join(w.text for w in item.words) == item.caption.replace(".", "")
    assert all(a.end <= b.start + 1e-9 for a, b in zip(item.words, item.words[1:], strict=False))
    assert item.words[-1].end <= len(item.samples_S) / embedded.SAMPLE_RATE + 0.01
    quiet = np.abs(item.samples_S[: int(item.words[0].start * 48000)]).max(initial=0)
    assert quiet < 0.05


def test_speakers_are_many():
    assert len({embedded.speech(i).speaker for i in range(40)}) == 40


def test_an_unknown_voice_is_named():
    with pytest.raises(ValueError, match="no voice 'klingon-xx'"):
        espeak.speak("hello", espeak.Voice("klingon-xx"))

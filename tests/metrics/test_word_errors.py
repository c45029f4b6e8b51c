"""Error rates, counted by hand."""

import math

import pytest

from quarkaudio_jax.metrics.word_errors import error_rates, normalized


@pytest.mark.parametrize(
    "text, expected",
    [
        ("He said, “Don’t!”", "he said don't"),
        ("rock 'n' roll -- twice", "rock n roll twice"),
        ("ＡＢＣ　你好，世界。", "abc 你好 世界"),
        ("  ", ""),
    ],
)
def test_normalized(text, expected):
    assert normalized(text) == expected


@pytest.mark.parametrize(
    "said, understood, wer, cer",
    [
        ("the cat sat on the mat", "The cat sat on the mat.", 0, 0),
        ("the cat sat on the mat", "the bat sat the mat now", 3 / 6, 6 / 17),
        ("one two", "", 1, 1),
        ("a b", "a x b y z", 3 / 2, 3 / 2),
        ("他把球踢出去", "他把求踢出", 1, 2 / 6),
    ],
)
def test_rates(said, understood, wer, cer):
    """Words: cat/bat, on, now. Characters of thecatsatonthemat: b for c, on left out, now put in (o, n, w or so)."""
    pytest.importorskip("jiwer", reason="the package jiwer counts the errors")
    found = error_rates(said, understood)
    assert math.isclose(found["wer"], wer) and math.isclose(found["cer"], cer)
    assert found["words"] == len(normalized(said).split())


def test_nothing_said_has_no_rate():
    pytest.importorskip("jiwer", reason="the package jiwer counts the errors")
    assert math.isnan(error_rates("...", "noise")["wer"])

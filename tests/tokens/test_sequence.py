"""Sequences written out by hand."""

import numpy as np

from quarkaudio_jax.tokens.sequence import AUDIO_KINDS, Kind, build_sequence, scatter_features
from quarkaudio_jax.tokens.tasks import TASKS


def test_a_request_with_everything():
    found = build_sequence(5, b"hi", 1, 2, np.array([[7, 8], [9, 10], [11, 12]], np.uint16), 2)
    assert found["kind"].tolist() == [1, 2, 2, 3, 4, 5, 6, 6, 7, 7, 7, 8, 8]
    assert found["value"].tolist() == [5, ord("h"), ord("i"), 0, 0, 0, 0, 0, 1, 1, 1, 0, 0]
    assert found["codes"].tolist() == [*[[-1, -1]] * 8, [7, 8], [9, 10], [11, 12], [-1, -1], [-1, -1]]


def test_features_go_where_their_audio_stands():
    kind = np.array([1, 3, 4, 5, 6, 6, 7, 1, 5, 6, 7], np.int8)  # two requests in one row
    out = np.zeros((11, 2), np.float16)
    scatter_features(
        [np.array([[1, 2]]), np.array([[3, 4], [5, 6]]), np.zeros((0, 2)), np.array([[7, 8]])], kind, AUDIO_KINDS, out
    )
    none = [0, 0]
    assert out.tolist() == [none, none, [1, 2], none, [3, 4], [5, 6], none, none, none, [7, 8], none]


def test_a_request_without_text_and_reference_of_an_adaptive_codec():
    found = build_sequence(0, b"", 0, 2, np.zeros((2, 1), np.uint16), 1, np.array([3, 8], np.uint8))
    assert found["kind"].tolist() == [Kind.TASK, Kind.SOURCE_START, Kind.SOURCE, Kind.SOURCE, 7, 7, Kind.DELAY_PADDING]
    assert found["value"].tolist() == [0, 0, 0, 0, 3, 8, 0]


def test_texts_are_bytes_or_features():
    found = build_sequence(TASKS["lass"].number, "é".encode(), 0, 1, np.zeros((1, 1), np.uint16), 0)
    assert found["value"].tolist()[:3] == [5, 0xC3, 0xA9]
    found = build_sequence(5, 2, 0, 1, np.zeros((1, 1), np.uint16), 0)
    assert found["kind"].tolist() == [1, 2, 2, 5, 6, 7] and found["value"].tolist() == [5, 0, 0, 0, 0, 1]

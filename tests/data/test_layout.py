"""Sequences written out by hand."""

import numpy as np

from quarkaudio_jax.tasks import TASKS
from quarkaudio_jax.tasks.layout import Kind, lay_out, sequence_length


def test_a_request_with_everything():
    reference, source = np.array([[1.0, 2.0]], np.float16), np.array([[3.0, 4.0], [5.0, 6.0]], np.float16)
    found = lay_out(5, b"hi", reference, source, np.array([[7, 8], [9, 10], [11, 12]], np.uint16), 2)
    assert found["kind"].tolist() == [1, 2, 2, 3, 4, 5, 6, 6, 7, 7, 7, 8, 8]
    assert found["value"].tolist() == [5, ord("h"), ord("i"), 0, 0, 0, 0, 0, 1, 1, 1, 0, 0]
    assert found["features"].dtype == np.float16
    assert found["features"].tolist() == [
        *[[0, 0]] * 4,
        [1, 2],
        [0, 0],
        [3, 4],
        [5, 6],
        *[[0, 0]] * 5,
    ]
    assert found["codes"].tolist() == [*[[-1, -1]] * 8, [7, 8], [9, 10], [11, 12], [-1, -1], [-1, -1]]
    assert len(found["kind"]) == sequence_length(2, 1, 2, 3, 2)


def test_a_request_without_text_and_reference_of_an_adaptive_codec():
    none, source = np.zeros((0, 1), np.float16), np.ones((2, 1), np.float16)
    found = lay_out(0, b"", none, source, np.zeros((2, 1), np.uint16), 1, np.array([3, 8], np.uint8))
    assert found["kind"].tolist() == [Kind.TASK, Kind.SOURCE_START, Kind.SOURCE, Kind.SOURCE, 7, 7, Kind.TAIL]
    assert found["value"].tolist() == [0, 0, 0, 0, 3, 8, 0]
    assert len(found["kind"]) == sequence_length(0, 0, 2, 2, 1)


def test_texts_are_bytes():
    none, source = np.zeros((0, 1), np.float16), np.ones((1, 1), np.float16)
    found = lay_out(TASKS["lass"].number, "é".encode(), none, source, np.zeros((1, 1), np.uint16), 0)
    assert found["value"].tolist()[:3] == [5, 0xC3, 0xA9]

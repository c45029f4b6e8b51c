"""Progress bars: nothing where stderr is no terminal, lines above them where it is."""

import io
import logging
import sys

import pytest
import tqdm

from quarkaudio_jax.report.progress import LogHandler, duration, progress, show


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("total", [3, None])
def test_a_bar_where_there_is_a_terminal(total, monkeypatch):
    for stream in (io.StringIO(), Terminal()):
        monkeypatch.setattr(sys, "stderr", stream)
        assert list(progress(iter("abc"), total, "windows")) == ["a", "b", "c"]
        assert ("windows" in stream.getvalue()) == stream.isatty()


def test_one_item_has_no_bar(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    assert list(progress(iter("a"), 1)) == ["a"] and not sys.stderr.getvalue()


def test_lines_are_printed_in_full_beside_a_bar(monkeypatch, capsys):
    terminal = Terminal()
    log = logging.Logger("test")
    log.addHandler(LogHandler(terminal))
    monkeypatch.setattr(sys, "stderr", terminal)
    for item in progress(range(2), 2):
        show(f"item {item}")
        log.info("logged %d", item)
    assert capsys.readouterr().out == "item 0\nitem 1\n"
    assert "logged 0\n" in terminal.getvalue() and "logged 1\n" in terminal.getvalue() and not tqdm.tqdm._instances


@pytest.mark.parametrize(
    "seconds, text", [(42.2, "42 s"), (190, "3 min 10 s"), (18120, "5 h 02 min"), (273600, "3 d 4 h")]
)
def test_durations(seconds, text):
    assert duration(seconds) == text

"""Files that are there whole or not at all, also when several processes write the same one."""

import concurrent.futures
import errno
import os
import threading

import pytest

from quarkaudio_jax.io import atomic

WRITERS = 8


def at_once(write) -> list:
    """What write(i) of several threads that begin together returns."""
    ready = threading.Barrier(WRITERS)

    def one(i: int):
        ready.wait()
        return write(i)

    with concurrent.futures.ThreadPoolExecutor(WRITERS) as pool:
        return list(pool.map(one, range(WRITERS)))


def test_writers_of_one_file_do_not_meet(tmp_path):
    path, texts = tmp_path / "new" / "a.json", [f"{i}" * 10_000 for i in range(WRITERS)]
    for _ in range(20):
        at_once(lambda i: atomic.write_text(path, texts[i]))
        assert path.read_text() in texts
    assert list(path.parent.iterdir()) == [path]


def refuse(*_):
    raise OSError(errno.EPERM, "no hard links here")


def test_the_first_writer_counts_for_all(tmp_path):
    for attempt in range(20):
        path = tmp_path / f"{attempt}.json"
        found = at_once(lambda i, path=path: atomic.create_exclusive(path, f"{i}é" * 10_000))
        assert found == [path.read_text("utf-8")] * WRITERS
        assert atomic.create_exclusive(path, "later") == found[0]
    assert len(list(tmp_path.iterdir())) == 20


def test_without_hard_links(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "link", refuse)
    assert atomic.create_exclusive(tmp_path / "a", "first") == "first"
    assert atomic.create_exclusive(tmp_path / "a", "later") == "first"
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_what_is_not_finished_leaves_nothing(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("before")
    with pytest.raises(KeyError), atomic.atomic_write(path) as temporary:
        temporary.write_text("half")
        assert path.read_text() == "before"
        raise KeyError
    assert path.read_text() == "before" and list(tmp_path.iterdir()) == [path]

"""Prepared shards: few are open at a time, and running out of descriptors is no bad record."""

import os
import resource
import threading

import pytest

from quarkaudio_jax.data import records


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    from array_record.python.array_record_module import ArrayRecordWriter

    folder = tmp_path_factory.mktemp("shards")
    for number in range(40):
        writer = ArrayRecordWriter(str(folder / f"{number}"), records.OPTIONS)
        for i in range(3):
            writer.write(f"{number}/{i}".encode())
        writer.close()
    return [str(folder / f"{number}") for number in range(40)]


def descriptors():
    return len(os.listdir("/proc/self/fd"))


def test_few_shards_are_open_at_a_time(shards):
    readers, before = records.Readers(8), descriptors()
    for _ in range(3):
        for number, path in enumerate(shards):
            assert readers.read(path, 2) == f"{number}/2".encode()
    assert len(readers) == 8 and descriptors() <= before + 16


def test_threads_share_them(shards):
    readers, wrong = records.Readers(4), []

    def read(start):
        for k in range(200):
            number, i = (start + 7 * k) % 40, k % 3
            if readers.read(shards[number], i) != f"{number}/{i}".encode():
                wrong.append((number, i))

    threads = [threading.Thread(target=read, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong and len(readers) == 4


def test_no_descriptors_left_is_not_a_bad_record(shards):
    readers = records.Readers(8)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    spare = os.open(os.devnull, os.O_RDONLY)
    os.close(spare)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (spare, limits[1]))
        with pytest.raises(OSError, match="Too many open files"):
            readers.read(shards[0], 0)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert readers.read(shards[0], 0) == b"0/0"

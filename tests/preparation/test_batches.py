"""Prepared records as packed batches for the language model."""

import collections
import json
import pickle
import shutil
import zlib

import grain
import numpy as np
import pytest

from quarkaudio_jax.config import LMDataConfig, TaskWeights
from quarkaudio_jax.data.heldout import heldout_count
from quarkaudio_jax.data.packing import packed_batches, padding_share
from quarkaudio_jax.data.position import merge_states
from quarkaudio_jax.data.prepared import SequenceLayout, open_tasks
from quarkaudio_jax.data.records import RecordError, Records
from quarkaudio_jax.data.skipping import DataError
from quarkaudio_jax.weights.text import load_text_extractor
from tests.preparing import arguments, call

DELAY_PADDING = 9


def batches_of(folder, **changes):
    fields = {"folder": str(folder), "batch_size": 2, "length": 1024, "bins": 8, "heldout": 0.2, **changes}
    host = {k: fields.pop(k) for k in ("process_index", "process_count") if k in fields}
    return packed_batches(LMDataConfig(**fields), SequenceLayout(DELAY_PADDING), seed=0, **host)


def same(one, two):
    return all(np.array_equal(one[k], two[k]) for k in one)


def test_rows_are_whole_sequences_with_little_padding(prepared):
    batches = batches_of(prepared)
    padding = []
    for _ in range(12):
        batch = next(batches)
        assert batch["features"].shape == (2, 1024, 96) and batch["codes"].shape == (2, 1024, 8)
        padding.append(padding_share(batch))
        for row in range(2):
            for segment in range(1, batch["segment"][row].max() + 1):
                mine = np.flatnonzero(batch["segment"][row] == segment)
                np.testing.assert_array_equal(batch["position"][row, mine], np.arange(len(mine)))
                assert batch["kind"][row, mine[0]] == 1 and (batch["kind"][row, mine[-DELAY_PADDING:]] == 8).all()
    assert np.mean(padding) <= 0.1 and batches.count == 0


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_batches_go_on_where_they_stopped(prepared, workers):
    batches = batches_of(prepared, workers=workers)
    for _ in range(3):
        next(batches)
    state = json.loads(json.dumps(batches.get_state()))
    expected = [next(batches) for _ in range(4)]
    again = batches_of(prepared, workers=workers)
    again.set_state(state)
    assert all(same(next(again), batch) for batch in expected)


def test_hosts_share_the_examples(prepared):
    def seen(**host):
        batches = batches_of(prepared, weights=TaskWeights(*[0.0] * 5, 1.0, 0.0, 0.0), **host)
        texts = set()
        for _ in range(8):
            batch = next(batches)
            for row in range(len(batch["segment"])):
                for segment in range(1, batch["segment"][row].max() + 1):
                    here = (batch["segment"][row] == segment) & (batch["kind"][row] == 2)
                    texts.add(bytes(batch["value"][row][here].astype(np.uint8)))
        return texts

    everything = seen()
    assert seen(process_index=0, process_count=2) | seen(process_index=1, process_count=2) == everything
    assert len(everything) > 2


def test_another_number_of_hosts_reads_on_where_they_were(prepared):
    """Two hosts, one, two: every position of each task's order once, also those that waited in a half-emptied pack."""
    states, seen = None, collections.Counter()
    for hosts, batches in ((2, 3), (1, 4), (2, 1)):
        streams = [batches_of(prepared, process_index=host, process_count=hosts) for host in range(hosts)]
        for stream in streams:
            if states:
                stream.set_states(states)
            for _ in range(batches):
                next(stream)
                seen.update(stream.names)
        states = json.loads(json.dumps([stream.get_state() for stream in streams]))
    again = batches_of(prepared, process_index=1, process_count=2)
    again.set_states(states)
    assert same(next(again), next(streams[1])) and again.names == streams[1].names
    expected = collections.Counter()
    for task, (records, _) in open_tasks(LMDataConfig(folder=str(prepared))).items():
        start, taken = merge_states(state["shares"][task] for state in states)
        order = grain.MapDataset.range(heldout_count(len(records), 0.2), len(records)).seed(zlib.crc32(task.encode()))
        order = order.shuffle().repeat()
        expected.update(f"{task}/{order[position]}" for position in (*range(start), *taken))
    assert seen == expected and sum(seen.values()) > 20


def test_the_mixture_changes_only_when_asked(prepared):
    batches = batches_of(prepared)
    next(batches)
    state = batches.get_state()
    other = TaskWeights(restoration=5.0)
    refused = batches_of(prepared, weights=other)
    with pytest.raises(DataError, match="change_mixture=True"):
        refused.set_state(state)
    changed = batches_of(prepared, weights=other, change_mixture=True)
    changed.set_state(state)
    kinds = [(next(changed)["value"] == 0) for _ in range(4)]
    assert len(kinds) == 4


@pytest.mark.slow
def test_what_is_missing_or_corrupt_is_named(prepared, tmp_path):
    with pytest.raises(DataError, match=r"config.data.folder is empty"):
        batches_of("")
    with pytest.raises(DataError, match="holds no finished task"):
        batches_of(tmp_path)
    shutil.copytree(prepared / "lass", tmp_path / "lass")
    shard = next((tmp_path / "lass").rglob("*array_record-00001*"))
    data = bytearray(shard.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 64] = bytes(64)
    shard.write_bytes(data)
    records = pickle.loads(pickle.dumps(Records(tmp_path / "lass")))
    with pytest.raises(RecordError, match=rf"{shard.name}, record [01]: "):
        [records[i] for i in range(len(records))]
    batches = batches_of(tmp_path, heldout=0.0)
    next(batches)
    assert any(shard.name in problem for problem in batches.problems)
    working = batches_of(tmp_path, heldout=0.0, workers=1)  # what a worker process drops is counted here as well
    next(working)
    assert working.count > 0 and working.problems == batches.problems
    working.close()
    strict = batches_of(tmp_path, heldout=0.0, strict=True)
    with pytest.raises(DataError, match="strict"):
        [next(strict) for _ in range(20)]
    shard.unlink()
    with pytest.raises(RecordError, match="missing; run prepare again"):
        Records(tmp_path / "lass")
    with pytest.raises(DataError, match=r"longer|in a row"):
        next(batches_of(prepared, length=16))


@pytest.mark.slow
def test_text_features_reach_the_batches(trained, tmp_path):
    pytest.importorskip("transformers", reason="transformers makes the small T5 of this test")
    from tests.text.test_encoders import write_folders

    write_folders(tmp_path)
    fields = {"examples.lass": 6, "text.recipe": "t5", "text.weights": tmp_path / "t5"}
    call(*arguments(trained, tmp_path / "out", **fields))
    record = Records(tmp_path / "out" / "lass")[0]
    extractor = load_text_extractor("t5", tmp_path / "t5")
    np.testing.assert_allclose(record["text_features"], extractor([record["text"]])[0], atol=2e-3)
    batch = next(batches_of(tmp_path / "out", heldout=0.0))
    assert batch["text_features"].shape == (2, 1024, 32)
    assert np.abs(batch["text_features"])[batch["kind"] == 2].max(axis=-1).all()
    assert not batch["text_features"][batch["kind"] != 2].any()

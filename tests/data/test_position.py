"""Going on with another number of hosts: every example of an epoch once, whatever was skipped where."""

import collections
import dataclasses
import json
import random

import numpy as np
import pytest
import soundfile

from quarkaudio_jax.config import DataConfig, DomainConfig
from quarkaudio_jax.data.pipeline import CropSpec, training_batches
from quarkaudio_jax.data.position import HostShare, merge_states

SPEC = CropSpec(16000, 1600)


def test_shares_that_went_unequally_far_are_merged_without_loss():
    rng = random.Random(0)
    start, taken, seen = 0, frozenset(), []
    for hosts in (2, 3, 1, 4):
        shares = [HostShare(start + host, hosts, taken) for host in range(hosts)]
        for share in shares:
            own = [p for p in range(share.next, share.next + 40 * hosts, hosts) if p not in taken]
            read = own[: rng.randrange(5, 15)]
            extra = rng.sample(own[15:30], rng.randrange(4))  # out of turn, as packing reads
            for position in read + extra:
                share.mark(position)
                share.mark(position)
            seen += read + extra
        start, taken = merge_states(json.loads(json.dumps([share.state() for share in shares])))
    assert len(seen) == len(set(seen))
    assert {p for p in range(1000) if p < start or p in taken} == set(seen)


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    """40 constant files, each of its own sign pattern, and 6 that can't be read."""
    folder = tmp_path_factory.mktemp("recordings")
    for i in range(40):
        wave = np.where(np.arange(1600) == i, -0.5, 0.5)
        soundfile.write(folder / f"{i:02d}.wav", wave, 16000, subtype="FLOAT")
    for i in range(6):
        (folder / f"bad{i}.wav").write_bytes(b"no sound")
    none = DomainConfig()
    return DataConfig(DomainConfig(str(folder)), none, none, batch_size=4, heldout=0.0, threads=1, prefetch=2)


def numbers(batch):
    """Which recordings a batch holds."""
    return [int(np.argmin(wave)) for wave in batch["wave"]]


@pytest.mark.parametrize("hosts", [(2, 1, 2), (1, 4, 2)])
def test_the_codecs_batches_go_on_with_another_number_of_hosts(recordings, hosts):
    states, seen = None, collections.Counter()
    for count in hosts:
        streams = [training_batches(recordings, SPEC, 3, host, count)[0] for host in range(count)]
        for stream in streams:
            if states:
                stream.set_states(states)
        for _ in range(3):
            for stream in streams:
                found = numbers(next(stream))
                assert [f"{n:02d}.wav" for n in found] == [name.rsplit("/")[-1] for name in stream.names]
                seen.update(found)
        states = json.loads(json.dumps([stream.get_state() for stream in streams]))
        exact = [numbers(next(stream)) for stream in streams]
        for host, expected in enumerate(exact):
            again = training_batches(recordings, SPEC, 3, host, count)[0]
            again.set_states(states)
            assert numbers(next(again)) == expected
    assert sum(seen.values()) == 36 and max(seen.values()) == 1  # within the first 46 positions, so no recording twice
    start, taken = merge_states(state["share"] for state in states)
    assert start + len(taken) >= 36


def test_a_hosts_share_is_what_it_was(recordings):
    """Two hosts read the halves of what one reads, as long as nothing is skipped."""
    none = dataclasses.replace(recordings, speech=DomainConfig(recordings.speech.paths + "/[0-9]*.wav"))
    whole = [numbers(next(stream)) for stream in [training_batches(none, SPEC, 0)[0]] for _ in range(4)]
    for host in range(2):
        stream, _ = training_batches(none, SPEC, 0, host, 2)
        assert [numbers(next(stream)) for _ in range(4)] == [row[host::2] for row in whole]

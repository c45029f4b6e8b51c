"""Positions of hosts in an endless order of examples, from which any number of hosts can resume.

Host h of H reads every H-th example. What each has read is saved as positions in the common order.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import grain
import numpy as np


@dataclasses.dataclass
class HostShare:
    """One host's share of an order: `next`, `next` + `step` and so on, except for `taken`, which were read before.

    next: its first position that is not done. done: later positions that are.
    """

    next: int
    step: int
    taken: frozenset[int] = frozenset()
    done: set[int] = dataclasses.field(default_factory=set)

    def __post_init__(self):
        self._advance()

    def mark(self, position: int) -> None:
        """Marks a position as done; marking it again has no effect."""
        if position >= self.next:
            self.done.add(position)
            self._advance()

    def _advance(self) -> None:
        while self.next in self.done or self.next in self.taken:
            self.done.discard(self.next)
            self.next += self.step

    def state(self) -> dict[str, Any]:
        """The state as plain JSON; `ahead` are positions after `next` that need no reading."""
        ahead = self.done | {position for position in self.taken if position > self.next}
        return {"next": self.next, "step": self.step, "ahead": sorted(ahead)}


def merge_states(states: Iterable[Mapping[str, Any]]) -> tuple[int, frozenset[int]]:
    """Merges the shares of all hosts: (the first position that is not done, later positions that are)."""
    states = list(states)
    start = min(state["next"] for state in states)
    done: set[int] = set()
    for state in states:
        first = state["next"] - state["step"] * ((state["next"] - start) // state["step"])
        done |= set(range(first, state["next"], state["step"])) | set(state["ahead"])
    while start in done:
        start += 1
    return start, frozenset(position for position in done if position > start)


def state_of_host(states: Sequence[Mapping[str, Any]], host: int, hosts: int) -> Mapping[str, Any] | None:
    """The state that host `host` saved, if as many hosts saved theirs as there are now."""
    return next((s for s in states if (s["host"], s["hosts"]) == (host, hosts)), None)


class ExampleBatches(grain.DatasetIterator):
    """Batches of `size` examples of this host's share.

    open_order: (start, step) -> iterator over the examples from there on. keep: whether an example can be used. names:
    of the examples in the last batch. sources: what determines the order; a resumed run must have the same.
    """

    def __init__(
        self,
        open_order: Callable[[int, int], grain.DatasetIterator],
        keep: Callable[[Mapping[str, Any]], bool],
        size: int,
        host: int,
        hosts: int,
        sources: Mapping[str, Any],
    ):
        super().__init__()
        self._open, self._keep, self._size, self._host, self._hosts = open_order, keep, size, host, hosts
        self.sources = dict(sources)
        self.names: tuple[str, ...] = ()
        self._examples: grain.DatasetIterator | None = None
        self._begin(HostShare(host, hosts))

    def _begin(self, share: HostShare) -> None:
        self.close()
        self._share, self._position = share, share.next

    def __next__(self) -> dict[str, np.ndarray]:
        rows: list[Mapping[str, Any]] = []
        if self._examples is None:
            self._examples = self._open(self._position, self._share.step)
        while len(rows) < self._size:
            example = next(self._examples)
            position, self._position = self._position, self._position + self._share.step
            if position in self._share.taken:
                continue
            self._share.mark(position)
            if self._keep(example):
                rows.append(example)
        self.names = tuple(row["name"] for row in rows)
        return {key: np.stack([row[key] for row in rows]) for key in rows[0] if key not in ("name", "problem")}

    def get_state(self) -> dict[str, Any]:
        """The state for `set_states`, plain JSON."""
        return {"host": self._host, "hosts": self._hosts, "sources": self.sources, "share": self._share.state()}

    def set_states(self, states: Sequence[Mapping[str, Any]]) -> None:
        """Resumes from the states of all hosts: exactly if there are as many, else with examples that none has read."""
        mine = state_of_host(states, self._host, self._hosts)
        if mine:
            share = mine["share"]
            self._begin(HostShare(share["next"], share["step"], frozenset(share["ahead"])))
        else:
            start, taken = merge_states(state["share"] for state in states)
            self._begin(HostShare(start + self._host, self._hosts, taken))

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Resumes from the state of this host."""
        self.set_states([state])

    def close(self) -> None:
        """Stops reading ahead."""
        if self._examples is not None:
            self._examples.close()
            self._examples = None

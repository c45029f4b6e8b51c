"""Where hosts are in an endless order of examples, so that any number of hosts can go on from there.

Host h of H reads every H-th example. What each has done is kept as positions in the order that all share.
"""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import grain
import numpy as np


@dataclasses.dataclass
class Share:
    """One host's part of an order: `next`, `next` + `step` and so on, but for `taken`, which were read before it began.

    next: its first position that is not done. done: those after it that are.
    """

    next: int
    step: int
    taken: frozenset[int] = frozenset()
    done: set[int] = dataclasses.field(default_factory=set)

    def __post_init__(self):
        self._advance()

    def mark(self, position: int) -> None:
        """Counts a position as done, however often it is told."""
        if position >= self.next:
            self.done.add(position)
            self._advance()

    def _advance(self) -> None:
        while self.next in self.done or self.next in self.taken:
            self.done.discard(self.next)
            self.next += self.step

    def state(self) -> dict[str, Any]:
        """Plain JSON values; `ahead` are the positions after `next` that need no reading."""
        ahead = self.done | {position for position in self.taken if position > self.next}
        return {"next": self.next, "step": self.step, "ahead": sorted(ahead)}


def merge(states: Iterable[Mapping[str, Any]]) -> tuple[int, frozenset[int]]:
    """(the first position that is not done, those after it that are), from the shares of all hosts."""
    states = list(states)
    start = min(state["next"] for state in states)
    done: set[int] = set()
    for state in states:
        first = state["next"] - state["step"] * ((state["next"] - start) // state["step"])
        done |= set(range(first, state["next"], state["step"])) | set(state["ahead"])
    while start in done:
        start += 1
    return start, frozenset(position for position in done if position > start)


def own_state(states: Sequence[Mapping[str, Any]], host: int, hosts: int) -> Mapping[str, Any] | None:
    """The state that host `host` of `hosts` saved, if that many saved."""
    return next((s for s in states if (s["host"], s["hosts"]) == (host, hosts)), None)


class ExampleBatches(grain.DatasetIterator):
    """Batches of `size` examples of this host's share.

    open_order: (start, step) -> examples from there on. keep: whether an example can be used. names: of the examples
    in the last batch. sources: what the order is made of, which a resumed run must have again.
    """

    def __init__(
        self,
        open_order: Callable[[int, int], Iterator[Mapping[str, Any]]],
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
        self._examples: Iterator[Mapping[str, Any]] | None = None
        self._begin(Share(host, hosts))

    def _begin(self, share: Share) -> None:
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
        """What set_states takes, plain JSON values."""
        return {"host": self._host, "hosts": self._hosts, "sources": self.sources, "share": self._share.state()}

    def set_states(self, states: Sequence[Mapping[str, Any]]) -> None:
        """Goes on from what all hosts saved: with as many hosts exactly, else with what none of them has read."""
        mine = own_state(states, self._host, self._hosts)
        if mine:
            share = mine["share"]
            self._begin(Share(share["next"], share["step"], frozenset(share["ahead"])))
        else:
            start, taken = merge(state["share"] for state in states)
            self._begin(Share(start + self._host, self._hosts, taken))

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Goes on from what this host saved."""
        self.set_states([state])

    def close(self) -> None:
        """Ends what reads ahead."""
        if self._examples is not None:
            self._examples.close()
            self._examples = None

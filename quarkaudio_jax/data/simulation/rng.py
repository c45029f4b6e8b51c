"""Random choices that write themselves down."""

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np

T = TypeVar("T")


class Draws:
    """Draws from `rng`; `record` holds each under its name, as plain JSON values."""

    def __init__(self, rng: np.random.Generator, record: dict[str, Any] | None = None, prefix: str = ""):
        self._rng = rng
        self._prefix = prefix
        self.record: dict[str, Any] = {} if record is None else record

    def scope(self, name: str) -> "Draws":
        """The same generator and record, names from here on with `name.` in front."""
        return Draws(self._rng, self.record, f"{self._prefix}{name}.")

    def note(self, name: str, value: T) -> T:
        """Writes down something that follows from the draws."""
        self.record[self._prefix + name] = value
        return value

    def uniform(self, name: str, bounds: Sequence[float]) -> float:
        """A number within (low, high)."""
        return self.note(name, float(self._rng.uniform(*bounds)))

    def log_uniform(self, name: str, bounds: Sequence[float]) -> float:
        """A number within (low, high), its logarithm uniform."""
        return self.note(name, float(np.exp(self._rng.uniform(*np.log(bounds)))))

    def integer(self, name: str, low: int, high: int) -> int:
        """A whole number, low <= n <= high."""
        return self.note(name, int(self._rng.integers(low, high + 1)))

    def index(self, name: str, count: int) -> int:
        """An index, 0 <= n < count."""
        return self.note(name, int(self._rng.integers(count)))

    def chance(self, name: str, probability: float) -> bool:
        """True with a probability."""
        return self.note(name, bool(self._rng.random() < probability))

    def choice(self, name: str, options: Sequence[T]) -> T:
        """One of the options."""
        return self.note(name, options[int(self._rng.integers(len(options)))])

    def weighted(self, name: str, weights: dict[str, float]) -> str:
        """One of the names, by weight."""
        values = np.array(list(weights.values()))
        return self.note(name, str(list(weights)[int(self._rng.choice(len(values), p=values / values.sum()))]))

    def order(self, name: str, options: Sequence[str]) -> list[str]:
        """The options in random order."""
        return self.note(name, [options[i] for i in self._rng.permutation(len(options))])

    def generator(self, name: str) -> np.random.Generator:
        """A generator of its own for a whole signal; its seed is what is written down."""
        return np.random.default_rng(self.note(name, int(self._rng.integers(2**31))))

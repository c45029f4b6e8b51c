"""A random generator that records every value it draws."""

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np

T = TypeVar("T")


class RecordedRNG:
    """Random values from `rng`; `record` maps the name of each to its value, as plain JSON.

    after_target: the generator to go on with once the target has been drawn (default: the same).
    """

    def __init__(
        self,
        rng: np.random.Generator,
        record: dict[str, Any] | None = None,
        prefix: str = "",
        after_target: np.random.Generator | None = None,
    ):
        self._rng = rng
        self._prefix = prefix
        self._after_target = after_target
        self.record: dict[str, Any] = {} if record is None else record

    def scope(self, name: str) -> "RecordedRNG":
        """Returns a view of the same generator and record that prefixes names with `name.`."""
        return RecordedRNG(self._rng, self.record, f"{self._prefix}{name}.")

    def target_drawn(self) -> None:
        """Goes on with the other generator, if there is one."""
        self._rng = self._after_target or self._rng

    def log(self, name: str, value: T) -> T:
        """Records a value that follows from the drawn ones, and returns it."""
        self.record[self._prefix + name] = value
        return value

    def uniform(self, name: str, bounds: Sequence[float]) -> float:
        """Draws a number, uniform within (low, high)."""
        low, high = bounds
        return self.log(name, float(self._rng.uniform(low, high)))

    def log_uniform(self, name: str, bounds: Sequence[float]) -> float:
        """Draws a number within (low, high) whose logarithm is uniform."""
        low, high = np.log(bounds)
        return self.log(name, float(np.exp(self._rng.uniform(low, high))))

    def integer(self, name: str, low: int, high: int) -> int:
        """Draws an integer, low <= n <= high."""
        return self.log(name, int(self._rng.integers(low, high + 1)))

    def index(self, name: str, count: int) -> int:
        """Draws an index, 0 <= n < count."""
        return self.log(name, int(self._rng.integers(count)))

    def bernoulli(self, name: str, probability: float) -> bool:
        """Draws True with the given probability."""
        return self.log(name, bool(self._rng.random() < probability))

    def choice(self, name: str, options: Sequence[T]) -> T:
        """Draws one of the options."""
        return self.log(name, options[int(self._rng.integers(len(options)))])

    def weighted_choice(self, name: str, weights: dict[str, float]) -> str:
        """Draws one of the keys, with probabilities proportional to the values."""
        values = np.array(list(weights.values()))
        return self.log(name, str(list(weights)[int(self._rng.choice(len(values), p=values / values.sum()))]))

    def permutation(self, name: str, options: Sequence[str]) -> list[str]:
        """Draws an order of the options."""
        return self.log(name, [options[i] for i in self._rng.permutation(len(options))])

    def generator(self, name: str) -> np.random.Generator:
        """Returns a new generator, for drawing entire signals; its seed is what is recorded."""
        return np.random.default_rng(self.log(name, int(self._rng.integers(2**31))))

"""Types of fields with bounds on their values, such as `lr: Amount = 2e-4`."""

import dataclasses
import math
from typing import Annotated, Any


@dataclasses.dataclass(frozen=True)
class Bounds:
    """A number from `low` to `high`; above, below: excluding that end; infinite: inf is allowed."""

    low: float
    high: float = math.inf
    above: bool = False
    below: bool = False
    infinite: bool = False

    def admits(self, value: float) -> bool:
        """Whether the value is within the bounds."""
        low = value > self.low if self.above else value >= self.low
        return low and (value < self.high if self.below else value <= self.high)

    def __str__(self) -> str:
        low = f"over {self.low:g}" if self.above else f"at least {self.low:g}"
        if self.high == math.inf:
            return low
        return f"{low} and {f'below {self.high:g}' if self.below else f'at most {self.high:,}'}"


@dataclasses.dataclass(frozen=True)
class Ordered:
    """Non-decreasing numbers: exactly `count` of them, or at least two."""

    count: int = 0

    def admits(self, values: tuple[float, ...]) -> bool:
        """Whether the values are in order."""
        return len(values) == (self.count or max(len(values), 2)) and list(values) == sorted(values)

    def __str__(self) -> str:
        return "(low, high), the higher one last" if self.count == 2 else "two numbers or more, rising"


Count = Annotated[int, Bounds(0)]
Size = Annotated[int, Bounds(1)]
Seed = Annotated[int, Bounds(0, 2**32 - 2)]
Amount = Annotated[float, Bounds(0)]
Positive = Annotated[float, Bounds(0, above=True)]
Share = Annotated[float, Bounds(0, 1)]
Decay = Annotated[float, Bounds(0, 1, below=True)]
Clip = Annotated[float, Bounds(0, infinite=True)]

Range = Annotated[tuple[float, ...], Ordered(2)]
PositiveRange = Annotated[tuple[Positive, ...], Ordered(2)]
ShareRange = Annotated[tuple[Share, ...], Ordered(2)]
SizeRange = Annotated[tuple[Size, ...], Ordered(2)]
Edges = Annotated[tuple[Share, ...], Ordered()]

BOOLEANS = {"yes": True, "true": True, "on": True, "no": False, "false": False, "off": False}
"""Spellings of booleans."""


def base_type(kind: Any) -> Any:
    """A field's type without its bounds."""
    return kind.__origin__ if hasattr(kind, "__metadata__") else kind


def parse_scalar(value: Any, kind: type) -> Any:
    """Parses an integer (1e4) or a boolean (yes) of that kind; returns any other value unchanged."""
    if kind is bool and isinstance(value, str):
        return BOOLEANS.get(value.strip().lower(), value)
    if kind is int and isinstance(value, str | float):
        try:
            number = float(value)
            return int(value) if isinstance(value, str) and value.strip().lstrip("+-").isdecimal() else _integer(number)
        except (ValueError, OverflowError):
            return value
    return value


def _integer(number: float) -> int:
    if not number.is_integer():
        raise ValueError(number)
    return int(number)


def violations(value: Any, kind: Any) -> str:
    """The bounds that a value violates, such as 'at least 0'; empty if none."""
    rules = getattr(kind, "__metadata__", ())
    infinite = any(isinstance(rule, Bounds) and rule.infinite for rule in rules)
    if isinstance(value, float) and (math.isnan(value) or (math.isinf(value) and not infinite)):
        return " and ".join(["a number", *map(str, rules)])
    return " and ".join(str(rule) for rule in rules if not rule.admits(value))

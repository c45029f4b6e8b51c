"""Results as Markdown, CSV and JSON."""

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from quarkaudio_jax.metrics.registry import METRICS

Row = Mapping[str, Any]
"""Name (`file`), length (`seconds`) and values of a file, by column; NaN for a missing value."""

WEIGHTS = dict(pair for metric in METRICS.values() for pair in metric.weights)
"""Column -> the column that weights it in a mean."""


def numbers(rows: Sequence[Row]) -> list[str]:
    """The columns that hold numbers, in order of appearance."""
    return list(dict.fromkeys(k for row in rows for k, v in row.items() if isinstance(v, int | float)))


def means(rows: Sequence[Row]) -> dict[str, float]:
    """Column -> mean over the rows that have a value, weighted by `WEIGHTS`; columns that are weights are summed."""
    out = {}
    for column in numbers(rows):
        values = np.array([row.get(column, math.nan) for row in rows], float)
        weights = np.array([row.get(WEIGHTS[column], 0.0) for row in rows]) if column in WEIGHTS else np.ones(len(rows))
        known = ~np.isnan(values)
        if column in WEIGHTS.values():
            out[column] = float(values[known].sum())
        else:
            total = weights[known].sum()
            out[column] = float((values[known] * weights[known]).sum() / total) if total else math.nan
    return out


def counts(rows: Sequence[Row]) -> dict[str, int]:
    """Column -> number of rows that have a value."""
    return {
        column: sum(isinstance(v := row.get(column), int | float) and not math.isnan(v) for row in rows)
        for column in numbers(rows)
    }


def markdown(
    rows: Sequence[Row], extra: Mapping[str, float] | None = None, extra_counts: Mapping[str, int] | None = None
) -> str:
    """A table of all rows and their means. extra: values of the set, such as FAD.

    A mean of fewer than all rows is followed by their number in brackets; extra_counts: such numbers of `extra`.
    """
    if not rows:
        return "nothing was measured"
    columns, last = numbers(rows), {**means(rows), **(extra or {})}
    known = {**counts(rows), **(extra_counts or {})}
    columns += [column for column in last if column not in columns]
    lines = [["file", *columns], ["---", *["---:"] * len(columns)]]
    lines += [[row["file"], *(_shown(row.get(c)) for c in columns)] for row in rows]
    lines.append([f"mean of {len(rows)}", *(_shown(last.get(c), known.get(c, len(rows)), len(rows)) for c in columns)])
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns) + 1)]
    return "\n".join("| " + " | ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) + " |" for line in lines)


def _shown(value: float | None, count: int = 0, total: int = 0) -> str:
    if value is None or math.isnan(value):
        return ""
    return f"{value:.3f}" + (f" ({count})" if count < total else "")


def to_csv(rows: Sequence[Row]) -> str:
    """A line for every row; missing values are empty."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns)
    if rows:
        writer.writeheader()
        writer.writerows(
            {k: "" if isinstance(v, float) and math.isnan(v) else v for k, v in row.items()} for row in rows
        )
    return text.getvalue()


def to_json(value: Any) -> str:
    """JSON with null for NaN and infinities."""

    def plain(x: Any) -> Any:
        if isinstance(x, Mapping):
            return {k: plain(v) for k, v in x.items()}
        if isinstance(x, list | tuple):
            return [plain(v) for v in x]
        return None if isinstance(x, float) and not math.isfinite(x) else x

    return json.dumps(plain(value), indent=1, ensure_ascii=False) + "\n"

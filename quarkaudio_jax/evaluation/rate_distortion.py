"""Rate against distortion: what a codec's reconstructions lose with fewer codebooks, or with fewer and longer groups."""

import dataclasses
import itertools
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from quarkaudio_jax.errors import QuarkAudioError, is_exhausted, named, system_errors
from quarkaudio_jax.evaluation.baselines import points
from quarkaudio_jax.evaluation.measures import compute
from quarkaudio_jax.io import atomic
from quarkaudio_jax.io.audio import read_mono
from quarkaudio_jax.io.transforms import resample
from quarkaudio_jax.metrics.registry import HIGHER
from quarkaudio_jax.report import tables

THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0)
"""Of an adaptive codec, all codebooks at each."""


@dataclasses.dataclass(frozen=True)
class Point:
    """One setting of one codec over all recordings. curve: which line it is on. rate: kbit/s, of the codes alone."""

    codec: str
    curve: str
    setting: str
    rate: float
    values: dict[str, float]


def ours(codec: Any, waves: Sequence[np.ndarray]) -> Iterator[tuple[str, str, float, list[np.ndarray]]]:
    """(curve, setting, bits in all, reconstructions) of one of our codecs, by codebooks and by threshold."""
    books = min(codec.num_codebooks)
    choices = [("codebooks", f"{k} a stream", dict(num_codebooks=k), k) for k in range(1, books + 1)]
    if codec.is_adaptive:
        choices += [("threshold", f"threshold {t:g}", dict(threshold=t), books) for t in THRESHOLDS]
    sizes = [(size - 1).bit_length() for size in codec.codebook_size]
    for curve, setting, options, kept in choices:
        bits, outs = 0.0, []
        for wave in waves:
            codes = codec.encode(wave, **options)
            bits += int(np.sum(codes.lengths_B)) * (kept * sum(sizes) + codec.cfg.duration_bits)
            outs.append(codec.decode(codes, len(wave)).samples_BxS[0])
        yield curve, setting, bits, outs


Recording = tuple[np.ndarray, int]
"""Samples (S,) and their rate."""


def read_all(paths: Sequence[pathlib.Path]) -> tuple[list[Recording], list[str]]:
    """(the recordings, a line for each file that can't be read)."""
    found, failed = [], []
    for path in paths:
        try:
            with system_errors(path):
                found.append(read_mono(path))
        except QuarkAudioError as error:
            if is_exhausted(error):
                raise
            failed.append(named(path, error))
    return found, failed


def measure(
    originals: Sequence[Recording], codecs: Sequence[Any], peers: Sequence[Any], metrics: Sequence[str]
) -> Iterator[Point]:
    """The points of our codecs and of public ones, at the lower of a recording's rate and the codec's."""
    for codec, is_ours in [*((c, True) for c in codecs), *((p, False) for p in peers)]:
        rate = codec.sample_rate if is_ours else codec.rate
        waves = [resample(wave, own, rate) for wave, own in originals]
        seconds = sum(len(wave) / own for wave, own in originals)
        if is_ours:
            found = ours(codec, waves)
        else:
            found = ((codec.name, *point) for point in points(codec, waves))
        for curve, setting, bits, outs in found:
            rows = []
            for (wave, own), out in zip(originals, outs, strict=True):
                lower = min(own, rate)
                pair = (resample(out, rate, lower), resample(wave, own, lower))
                rows.append({"file": "", **compute(metrics, [pair], lower)})
            means = {k: v for k, v in tables.means(rows).items() if k in HIGHER}
            yield Point(codec.name, curve, setting, bits / seconds / 1000, means)


def write_csv(path: pathlib.Path, points: Sequence[Point]) -> None:
    """A line a point."""
    rows = [{"codec": p.codec, "curve": p.curve, "setting": p.setting, "kbit_s": p.rate, **p.values} for p in points]
    atomic.write_text(path, tables.to_csv(rows))


def draw(path: pathlib.Path, points: Sequence[Point], title: str) -> None:
    """One panel a metric, one line a curve."""
    import matplotlib.figure
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    columns = list(dict.fromkeys(column for point in points for column in point.values))
    figure = matplotlib.figure.Figure(figsize=(6.5 * len(columns), 4.5), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(columns), squeeze=False)[0]
    for panel, column in zip(panels, columns, strict=True):
        for (codec, curve), group in itertools.groupby(points, key=lambda p: (p.codec, p.curve)):
            line = list(group)
            label = codec if curve == codec else f"{codec}, by {curve}"
            panel.plot([p.rate for p in line], [p.values[column] for p in line], marker="o", label=label)
        panel.set(xlabel="kbit/s", ylabel=f"{column} ({'more' if HIGHER[column] else 'less'} is better)")
        panel.grid(alpha=0.3)
        panel.legend()
    figure.suptitle(title)
    with atomic.atomic_write(path) as temporary:
        figure.savefig(temporary, format="png")

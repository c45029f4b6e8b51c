"""Rate and distortion of codecs, by number of codebooks and, for an adaptive codec, by threshold."""

import dataclasses
import itertools
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from quarkaudio_jax.errors import QuarkAudioError, is_exhausted, named, system_errors
from quarkaudio_jax.evaluation import baselines
from quarkaudio_jax.evaluation.measures import compute_metrics
from quarkaudio_jax.io import atomic
from quarkaudio_jax.io.audio import read_mono
from quarkaudio_jax.io.transforms import resample
from quarkaudio_jax.metrics.registry import HIGHER
from quarkaudio_jax.report import tables
from quarkaudio_jax.report.progress import progress

THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0)
"""Thresholds of an adaptive codec, each with all codebooks."""


@dataclasses.dataclass(frozen=True)
class Point:
    """One setting of a codec over all recordings. curve: the line it belongs to. rate: kbit/s of the codes alone."""

    codec: str
    curve: str
    setting: str
    rate: float
    values: dict[str, float]


def reconstruct(codec: Any, waves: Sequence[np.ndarray]) -> Iterator[tuple[str, str, float, list[np.ndarray]]]:
    """(curve, setting, total bits, reconstructions) of an H-Codec, by number of codebooks and by threshold."""
    codec.require_mono("these curves are of mono recordings")
    books = min(codec.num_codebooks)
    choices: list[tuple[str, str, dict[str, Any], int]]
    choices = [("codebooks", f"{k} a stream", dict(num_codebooks=k), k) for k in range(1, books + 1)]
    if codec.is_adaptive:
        choices += [("threshold", f"threshold {t:g}", dict(threshold=t), books) for t in THRESHOLDS]
    sizes = [(size - 1).bit_length() for size in codec.codebook_size]
    for curve, setting, options, kept in choices:
        bits, outs = 0.0, []
        for wave in progress(waves, len(waves)):
            codes = codec.encode(wave, **options)
            bits += int(np.sum(codes.lengths_B)) * (kept * sum(sizes) + codec.cfg.duration_bits)
            outs.append(codec.decode(codes, len(wave)).samples_BxS[0])
        yield curve, setting, bits, outs


Recording = tuple[np.ndarray, int]
"""Samples (S,) and their sample rate in Hz."""


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
    originals: Sequence[Recording],
    codecs: Sequence[Any],
    others: Sequence[baselines.Baseline],
    metrics: Sequence[str],
) -> Iterator[Point]:
    """The points of H-Codecs and baselines, compared at the lower of the recording's sample rate and the codec's."""
    every: list[tuple[Any, bool]] = [*((codec, False) for codec in codecs), *((other, True) for other in others)]
    for codec, is_baseline in every:
        rate = codec.rate if is_baseline else codec.sample_rate
        waves = [resample(wave, own, rate) for wave, own in originals]
        seconds = sum(len(wave) / own for wave, own in originals)
        found: Iterator[tuple[str, str, float, list[np.ndarray]]]
        if is_baseline:
            found = ((codec.name, *setting) for setting in baselines.reconstruct(codec, waves))
        else:
            found = reconstruct(codec, waves)
        for curve, setting, bits, outs in progress(found, None, f"settings of {codec.name}"):
            rows = []
            for (wave, own), out in zip(originals, outs, strict=True):
                lower = min(own, rate)
                pair = (resample(out, rate, lower), resample(wave, own, lower))
                rows.append({"file": "", **compute_metrics(metrics, [pair], lower)})
            means = {k: v for k, v in tables.means(rows).items() if k in HIGHER}
            yield Point(codec.name, curve, setting, bits / seconds / 1000, means)


def write_csv(path: pathlib.Path, points: Sequence[Point]) -> None:
    """Writes a line for every point."""
    rows = [{"codec": p.codec, "curve": p.curve, "setting": p.setting, "kbit_s": p.rate, **p.values} for p in points]
    atomic.write_text(path, tables.to_csv(rows))


def plot(path: pathlib.Path, points: Sequence[Point], title: str) -> None:
    """Writes a PNG with a panel for every metric and a line for every curve."""
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
        panel.set(xlabel="kbit/s", ylabel=f"{column} ({'higher' if HIGHER[column] else 'lower'} is better)")
        panel.grid(alpha=0.3)
        panel.legend()
    figure.suptitle(title)
    with atomic.atomic_write(path) as temporary:
        figure.savefig(temporary, format="png")

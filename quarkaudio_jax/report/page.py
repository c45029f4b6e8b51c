"""A page to listen to: one self-contained HTML file, which needs no server.

Sounds are 16-bit FLAC, decoded by the browser when they are played.
"""

import base64
import dataclasses
import html
import io
import json
import os
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from quarkaudio_jax.errors import is_exhausted, named
from quarkaudio_jax.io import atomic, audio
from quarkaudio_jax.io.audio import by_name, printable, read_channels
from quarkaudio_jax.metrics.registry import HIGHER
from quarkaudio_jax.report.pictures import spectrogram_jpeg

PICTURE = (600, 130)
"""Width and height of a spectrogram in pixels."""

Track = tuple[str, Callable[[], tuple[np.ndarray, int]]]
"""A name, and a function that reads (samples (S,) or (S, 2), rate)."""


@dataclasses.dataclass(frozen=True)
class Clip:
    """Tracks to compare. values: numbers and texts to show, sort and filter by."""

    name: str
    tracks: Sequence[Track]
    values: Mapping[str, float | str] = dataclasses.field(default_factory=dict)


def page_path(path: pathlib.Path) -> pathlib.Path:
    """The path of the page: the given one if it ends in .html, else index.html in that folder."""
    return path if path.suffix == ".html" else path / "index.html"


def write_page(path: pathlib.Path, title: str, clips: Iterable[Clip], skipped: list[str] | None = None) -> pathlib.Path:
    """Writes the page clip by clip; returns its path.

    Clips that can't be read are added to `skipped`, with the reason. AudioError, and no page, without that list or if no
    clip can be read.
    """
    path = page_path(path)
    failed: list[str] = []
    marker = '<script id="data" type="application/json">'
    template = (pathlib.Path(__file__).parent / "page.html").read_text("utf-8")
    head, tail = template.split(f"{marker}DATA")
    described: list[dict[str, Any]] = []
    columns: dict[str, bool] = {}
    count = 0
    # backslashreplace: for names that are not UTF-8
    with (
        atomic.atomic_write(path) as temporary,
        temporary.open("w", encoding="utf-8", errors="backslashreplace") as file,
    ):
        file.write(head.replace("TITLE", html.escape(title)))
        for clip in clips:
            try:
                waves = [read() for _, read in clip.tracks]
            except audio.AudioError as error:
                if skipped is None or is_exhausted(error):
                    raise
                failed.append(named(clip.name, error))
                continue
            tracks, seconds = [], 0.0
            for (name, _), (wave, rate) in zip(clip.tracks, waves, strict=True):
                sound, count = f"sound{count}", count + 1
                file.write(f'<script type="text/plain" id="{sound}">{_encoded(_flac(wave, rate))}</script>\n')
                picture = f"data:image/jpeg;base64,{_encoded(spectrogram_jpeg(wave, rate, *PICTURE))}"
                tracks.append({"name": name, "sound": sound, "picture": picture})
                seconds = max(seconds, len(wave) / rate)
            values = {k: v for k, v in clip.values.items() if isinstance(v, str) or np.isfinite(v)}
            columns |= {k: HIGHER.get(k, True) for k, v in values.items() if not isinstance(v, str)}
            described.append({"name": clip.name, "seconds": seconds, "values": values, "tracks": tracks})
        if failed and not described:
            raise audio.AudioError("; ".join(failed))
        text = json.dumps({"clips": described, "columns": columns}, ensure_ascii=False).replace("</", "<\\/")
        file.write(f"{marker}{printable(text)}{tail}")
    if skipped is not None:
        skipped += failed
    return path


def _encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _flac(wave_S: np.ndarray, rate: int) -> bytes:
    import soundfile

    out = io.BytesIO()
    soundfile.write(out, np.clip(wave_S, -1, 1), rate, format="FLAC", subtype="PCM_16")
    return out.getvalue()


def write_report(folder: pathlib.Path, report: pathlib.Path) -> pathlib.Path:
    """Writes the page of an evaluation's results and audio; see `evaluation.run`."""
    results = json.loads((folder / "results.json").read_text("utf-8"))
    settings = results["settings"]
    name = settings.get("benchmark") or settings.get("reference") or "evaluation"
    clips = []
    for row in results["files"]:
        values = {k: v for k, v in row.items() if k != "file" and v is not None}
        kept = sorted((folder / "audio" / row["file"]).glob("*.flac"), key=_order)
        clips.append(Clip(row["file"], [_track(path.stem, path) for path in kept], values))
    made_by = settings.get("checkpoint") or settings.get("reconstructions")
    return write_page(report, f"{name}: {made_by}", clips)


def _order(path: pathlib.Path) -> tuple[int, str]:
    """Sort key: inputs, outputs, targets, ceilings."""
    kinds = ("input", "output", "target", "ceiling")
    return kinds.index(path.stem.split()[0]), path.stem


def _track(name: str, path: pathlib.Path) -> Track:
    return name, lambda: read_channels(path, 2 if audio.info(path)[2] == 2 else 1)


def compare(paths: Sequence[pathlib.Path], report: pathlib.Path, skipped: list[str] | None = None) -> pathlib.Path:
    """Writes a page of recordings, or of the files that several folders have in common.

    skipped: see `write_page`.
    """
    if all(path.is_dir() for path in paths):
        found = [by_name(root) for root in paths]
        common = [name for name in found[0] if all(name in other for other in found)]
        if not common:
            raise audio.AudioError(f"{', '.join(map(str, paths))} have no file name in common")
        labels = _labels(paths)
        clips = [
            Clip(name, [_track(label, files[name]) for label, files in zip(labels, found, strict=True)])
            for name in common
        ]
    elif all(path.is_file() for path in paths):
        clips = [
            Clip(" | ".join(p.name for p in paths), [_track(n, p) for n, p in zip(_labels(paths), paths, strict=True)])
        ]
    else:
        raise audio.AudioError(f"{', '.join(map(str, paths))}: give files, or folders, that exist")
    return write_page(report, "comparison", clips, skipped)


def _labels(paths: Sequence[pathlib.Path]) -> list[str]:
    """The paths without their common prefix."""
    if len(paths) == 1:
        return [paths[0].name]
    parts = [path.absolute().parts for path in paths]
    shared = len(pathlib.Path(os.path.commonpath([path.absolute() for path in paths])).parts)
    return ["/".join(p[shared:]) or path.name for p, path in zip(parts, paths, strict=True)]

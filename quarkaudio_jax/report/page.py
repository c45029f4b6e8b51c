"""A page to listen to: one HTML file with everything in it, for a browser, from the file system, without a server.

Sounds are FLAC of 16 bits, in blocks that the browser decodes only when their file is played.
"""

import base64
import dataclasses
import html
import io
import json
import os
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from quarkaudio_jax.errors import is_exhausted, named
from quarkaudio_jax.io import atomic, audio
from quarkaudio_jax.io.audio import by_name, printable, read_mono
from quarkaudio_jax.metrics.registry import HIGHER

PICTURE = (600, 130)
"""Width and height of a spectrogram, pixels."""

Track = tuple[str, Callable[[], tuple[np.ndarray, int]]]
"""A name, and what reads (samples (S,), rate)."""


@dataclasses.dataclass(frozen=True)
class Clip:
    """What is heard side by side. values: numbers and texts to show, sort and filter by."""

    name: str
    tracks: Sequence[Track]
    values: Mapping[str, float | str] = dataclasses.field(default_factory=dict)


def page_path(path: pathlib.Path) -> pathlib.Path:
    """The page that a folder, or a name that ends in .html, stands for."""
    return path if path.suffix == ".html" else path / "index.html"


def write_page(path: pathlib.Path, title: str, clips: Iterable[Clip], skipped: list[str] | None = None) -> pathlib.Path:
    """Writes the page, clip after clip; returns its path.

    Clips that can't be read go to `skipped`, with the reason. AudioError, and no page, if there is no such list, or no
    other clip.
    """
    path, failed = page_path(path), []
    marker = '<script id="data" type="application/json">'
    template = (pathlib.Path(__file__).parent / "page.html").read_text("utf-8")
    head, tail = template.split(f"{marker}DATA")
    described, columns, count = [], {}, 0
    # "backslashreplace": of names that are not UTF-8
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
                picture = f"data:image/jpeg;base64,{_encoded(spectrogram(wave, rate))}"
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


def spectrogram(wave_S: np.ndarray, rate: int) -> bytes:
    """A JPEG of `PICTURE` size: the whole wave from left to right, 0 Hz below, half the rate above, 100 dB of magma."""
    import matplotlib
    from PIL import Image
    from scipy import signal

    width, height = PICTURE
    padded = np.pad(wave_S, (0, max(1024 - len(wave_S), 0)))
    hop = max(len(padded) // width, 64)
    power = signal.spectrogram(padded, rate, "hann", 1024, 1024 - min(hop, 1024), scaling="spectrum", mode="psd")[2]
    if hop > 1024:  # long recordings: what lies between two columns is left out, as a coarser look would
        power = power[:, :: round(hop / 1024)]
    level = np.clip(10 * np.log10(power[::-1] + 1e-10) / 100 + 1, 0, 1)
    pixels = (matplotlib.colormaps["magma"](level)[..., :3] * 255).astype(np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR).save(out, "JPEG", quality=80)
    return out.getvalue()


def write_report(folder: pathlib.Path, report: pathlib.Path) -> pathlib.Path:
    """Writes the page of an evaluation's results and kept audio; see `evaluation.run`."""
    results = json.loads((folder / "results.json").read_text("utf-8"))
    settings = results["settings"]
    what = settings.get("benchmark") or settings.get("reference") or "evaluation"
    clips = []
    for row in results["files"]:
        values = {k: v for k, v in row.items() if k != "file" and v is not None}
        kept = sorted((folder / "audio" / row["file"]).glob("*.flac"), key=_place)
        clips.append(Clip(row["file"], [_track(path.stem, path) for path in kept], values))
    made_by = settings.get("checkpoint") or settings.get("reconstructions")
    return write_page(report, f"{what}: {made_by}", clips)


def _place(path: pathlib.Path) -> tuple[int, str]:
    """Inputs first, then outputs, targets and ceilings."""
    kinds = ("input", "output", "target", "ceiling")
    return kinds.index(path.stem.split()[0]), path.stem


def _track(name: str, path: pathlib.Path) -> Track:
    return name, lambda: read_mono(path)


def compare(paths: Sequence[pathlib.Path], report: pathlib.Path, skipped: list[str] | None = None) -> pathlib.Path:
    """Writes the page of any files: of recordings side by side, or of folders, by the names that all of them have.

    skipped: see `write_page`.
    """
    if all(path.is_dir() for path in paths):
        found = [by_name(root) for root in paths]
        common = [name for name in found[0] if all(name in other for other in found)]
        if not common:
            raise audio.AudioError(f"{', '.join(map(str, paths))} have no file of one name")
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
    """The paths without what all of them begin with, where that leaves something of each."""
    if len(paths) == 1:
        return [paths[0].name]
    parts = [path.absolute().parts for path in paths]
    shared = len(pathlib.Path(os.path.commonpath([path.absolute() for path in paths])).parts)
    return ["/".join(p[shared:]) or path.name for p, path in zip(parts, paths, strict=True)]

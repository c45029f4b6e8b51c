"""Where clips come from: folders, globs, scp lists, TFDS audio sets, the embedded corpus.

A source is a list of clips that are read one at a time, so that nothing is decoded before it
is wanted.
"""

import bisect
import dataclasses
import glob
import itertools
import os
import pathlib
import zlib
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from quarkaudio_jax.data import audio, embedded

FEATURES_SUFFIX = ".features.npy"
"""Precomputed features of clip.wav lie beside it in clip.features.npy, (T, D)."""

GRID_HZ = 50
"""Crops start on this grid, the frame rate of SSL features, so that both can be cut together."""


class SourceError(ValueError):
    """A source that does not exist, is empty, or is written wrongly."""


@dataclasses.dataclass(frozen=True)
class Crop:
    """samples_SxC at `rate` Hz, from `start` seconds of the clip; features_TxD: its precomputed features, if any."""

    samples_SxC: np.ndarray
    rate: int
    start: float
    features_TxD: np.ndarray | None = None


class Source(Protocol):
    """A list of clips."""

    def __len__(self) -> int: ...

    def name(self, index: int) -> str:
        """What to call the clip in a log; the same on every machine that holds the same data."""
        ...

    def read(self, index: int, seconds: float | None, position: float) -> Crop:
        """At most `seconds` (None: all) of the clip, from `position` in [0, 1) of what can start a crop."""
        ...


def _start_frame(total: int, rate: int, seconds: float | None, position: float) -> int:
    spare = 0 if seconds is None else total / rate - seconds
    return int(position * (int(spare * GRID_HZ) + 1)) if spare > 0 else 0


def _cut(samples: np.ndarray, rate: int, seconds: float | None, position: float) -> Crop:
    frame = _start_frame(len(samples), rate, seconds, position)
    start = round(frame * rate / GRID_HZ)
    stop = len(samples) if seconds is None else start + int(np.ceil(seconds * rate))
    return Crop(samples[start:stop], rate, start / rate)


class FileSource:
    """Audio files. paths: in order; names: what they are called (default: the path)."""

    def __init__(self, paths: Sequence[str], names: Sequence[str] | None = None):
        self._paths = [str(p) for p in paths]
        self._names = list(names) if names else self._paths

    def __len__(self) -> int:
        return len(self._paths)

    def name(self, index: int) -> str:
        return self._names[index]

    def read(self, index: int, seconds: float | None, position: float) -> Crop:
        path = self._paths[index]
        total, rate, _ = audio.info(path)
        frame = _start_frame(total, rate, seconds, position)
        start = round(frame * rate / GRID_HZ)
        samples, rate = audio.read(path, start, -1 if seconds is None else int(np.ceil(seconds * rate)))
        features = None
        beside = pathlib.Path(path).with_suffix(FEATURES_SUFFIX)
        if beside.exists():
            features = _read_features(beside)[frame:]
            if seconds is not None:
                features = features[: int(np.ceil(seconds * GRID_HZ))]
        return Crop(samples, rate, start / rate, features)


def _read_features(path: pathlib.Path) -> np.ndarray:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError) as error:
        raise audio.AudioError(f"{path}: not a NumPy array ({error})") from error
    if array.ndim != 2 or not len(array):
        raise audio.AudioError(f"{path}: features have shape {array.shape}, but should be (frames, width)")
    return array


class TfdsSource:
    """A TFDS set with an Audio feature, stored as ArrayRecord. spec: NAME[/CONFIG]:SPLIT."""

    def __init__(self, spec: str, data_dir: str):
        import tensorflow_datasets as tfds

        name, _, split = spec.partition(":")
        try:
            builder = tfds.builder(name, data_dir=data_dir or None, file_format="array_record")
            self._records = builder.as_data_source(split=split or "train")
        except Exception as error:  # tfds raises many kinds; the first line says what is wrong
            first = str(error).strip().splitlines()[0]
            raise SourceError(
                f"tfds:{spec} can't be opened in {data_dir or 'the default TFDS folder'}: {first}. Prepare it there "
                "as ArrayRecord first (tfds build --file_format=array_record), or set config.data.tfds_dir"
            ) from error
        features = builder.info.features
        found = [k for k, v in features.items() if isinstance(v, tfds.features.Audio)]
        if not found:
            raise SourceError(f"tfds:{spec} has no Audio feature; it has {', '.join(features)}")
        self._key, self._spec = found[0], spec
        self._rate = features[self._key].sample_rate

    def __len__(self) -> int:
        return len(self._records)

    def name(self, index: int) -> str:
        return f"tfds:{self._spec}/{index}"

    def read(self, index: int, seconds: float | None, position: float) -> Crop:
        record = self._records[index]
        samples = np.asarray(record[self._key])
        rate = self._rate or int(record.get("rate", record.get("sample_rate", 0)))
        if not rate:
            raise audio.AudioError(f"{self.name(index)}: the set does not state its sample rate")
        if np.issubdtype(samples.dtype, np.integer):
            samples = samples.astype(np.float32) / 32768
        samples = samples.astype(np.float32).reshape(len(samples), -1)
        if not len(samples) or not np.isfinite(samples).all():
            raise audio.AudioError(f"{self.name(index)}: the record is empty, NaN or infinite")
        return _cut(samples, rate, seconds, position)


class EmbeddedSource:
    """A part of the embedded corpus: speech, music or events."""

    def __init__(self, kind: str):
        if kind not in embedded.KINDS:
            raise SourceError(f"embedded:{kind} does not exist; choose one of {', '.join(embedded.KINDS)}")
        self._kind = kind

    def __len__(self) -> int:
        return embedded.KINDS[self._kind].size

    def name(self, index: int) -> str:
        return f"embedded:{self._kind}/{index}"

    def read(self, index: int, seconds: float | None, position: float) -> Crop:
        item = embedded.KINDS[self._kind].make(index)
        return _cut(item.samples_S[:, None], embedded.SAMPLE_RATE, seconds, position)


class Subset:
    """Some clips of another source."""

    def __init__(self, source: Source, indices: Sequence[int]):
        self._source, self._indices = source, list(indices)

    def __len__(self) -> int:
        return len(self._indices)

    def name(self, index: int) -> str:
        return self._source.name(self._indices[index])

    def read(self, index: int, seconds: float | None, position: float) -> Crop:
        return self._source.read(self._indices[index], seconds, position)


class Joined:
    """Several sources one after the other."""

    def __init__(self, sources: Sequence[Source]):
        self._sources = list(sources)
        self._ends = list(itertools.accumulate(len(s) for s in self._sources))

    def __len__(self) -> int:
        return self._ends[-1]

    def _locate(self, index: int) -> tuple[Source, int]:
        which = bisect.bisect_right(self._ends, index)
        return self._sources[which], index - (self._ends[which - 1] if which else 0)

    def name(self, index: int) -> str:
        source, inner = self._locate(index)
        return source.name(inner)

    def read(self, index: int, seconds: float | None, position: float) -> Crop:
        source, inner = self._locate(index)
        return source.read(inner, seconds, position)


def read_scp(path: str | os.PathLike) -> FileSource:
    """A Kaldi-style list, one `id path` a line; relative paths are taken from the list's folder."""
    root = pathlib.Path(path).parent
    names, paths = [], []
    for number, line in enumerate(pathlib.Path(path).read_text().splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        fields = line.split(maxsplit=1)
        if len(fields) != 2 or fields[1].rstrip().endswith("|") or ".ark:" in fields[1]:
            raise SourceError(
                f"{path}, line {number}: {line!r} is not `id path` (pipes and .ark archives can't be read)"
            )
        names.append(fields[0])
        paths.append(str(root / fields[1].strip()))
    return FileSource(paths, names)


def _open_one(spec: str, tfds_dir: str) -> Source:
    if spec.startswith("embedded:"):
        return EmbeddedSource(spec.removeprefix("embedded:"))
    if spec.startswith("tfds:"):
        return TfdsSource(spec.removeprefix("tfds:"), tfds_dir)
    path = pathlib.Path(spec).expanduser()
    if path.is_dir():
        files = audio.find(path)
        if not files:
            raise SourceError(f"{path} holds no audio files ({', '.join(audio.EXTENSIONS)})")
        return FileSource([str(f) for f in files], [str(f.relative_to(path)) for f in files])
    if path.is_file():
        return read_scp(path) if path.suffix == ".scp" else FileSource([str(path)], [path.name])
    files = sorted(f for f in glob.glob(str(path), recursive=True) if os.path.isfile(f))
    if not files:
        raise SourceError(f"{spec}: no such file or folder, and no file matches it as a pattern")
    root = os.path.commonpath([os.path.dirname(f) for f in files])
    return FileSource(files, [os.path.relpath(f, root) for f in files])


def open_source(specs: str, tfds_dir: str = "") -> Source:
    """Opens a comma-separated list of sources as one; SourceError says which of them is wrong."""
    sources = [_open_one(spec.strip(), tfds_dir) for spec in specs.split(",") if spec.strip()]
    if not sources or not sum(len(s) for s in sources):
        raise SourceError(f"no audio in {specs!r}")
    return sources[0] if len(sources) == 1 else Joined(sources)


def split_heldout(source: Source, share: float) -> tuple[Source, Source]:
    """(training part, held-out part) by a hash of the clips' names; with two clips or more neither is empty.

    A single clip stands in both.
    """
    if len(source) == 1:
        return source, source
    hashes = [zlib.crc32(source.name(i).encode()) / 2**32 for i in range(len(source))]
    heldout = [i for i, h in enumerate(hashes) if h < share] or [int(np.argmin(hashes))]
    if len(heldout) == len(source):
        heldout.remove(int(np.argmax(hashes)))
    kept = sorted(set(range(len(source))) - set(heldout))
    return Subset(source, kept), Subset(source, heldout)

"""Where clips come from: folders, globs, scp lists, TFDS audio sets, prepared records, the embedded corpus.

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

from quarkaudio_jax.data.crops import GRID_HZ, Crop, SourceError, cut, grid_sample, start_frame
from quarkaudio_jax.data.lists import list_lines, split_specs
from quarkaudio_jax.data.records import Records
from quarkaudio_jax.data.synthetic import embedded
from quarkaudio_jax.data.tfds_source import TfdsSource
from quarkaudio_jax.io import audio

FEATURES_SUFFIX = ".features.npy"
"""Precomputed features of clip.wav lie beside it in clip.features.npy, (T, D)."""


class Source(Protocol):
    """A list of clips."""

    def __len__(self) -> int: ...

    def name(self, index: int) -> str:
        """What to call the clip in a log; the same on every machine that holds the same data."""
        ...

    def read(self, index: int, seconds: float | None, position: float) -> Crop:
        """At most `seconds` (None: all) of the clip, from `position` in [0, 1) of what can start a crop."""
        ...


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
        frame = start_frame(total, rate, seconds, position)
        start = grid_sample(frame, rate)
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


class EmbeddedSource:
    """A part of the embedded corpus: speech, music or events."""

    def __init__(self, kind: str):
        self._name, self._kind = kind, embedded.kind(kind)

    def __len__(self) -> int:
        return self._kind.size

    def name(self, index: int) -> str:
        return f"embedded:{self._name}/{index}"

    def read(self, index: int, seconds: float | None, position: float) -> Crop:
        item = self._kind.make(index)
        return cut(item.samples_S[:, None], embedded.SAMPLE_RATE, seconds, position)


class PreparedSource:
    """Audio with features from `prepare`: a part of its output, such as data/codec_speech."""

    def __init__(self, folder: str):
        self._records = Records(folder)

    def __len__(self) -> int:
        return len(self._records)

    def name(self, index: int) -> str:
        return f"prepared:{self._records.part}/{index}"

    def read(self, index: int, seconds: float | None, position: float) -> Crop:
        record = self._records[index]
        if "wave" not in record:
            raise SourceError(f"{self._records.folder} holds examples of a task, no audio for codec training")
        crop = cut(record["wave"].astype(np.float32)[:, None] / 32767, record["rate"], seconds, position)
        frame = round(crop.start * GRID_HZ)
        count = None if seconds is None else frame + int(np.ceil(seconds * GRID_HZ))
        return dataclasses.replace(crop, features_TxD=record["features"][frame:count])


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


def read_list(path: str | os.PathLike) -> FileSource:
    """A list with a path a line (.txt, .lst); relative ones are taken from the list's folder."""
    root = pathlib.Path(path).parent
    names = [line for _, line in list_lines(path)]
    return FileSource([str(root / name) for name in names], names)


def read_scp(path: str | os.PathLike) -> FileSource:
    """A Kaldi-style list, one `id path` a line; relative paths are taken from the list's folder."""
    root = pathlib.Path(path).parent
    names, paths = [], []
    for number, line in list_lines(path):
        fields = line.split(maxsplit=1)
        if len(fields) != 2 or fields[1].rstrip().endswith("|") or ".ark:" in fields[1]:
            raise SourceError(
                f"{path}, line {number}: {line!r} is not `id path` (pipes and .ark archives can't be read)"
            )
        names.append(fields[0])
        paths.append(str(root / fields[1].strip()))
    return FileSource(paths, names)


LISTS = {".scp": read_scp, ".txt": read_list, ".lst": read_list}
"""Endings of lists -> what reads them."""


def _open_one(spec: str, tfds_dir: str) -> Source:
    if spec.startswith("embedded:"):
        return EmbeddedSource(spec.removeprefix("embedded:"))
    if spec.startswith("tfds:"):
        return TfdsSource(spec.removeprefix("tfds:"), tfds_dir)
    if spec.startswith("prepared:"):
        return PreparedSource(spec.removeprefix("prepared:"))
    path = pathlib.Path(spec).expanduser()
    if path.is_dir():
        files = audio.find(path)
        if not files:
            raise SourceError(f"{path} holds no audio files ({', '.join(audio.EXTENSIONS)})")
        return FileSource([str(f) for f in files], [str(f.relative_to(path)) for f in files])
    if path.is_file():
        read = LISTS.get(path.suffix.lower())
        return read(path) if read else FileSource([str(path)], [path.name])
    files = sorted(f for f in glob.glob(str(path), recursive=True) if os.path.isfile(f))
    if not files:
        raise SourceError(f"{spec}: no such file or folder, and no file matches it as a pattern")
    root = os.path.commonpath([os.path.dirname(f) for f in files])
    return FileSource(files, [os.path.relpath(f, root) for f in files])


def open_source(specs: str, tfds_dir: str = "") -> Source:
    """Opens a comma-separated list of sources as one; SourceError says which of them is wrong."""
    sources = [_open_one(spec, tfds_dir) for spec in split_specs(specs)]
    if not sources or not sum(len(s) for s in sources):
        raise SourceError(f"no audio in {specs!r}")
    return sources[0] if len(sources) == 1 else Joined(sources)


def split_heldout(source: Source, share: float) -> tuple[Source, Source]:
    """(training part, held-out part) by a hash of the clips' names; with two clips or more neither is empty.

    A single clip stands in both.
    """
    if len(source) == 1:
        return source, source
    hashes = [zlib.crc32(os.fsencode(source.name(i))) / 2**32 for i in range(len(source))]
    heldout = [i for i, h in enumerate(hashes) if h < share] or [int(np.argmin(hashes))]
    if len(heldout) == len(source):
        heldout.remove(int(np.argmax(hashes)))
    kept = sorted(set(range(len(source))) - set(heldout))
    return Subset(source, kept), Subset(source, heldout)

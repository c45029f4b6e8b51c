"""Audio files as a source: folders, globs and lists of paths."""

import dataclasses
import os
import pathlib
from collections.abc import Sequence

import numpy as np

from quarkaudio_jax.data.clip import Clip
from quarkaudio_jax.data.crops import GRID_HZ, Crop, SourceError, grid_sample, start_frame
from quarkaudio_jax.data.lists import list_lines
from quarkaudio_jax.data.source import Source
from quarkaudio_jax.data.utterance import Utterance
from quarkaudio_jax.io import audio
from quarkaudio_jax.types import ceil_div

FEATURES_SUFFIX = ".features.npy"
"""Precomputed features (T, D) of clip.wav are in clip.features.npy beside it."""

TEXT_SUFFIXES = (".normalized.txt", ".txt", ".lab")
"""Files beside NAME.wav with its transcript (speech) or its caption (other sounds)."""

SCP_FIELDS = (("id", "path"), ("id", "speaker", "path"), ("id", "rate", "start", "frames", "path"))
"""The layouts of .scp lists; start and frames in samples at `rate` Hz."""


@dataclasses.dataclass(frozen=True, slots=True)
class AudioFile:
    """An audio file, or a segment of one.

    name: in logs. id: of its utterance, if a list states one. segment: (rate in Hz, first sample, number of samples).
    line: where a list states the segment, for error messages.
    """

    path: str
    name: str
    id: str = ""
    speaker: str = ""
    segment: tuple[int, int, int] | None = None
    line: str = ""


class FileSource(Source):
    """Audio files. domain: of the clips, which says whether texts beside files are transcripts or captions.

    utterances: of clips that are checked already, by index.
    """

    def __init__(self, files: Sequence[AudioFile], domain: str = "speech"):
        self._files, self._domain = list(files), domain
        self.utterances: dict[int, Utterance] = {}

    def __len__(self) -> int:
        return len(self._files)

    def name(self, index: int) -> str:
        """See `Source.name`."""
        return self._files[index].name

    def speakers(self) -> Sequence[str]:
        """See `Source.speakers`."""
        return [file.speaker for file in self._files]

    def read(self, index: int, seconds: float | None, position: float) -> Crop:
        """See `Source.read`; with precomputed features if there are any."""
        file = self._files[index]
        begin, count = (0, None) if file.segment is None else self._segment(file)
        return read_crop(file.path, begin, count, seconds, position)

    def clip(self, index: int, rate: int) -> Clip:
        """See `Source.clip`."""
        return read_clip(self._files[index].path, self.utterances.get(index) or self._described(index), rate)

    def utterance(self, index: int) -> Utterance:
        """See `Source.utterance`; decodes compressed files to their end."""
        if index not in self.utterances:
            audio.check(self._files[index].path, thorough=True)
        return self.utterances.get(index) or self._described(index)

    def _described(self, index: int) -> Utterance:
        file = self._files[index]
        frames, rate, _ = audio.info(file.path)
        speech, path = self._domain == "speech", pathlib.Path(file.path)
        begin, count = (0, frames) if file.segment is None else self._segment(file)
        digits, text = (6, "") if file.id else (4, _text_beside(path))
        return Utterance(
            id=file.id or _without_suffix(pathlib.PurePath(file.name), path),
            audio=os.path.abspath(path),
            domain=self._domain,
            start=round(begin / rate, 6),
            duration=round(count / rate, digits),
            speaker=file.speaker,
            transcript=text if speech else "",
            caption="" if speech else text,
        )

    def _segment(self, file: AudioFile) -> tuple[int, int]:
        """(first sample, number of samples); SourceError if they do not fit the file."""
        assert file.segment is not None
        stated, begin, count = file.segment
        frames, rate, _ = audio.info(file.path)
        if stated != rate:
            raise SourceError(f"{file.line}: the list says {stated} Hz, the file has {rate} Hz")
        if begin < 0 or count < 1 or begin + count > frames:
            raise SourceError(
                f"{file.line}: samples {begin} to {begin + count} lie outside the file, which has {frames}"
            )
        return begin, count


def read_crop(path: str, begin: int, count: int | None, seconds: float | None, position: float) -> Crop:
    """Reads a crop of the `count` samples (None: all) of a file from `begin`, on the grid of the file's frames."""
    total, rate, _ = audio.info(path)
    stop = total if count is None else min(begin + count, total)
    first = ceil_div(begin * GRID_HZ, rate)
    frame = first + start_frame(stop - grid_sample(first, rate), rate, seconds, position)
    start = grid_sample(frame, rate)
    size = stop - start if seconds is None else min(int(np.ceil(seconds * rate)), stop - start)
    samples, rate = audio.read(path, start, max(size, 0))
    features = None
    beside = pathlib.Path(path).with_suffix(FEATURES_SUFFIX)
    if beside.exists():
        features = _read_features(beside)[frame:]
        if stop < total:
            features = features[: ceil_div(max(stop - start, 0) * GRID_HZ, rate)]
        if seconds is not None:
            features = features[: int(np.ceil(seconds * GRID_HZ))]
    return Crop(samples, rate, (start - begin) / rate, features)


def read_clip(path: str, utterance: Utterance, rate: int) -> Clip:
    """Reads an utterance of a file, by its start and duration."""
    _, stored, _ = audio.info(path)
    count = round(utterance.duration * stored) if utterance.duration else -1
    samples, stored = audio.read(path, round(utterance.start * stored), count)
    if not len(samples):
        raise audio.AudioError(f"{path}: no samples at {utterance.start} s")
    return Clip.resampled(utterance, samples, stored, rate)


def _read_features(path: pathlib.Path) -> np.ndarray:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError) as error:
        raise audio.AudioError(f"{path}: not a NumPy array ({error})") from error
    if array.ndim != 2 or not len(array):
        raise audio.AudioError(f"{path}: features have shape {array.shape}, but should be (frames, width)")
    return array


def _text_beside(path: pathlib.Path) -> str:
    for suffix in TEXT_SUFFIXES:
        beside = path.with_suffix(suffix)
        if beside.is_file():
            try:
                return beside.read_text(encoding="utf-8-sig").strip()
            except UnicodeDecodeError as error:
                raise audio.AudioError(f"{beside}: not UTF-8 ({error.reason})") from error
    return ""


def _without_suffix(name: pathlib.PurePath, path: pathlib.Path) -> str:
    """A name without its extension, unless another audio file differs by the extension alone."""
    ambiguous = sum(path.with_suffix(e).exists() for e in audio.EXTENSIONS) > 1
    return name.with_suffix("").as_posix() + (name.suffix if ambiguous else "")


def open_folder(folder: pathlib.Path, domain: str) -> FileSource:
    """Every audio file below a folder; of speech, the first folder below it is the speaker."""
    files = audio.find(folder)
    if not files:
        raise SourceError(f"{folder} holds no audio files ({', '.join(audio.EXTENSIONS)})")
    return named_files(files, folder, domain)


def named_files(paths: Sequence[pathlib.Path], root: pathlib.Path, domain: str) -> FileSource:
    """Files below `root`, named relative to it; of speech, the first folder below it is the speaker."""
    files = []
    for path in paths:
        inner = path.relative_to(root)
        speaker = inner.parts[0] if domain == "speech" and len(inner.parts) > 1 else ""
        files.append(AudioFile(str(path), str(inner), speaker=speaker))
    return FileSource(files, domain)


def open_list(path: pathlib.Path, domain: str) -> FileSource:
    """A list with one path per line (.txt, .lst), relative to the list's folder."""
    names = [line for _, line in list_lines(path)]
    return FileSource([AudioFile(str(path.parent / name), name) for name in names], domain)


def open_scp(path: pathlib.Path, domain: str) -> FileSource:
    """A Kaldi-style list in one of the layouts `SCP_FIELDS`; paths are relative to the list's folder.

    The layout is the one that leads to a file, in the first line where one does.
    """
    rows = list(list_lines(path))
    layout = _layout([line for _, line in rows], path.parent)
    files = []
    for number, line in rows:
        where = f"{path}, line {number}"
        if line.endswith("|") or ".ark:" in line.partition(" ")[2]:
            raise SourceError(f"{where}: {line!r} is not `id path` (pipes and .ark archives can't be read)")
        values = line.split(maxsplit=len(layout) - 1)
        if len(values) != len(layout):
            raise SourceError(f"{where}: {line!r} is not `{' '.join(layout)}`")
        row = dict(zip(layout, values, strict=True))
        name, file = row["id"], str(path.parent / row["path"].strip())
        if "rate" in row:
            files.append(AudioFile(file, name, name, segment=_numbers(row, where), line=where))
        else:
            files.append(AudioFile(file, name, name, row.get("speaker", "")))
    return FileSource(files, domain)


def _layout(lines: Sequence[str], root: pathlib.Path) -> tuple[str, ...]:
    for line in lines:
        for layout in SCP_FIELDS:
            values = line.split(maxsplit=len(layout) - 1)
            if len(values) == len(layout) and os.path.isfile(root / values[-1].strip()):
                return layout
    by_length = {len(layout): layout for layout in SCP_FIELDS}
    return by_length.get(len(lines[0].split()), SCP_FIELDS[0]) if lines else SCP_FIELDS[0]


def _numbers(row: dict[str, str], where: str) -> tuple[int, int, int]:
    try:
        return int(row["rate"]), int(row["start"]), int(row["frames"])
    except ValueError:
        raise SourceError(f"{where}: rate, start and frames should be whole numbers") from None

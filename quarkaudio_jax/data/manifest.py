"""Manifests: one utterance a line of JSON; read, written and made from folders, lists and TFDS sets."""

import json
import os
import pathlib
from collections.abc import Iterable, Iterator

from quarkaudio_jax.data.crops import SourceError
from quarkaudio_jax.data.lists import list_lines
from quarkaudio_jax.data.tfds_source import TfdsSource
from quarkaudio_jax.data.utterance import DOMAINS, Utterance, from_json, to_json
from quarkaudio_jax.io import atomic, audio

SUFFIX = ".jsonl"
SIDECARS = (".normalized.txt", ".txt", ".lab")
"""Beside NAME.wav: its transcript (speech) or its caption (everything else)."""

SCP_FIELDS = {
    "rir": ("id", "path"),
    "speech": ("id", "speaker", "path"),
    "noise": ("id", "rate", "start", "frames", "path"),
}
"""The three kinds of scp lists; start and frames in samples at `rate`."""


class Manifest:
    """The utterances of a .jsonl file: checked when opened, parsed when asked for; picklable.

    SourceError names the line that is wrong. Relative audio paths start at the file's folder.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = pathlib.Path(path)
        self._offsets: list[int] = []
        self.speakers: list[str] = []
        seen: set[str] = set()
        position = 0
        try:
            with open(self.path, "rb") as file:
                for number, line in enumerate(file, start=1):
                    if line.strip():
                        utterance = self._parse(line, number)
                        if utterance.id in seen:
                            raise SourceError(f"{self.path}, line {number}: id {utterance.id!r} was used above")
                        seen.add(utterance.id)
                        self._offsets.append(position)
                        self.speakers.append(utterance.speaker)
                    position += len(line)
        except OSError as error:
            raise SourceError(f"{self.path}: {error.strerror}") from error
        if not self._offsets:
            raise SourceError(f"{self.path} holds no utterances")

    def _parse(self, line: bytes, number: int) -> Utterance:
        try:
            return from_json(json.loads(line))
        except (ValueError, RecursionError) as error:  # also of JSON and of UTF-8
            raise SourceError(f"{self.path}, line {number}: {error}") from error

    def __len__(self) -> int:
        return len(self._offsets)

    def __getitem__(self, index: int) -> Utterance:
        with open(self.path, "rb") as file:
            file.seek(self._offsets[index])
            return self._parse(file.readline(), index + 1)

    def resolve(self, utterance: Utterance) -> str:
        """The audio's path as this process can open it; tfds: and embedded: stay as they are."""
        if utterance.audio.startswith(("tfds:", "embedded:")):
            return utterance.audio
        return str(self.path.parent / utterance.audio)


def write(path: str | os.PathLike, utterances: Iterable[Utterance]) -> int:
    """Writes a manifest, whole or not at all; returns how many lines. SourceError for none, or an id used twice."""
    path = pathlib.Path(path)
    seen: set[str] = set()
    with atomic.atomic_write(path) as temporary:
        with open(temporary, "w", encoding="utf-8") as file:
            for utterance in utterances:
                if utterance.id in seen:
                    raise SourceError(f"{path}: two utterances have the id {utterance.id!r}")
                seen.add(utterance.id)
                file.write(json.dumps(to_json(utterance), ensure_ascii=False) + "\n")
        if not seen:
            raise SourceError(f"{path}: nothing to write, no utterance was found")
    return len(seen)


def from_folder(
    folder: str | os.PathLike, domain: str, skipped: list[str], relative_to: str | os.PathLike | None = None
) -> Iterator[Utterance]:
    """Every audio file below a folder.

    In speech the speaker is the first folder below `folder`, where there is one. A file NAME.txt,
    NAME.normalized.txt or NAME.lab beside NAME.wav holds its transcript (speech) or caption.
    Files that are no whole audio go to `skipped`, with the reason.
    """
    root = pathlib.Path(folder)
    if not root.is_dir():
        raise SourceError(f"{folder}: no such folder")
    for path in audio.find(root):
        try:
            audio.check(path, thorough=True)
            frames, rate, _ = audio.info(path)
            text = _sidecar(path)
        except audio.AudioError as error:
            skipped.append(str(error))
            continue
        inner = path.relative_to(root)
        speech = domain == "speech"
        yield Utterance(
            id=inner.with_suffix("").as_posix() + ("" if _only_one(path) else inner.suffix),
            audio=_relative(path, relative_to),
            domain=domain,
            duration=round(frames / rate, 4),
            speaker=inner.parts[0] if speech and len(inner.parts) > 1 else "",
            transcript=text if speech else "",
            caption="" if speech else text,
        )


def _only_one(path: pathlib.Path) -> bool:
    """Whether no other audio file differs by its extension alone."""
    return sum(path.with_suffix(e).exists() for e in audio.EXTENSIONS) <= 1


def _sidecar(path: pathlib.Path) -> str:
    for suffix in SIDECARS:
        beside = path.with_suffix(suffix)
        if beside.is_file():
            try:
                return beside.read_text(encoding="utf-8-sig").strip()
            except UnicodeDecodeError as error:
                raise audio.AudioError(f"{beside}: not UTF-8 ({error.reason})") from error
    return ""


def _relative(path: str | os.PathLike, folder: str | os.PathLike | None) -> str:
    """How a manifest in `folder` names a path: relative where it lies below it."""
    absolute = pathlib.Path(os.path.abspath(path))
    if folder is not None and absolute.is_relative_to(os.path.abspath(folder)):
        return absolute.relative_to(os.path.abspath(folder)).as_posix()
    return str(absolute)


def from_scp(
    path: str | os.PathLike, domain: str, skipped: list[str], relative_to: str | os.PathLike | None = None
) -> Iterator[Utterance]:
    """A list with the fields of `SCP_FIELDS[domain]`; audio paths are relative to the list's folder.

    SourceError names a line that does not fit; audio that is missing or broken goes to `skipped`.
    """
    if domain not in SCP_FIELDS:
        raise SourceError(f"{path}: scp lists hold {', '.join(SCP_FIELDS)}, not {domain}")
    fields = SCP_FIELDS[domain]
    for number, line in list_lines(path):
        values = line.split(maxsplit=len(fields) - 1)
        if len(values) != len(fields):
            raise SourceError(f"{path}, line {number}: {line!r} is not `{' '.join(fields)}`")
        row = dict(zip(fields, values, strict=True))
        file = pathlib.Path(path).parent / row["path"].strip()
        try:
            audio.check(file, thorough=True)
            frames, rate, _ = audio.info(file)
        except audio.AudioError as error:
            skipped.append(str(error))
            continue
        start, duration = 0.0, frames / rate
        if domain == "noise":
            start, duration = _span(row, frames, rate, f"{path}, line {number}")
        yield Utterance(
            id=row["id"],
            audio=_relative(file, relative_to),
            domain=domain,
            start=round(start, 6),
            duration=round(duration, 6),
            speaker=row.get("speaker", ""),
        )


def _span(row: dict[str, str], frames: int, rate: int, where: str) -> tuple[float, float]:
    """(start, duration) in seconds of a noise line."""
    try:
        stated, start, count = (int(row[name]) for name in ("rate", "start", "frames"))
    except ValueError:
        raise SourceError(f"{where}: rate, start and frames should be whole numbers") from None
    if stated != rate:
        raise SourceError(f"{where}: the list says {stated} Hz, the file has {rate} Hz")
    if start < 0 or count < 1 or start + count > frames:
        raise SourceError(f"{where}: samples {start} to {start + count} lie outside the file, which has {frames}")
    return start / rate, count / rate


def from_tfds(spec: str, data_dir: str, domain: str, skipped: list[str]) -> Iterator[Utterance]:
    """The clips of a prepared TFDS set, tfds:NAME[/CONFIG[/VERSION]][:SPLIT]; LibriSpeech and LibriTTS among them.

    Speaker and transcript come from the fields speaker_id and text (or text_normalized, ...).
    """
    source = TfdsSource(spec.removeprefix("tfds:"), data_dir)
    for index in range(len(source)):
        try:
            samples, rate, record = source.record(index)
        except audio.AudioError as error:
            skipped.append(str(error))
            continue
        text = next((_text(record[n]) for n in ("text_normalized", "text", "text_original") if n in record), "")
        speaker = _text(record["speaker_id"]) if "speaker_id" in record else ""
        yield Utterance(
            id=_text(record.get("id", index)),
            audio=f"{spec}#{index}",
            domain=domain,
            duration=round(len(samples) / rate, 6),
            speaker=speaker,
            transcript=text if domain == "speech" else "",
            caption="" if domain == "speech" else text,
        )


def _text(value) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def make(spec: str, domain: str, skipped: list[str], data_dir: str = "", relative_to=None) -> Iterator[Utterance]:
    """The utterances of a folder, an .scp list or a tfds: set."""
    if domain not in DOMAINS:
        raise SourceError(f"domain {domain!r} does not exist; choose one of {', '.join(DOMAINS)}")
    if spec.startswith("tfds:"):
        return from_tfds(spec, data_dir, domain, skipped)
    if spec.lower().endswith(".scp"):
        if not pathlib.Path(spec).is_file():
            raise SourceError(f"{spec}: no such list")
        return from_scp(spec, domain, skipped, relative_to)
    return from_folder(spec, domain, skipped, relative_to)

"""Manifests: files with one utterance per line, as JSON."""

import json
import os
import pathlib
from collections.abc import Iterable

from quarkaudio_jax.data.crops import SourceError
from quarkaudio_jax.data.synthetic.generated import generated_prefix
from quarkaudio_jax.data.utterance import Utterance, from_json, to_json
from quarkaudio_jax.io import atomic

SUFFIX = ".jsonl"


class Manifest:
    """The utterances of a .jsonl file. All lines are checked when it is opened, and parsed again when read; picklable.

    ids, speakers: of every utterance. Relative audio paths are relative to the file's folder. SourceError: names the
    wrong line.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = pathlib.Path(path)
        self._offsets: list[int] = []
        self.ids: list[str] = []
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
                        self.ids.append(utterance.id)
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
        """The path of an utterance's audio, for this process to open; names of TFDS records and synthesized clips are kept."""
        if utterance.audio.startswith("tfds:") or generated_prefix(utterance.audio):
            return utterance.audio
        return str(self.path.parent / utterance.audio)


def write(path: str | os.PathLike, utterances: Iterable[Utterance]) -> int:
    """Writes a manifest atomically; returns the number of lines. SourceError: no utterances, or an id used twice."""
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

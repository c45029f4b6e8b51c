"""Data sets as they are published, read into items: what a system is given, and what it is measured by."""

import dataclasses
import pathlib
import random
from collections.abc import Iterable

from quarkaudio_jax.errors import UserError
from quarkaudio_jax.io import audio
from quarkaudio_jax.io.audio import printable


@dataclasses.dataclass(frozen=True)
class Item:
    """One example. sources: what is given, its channels mixed. targets: what should come out, empty if nobody knows.

    voice: a sample of the voice that the output should have, and that extraction and conversion are given. text: what
    the output should say. prompt: a query or an instruction.
    """

    name: str
    source: pathlib.Path
    targets: tuple[pathlib.Path, ...] = ()
    voice: pathlib.Path | None = None
    text: str = ""
    prompt: str = ""


def below(root: pathlib.Path, *names: str) -> pathlib.Path:
    """The first of the folders `names` (paths relative to any level above it) that `root` leads to, or is.

    UserError says what was looked for.
    """
    for name in names:
        parts = pathlib.PurePath(name).parts
        for i in range(len(parts) + 1):
            if (i == 0 or root.parts[-i:] == parts[:i]) and (folder := root.joinpath(*parts[i:])).is_dir():
                return folder
    raise UserError(f"{root} holds none of {', '.join(n + '/' for n in names)}; see `evaluate --list` for the layout")


def some(items: Iterable[Item], root: pathlib.Path, wanted: str) -> list[Item]:
    """The items in order of their names; UserError if there are none."""
    named = (dataclasses.replace(item, name=printable(item.name)) for item in items)
    found = sorted(named, key=lambda item: item.name)
    if not found:
        raise UserError(f"{root} holds no {wanted}; see `evaluate --list` for the layout")
    return found


def _itself(path: pathlib.Path, root: pathlib.Path, **more) -> Item:
    return Item(str(path.relative_to(root).with_suffix("")), path, (path,), **more)


def _first(folder: pathlib.Path, stem: str) -> pathlib.Path | None:
    """FOLDER/STEM with any extension of audio."""
    return next((p for e in audio.EXTENSIONS if (p := folder / f"{stem}{e}").is_file()), None)


def folder(root: pathlib.Path) -> list[Item]:
    """Any audio: each file is to be reconstructed. Items are named as the files are, so that a.wav is not a.flac."""
    if root.is_file():
        return [Item(printable(root.name), root, (root,))]
    items = (Item(str(p.relative_to(root)), p, (p,)) for p in audio.find(root))
    return some(items, root, f"audio files ({', '.join(audio.EXTENSIONS)})")


def librispeech(root: pathlib.Path) -> list[Item]:
    """SPEAKER/CHAPTER/SPEAKER-CHAPTER-UTTERANCE.flac, with SPEAKER-CHAPTER.trans.txt beside them."""
    root = below(root, "LibriSpeech/test-clean")
    texts = {}
    for path in root.glob("*/*/*.trans.txt"):
        texts |= dict(line.split(" ", 1) for line in path.read_text("utf-8").splitlines() if " " in line)
    return some((_itself(p, root, text=texts.get(p.stem, "")) for p in root.glob("*/*/*.flac")), root, "*/*/*.flac")


def seed_tts(language: str, root: pathlib.Path) -> list[Item]:
    """meta.lst: lines of name|text of the prompt|prompt|text[|recording]; recordings also in wavs/NAME.wav."""
    root = below(root, f"seedtts_testset/{language}")
    items = []
    for number, fields in _lines(root / "meta.lst", "|", 4):
        name, prompt_text, prompt, text = fields[:4]
        spoken = root / fields[4] if len(fields) > 4 and fields[4] else _first(root / "wavs", name)
        if spoken is None:  # without the recording the prompt itself is what can be reconstructed
            spoken, text = root / prompt, prompt_text
        if not spoken.is_file():
            raise UserError(f"{root / 'meta.lst'}, line {number}: {spoken} does not exist")
        items.append(Item(name, spoken, (spoken,), root / prompt, text))
    return some(items, root, "lines in meta.lst")


def seed_tts_edits(root: pathlib.Path) -> list[Item]:
    """edits.tsv: lines of recording, instruction and text afterwards, the recording's path relative to the file."""
    root = below(root, "seedtts_testset/zh")
    rows = [fields for _, fields in _lines(root / "edits.tsv", "\t", 3)]
    count = len(str(len(rows)))
    items = [
        Item(f"{i:0{count}d}-{pathlib.Path(path).stem}", root / path, (), root / path, text, instruction)
        for i, (path, instruction, text) in enumerate(rows, 1)
    ]
    return some(items, root, "lines in edits.tsv")


def _lines(path: pathlib.Path, mark: str, least: int, comment: str = "\0") -> Iterable[tuple[int, list[str]]]:
    """(number, fields) of each line that is neither empty nor a comment; UserError names a line with too few."""
    if not path.is_file():
        raise UserError(f"{path}: no such file; see `evaluate --list` for the layout")
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        if line.strip() and not line.startswith(comment):
            fields = [field.strip() for field in line.split(mark)]
            if len(fields) < least:
                raise UserError(
                    f"{path}, line {number}: {len(fields)} fields, but should be at least {least} by {mark!r}"
                )
            yield number, fields


def audioset(root: pathlib.Path) -> list[Item]:
    """eval_segments.csv (# comments; id, start, end, labels), clips below it named [Y]ID or ID_START."""
    table = next(iter(sorted(root.rglob("eval_segments.csv"))), None)
    if table is None:
        raise UserError(f"{root} holds no eval_segments.csv; see `evaluate --list` for the layout")
    clips: dict[str, pathlib.Path] = {p.stem: p for p in audio.find(root)}
    items = []
    for _, (identity, start, *_) in _lines(table, ",", 3, "#"):
        seconds = float(start)
        names = (f"Y{identity}", identity, f"{identity}_{seconds:g}", f"{identity}_{seconds * 1000:.0f}")
        if path := next((clips[name] for name in names if name in clips), None):
            items.append(Item(identity, path, (path,)))
    return some(items, root, "clips of eval_segments.csv")


def musdb(root: pathlib.Path) -> list[Item]:
    """TRACK/mixture.wav beside its stems; the mixture is to be reconstructed."""
    root = below(root, "musdb18hq/test", "test")
    mixtures = (Item(p.parent.name, p, (p,)) for p in root.glob("*/mixture.wav"))
    return some(mixtures, root, "*/mixture.wav")


PAIRS_SEED = 0
"""Of the voices that conversion on VCTK is asked for."""


def vctk_conversion(root: pathlib.Path) -> list[Item]:
    """wav48_silence_trimmed/SPEAKER/SPEAKER_NNN_mic1.flac and txt/SPEAKER/SPEAKER_NNN.txt (0.92), or wav48/ (0.80).

    Each utterance with a text is to be spoken in the voice of another speaker, drawn once and for all.
    """
    recordings = below(root, "VCTK-Corpus-0.92/wav48_silence_trimmed", "VCTK-Corpus/wav48")
    texts = recordings.parent / "txt"
    speakers: dict[str, dict[str, pathlib.Path]] = {}
    for path in sorted([*recordings.glob("*/*_mic1.flac"), *recordings.glob("*/*.wav")]):
        speakers.setdefault(path.parent.name, {})[path.stem.removesuffix("_mic1")] = path
    items, draw = [], random.Random(PAIRS_SEED)
    for speaker, utterances in speakers.items():
        others = [name for name in speakers if name != speaker]
        for name, path in utterances.items():
            text = texts / speaker / f"{name}.txt"
            if others and text.is_file():
                other = draw.choice(others)
                voice = draw.choice(list(speakers[other].values()))
                items.append(Item(f"{name}-to-{other}", path, (), voice, text.read_text("utf-8").strip()))
    return some(items, root, "utterances with texts, of at least two speakers")


def packet_loss(root: pathlib.Path) -> list[Item]:
    """lossy_signals/NAME.wav and, where they are given out, clean_signals/NAME.wav."""
    lossy = next(iter(sorted(p for p in [root, *root.rglob("lossy*")] if p.is_dir() and "lossy" in p.name)), None)
    if lossy is None:
        raise UserError(f"{root} holds no folder lossy_signals; see `evaluate --list` for the layout")
    clean = {p.stem: p for near in sorted(lossy.parent.glob("*clean*")) for p in near.glob("*.wav")}
    items = (Item(p.stem, p, (clean[p.stem],) if p.stem in clean else ()) for p in lossy.glob("*.wav"))
    return some(items, lossy, "*.wav")


def _libri2mix(root: pathlib.Path) -> tuple[pathlib.Path, list[str]]:
    root = below(root, "Libri2Mix/wav16k/min/test")
    return root, sorted(p.stem for p in (root / "mix_clean").glob("*.wav"))


def libri2mix_separation(root: pathlib.Path) -> list[Item]:
    """mix_clean/NAME.wav of s1/NAME.wav and s2/NAME.wav."""
    root, names = _libri2mix(root)
    items = (
        Item(name, root / "mix_clean" / f"{name}.wav", tuple(root / side / f"{name}.wav" for side in ("s1", "s2")))
        for name in names
    )
    return some(items, root, "mix_clean/*.wav")


def libri2mix_extraction(root: pathlib.Path) -> list[Item]:
    """map_mixture2enrollment: lines of mixture, utterance to extract, and a recording of its speaker.

    The recording is a path, without its extension if need be, relative to the file's folder. NAME is UTT1_UTT2, so that
    the utterance tells whether s1 or s2 is the target.
    """
    root, names = _libri2mix(root)
    known, items = set(names), []
    for number, (mixture, utterance, enrolment, *_) in _lines(root / "map_mixture2enrollment", " ", 3):
        if mixture not in known or utterance not in mixture.split("_"):
            raise UserError(
                f"{root / 'map_mixture2enrollment'}, line {number}: no mixture {mixture} in mix_clean/ with {utterance}"
            )
        voice = root / enrolment
        voice = voice if voice.is_file() else _first(voice.parent, voice.name)
        if voice is None:
            raise UserError(f"{root / 'map_mixture2enrollment'}, line {number}: {root / enrolment} does not exist")
        side = f"s{1 + mixture.split('_').index(utterance)}"
        targets = (root / side / f"{mixture}.wav",)
        items.append(Item(f"{mixture}-{side}", root / "mix_clean" / f"{mixture}.wav", targets, voice))
    return some(items, root, "lines in map_mixture2enrollment")

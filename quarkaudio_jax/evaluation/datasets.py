"""Datasets as they are published, read into items: inputs of a system and references of its outputs."""

import dataclasses
import pathlib
import random
from collections.abc import Iterable

from quarkaudio_jax.errors import UserError
from quarkaudio_jax.io import audio
from quarkaudio_jax.io.audio import printable


@dataclasses.dataclass(frozen=True)
class Item:
    """An example.

    source: the input. targets: the expected outputs, empty if there are none. voice: a recording of the voice that the
    output should have, the reference of extraction and conversion. text: transcript of the expected output. prompt: a
    caption or an instruction.
    """

    name: str
    source: pathlib.Path
    targets: tuple[pathlib.Path, ...] = ()
    voice: pathlib.Path | None = None
    text: str = ""
    prompt: str = ""


def find_folder(root: pathlib.Path, *names: str) -> pathlib.Path:
    """The first of the folders `names` below `root`, which may itself contain leading parts of the name."""
    for name in names:
        parts = pathlib.PurePath(name).parts
        for i in range(len(parts) + 1):
            if (i == 0 or root.parts[-i:] == parts[:i]) and (folder := root.joinpath(*parts[i:])).is_dir():
                return folder
    raise UserError(f"{root} holds none of {', '.join(n + '/' for n in names)}; see `quarkaudio evaluate --list`")


def sort_items(items: Iterable[Item], root: pathlib.Path, expected: str) -> list[Item]:
    """The items sorted by name; UserError if there are none."""
    named = (dataclasses.replace(item, name=printable(item.name)) for item in items)
    found = sorted(named, key=lambda item: item.name)
    if not found:
        raise UserError(f"{root} holds no {expected}; see `quarkaudio evaluate --list`")
    return found


def _reconstruction_item(path: pathlib.Path, root: pathlib.Path, **more) -> Item:
    return Item(str(path.relative_to(root).with_suffix("")), path, (path,), **more)


def _find_stem(folder: pathlib.Path, stem: str) -> pathlib.Path | None:
    """FOLDER/STEM with the first audio extension that exists, or None."""
    return next((p for e in audio.EXTENSIONS if (p := folder / f"{stem}{e}").is_file()), None)


def folder(root: pathlib.Path) -> list[Item]:
    """Every audio file of a folder, or one file, to reconstruct; items are named like the files, with extension."""
    if root.is_file():
        return [Item(printable(root.name), root, (root,))]
    items = (Item(str(p.relative_to(root)), p, (p,)) for p in audio.find(root))
    return sort_items(items, root, f"audio files ({', '.join(audio.EXTENSIONS)})")


def librispeech(root: pathlib.Path) -> list[Item]:
    """SPEAKER/CHAPTER/SPEAKER-CHAPTER-UTTERANCE.flac, with SPEAKER-CHAPTER.trans.txt."""
    root = find_folder(root, "LibriSpeech/test-clean")
    texts: dict[str, str] = {}
    for path in root.glob("*/*/*.trans.txt"):
        texts |= dict(line.split(" ", 1) for line in path.read_text("utf-8").splitlines() if " " in line)
    return sort_items(
        (_reconstruction_item(p, root, text=texts.get(p.stem, "")) for p in root.glob("*/*/*.flac")), root, "*/*/*.flac"
    )


def seed_tts(language: str, root: pathlib.Path) -> list[Item]:
    """meta.lst: lines of name|text of the prompt|prompt|text[|recording]; recordings also in wavs/NAME.wav."""
    root = find_folder(root, f"seedtts_testset/{language}")
    items = []
    for number, fields in _lines(root / "meta.lst", "|", 4):
        name, prompt_text, prompt, text = fields[:4]
        spoken = root / fields[4] if len(fields) > 4 and fields[4] else _find_stem(root / "wavs", name)
        if spoken is None:  # without a recording, the prompt is reconstructed
            spoken, text = root / prompt, prompt_text
        if not spoken.is_file():
            raise UserError(f"{root / 'meta.lst'}, line {number}: {spoken} does not exist")
        items.append(Item(name, spoken, (spoken,), root / prompt, text))
    return sort_items(items, root, "lines in meta.lst")


def seed_tts_edits(root: pathlib.Path) -> list[Item]:
    """edits.tsv: lines of recording (relative to the file), instruction and text after the edit."""
    root = find_folder(root, "seedtts_testset/zh")
    rows = [fields for _, fields in _lines(root / "edits.tsv", "\t", 3)]
    count = len(str(len(rows)))
    items = [
        Item(f"{i:0{count}d}-{pathlib.Path(path).stem}", root / path, (), root / path, text, instruction)
        for i, (path, instruction, text) in enumerate(rows, 1)
    ]
    return sort_items(items, root, "lines in edits.tsv")


def _lines(path: pathlib.Path, separator: str, least: int, comment: str = "\0") -> Iterable[tuple[int, list[str]]]:
    """(number, fields) of each line that is not empty or a comment; UserError for a line with too few fields."""
    if not path.is_file():
        raise UserError(f"{path}: no such file; see `quarkaudio evaluate --list`")
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        if line.strip() and not line.startswith(comment):
            fields = [field.strip() for field in line.split(separator)]
            if len(fields) < least:
                raise UserError(
                    f"{path}, line {number}: {len(fields)} fields, but should be at least {least}, separated by {separator!r}"
                )
            yield number, fields


def audioset(root: pathlib.Path) -> list[Item]:
    """eval_segments.csv (# comments; id, start, end, labels), clips below it named [Y]ID or ID_START."""
    table = next(iter(sorted(root.rglob("eval_segments.csv"))), None)
    if table is None:
        raise UserError(f"{root} holds no eval_segments.csv; see `quarkaudio evaluate --list`")
    clips: dict[str, pathlib.Path] = {p.stem: p for p in audio.find(root)}
    items = []
    for _, (identity, start, *_) in _lines(table, ",", 3, "#"):
        seconds = float(start)
        names = (f"Y{identity}", identity, f"{identity}_{seconds:g}", f"{identity}_{seconds * 1000:.0f}")
        if path := next((clips[name] for name in names if name in clips), None):
            items.append(Item(identity, path, (path,)))
    return sort_items(items, root, "clips of eval_segments.csv")


def musdb(root: pathlib.Path) -> list[Item]:
    """TRACK/mixture.wav, to reconstruct."""
    root = find_folder(root, "musdb18hq/test", "test")
    mixtures = (Item(p.parent.name, p, (p,)) for p in root.glob("*/mixture.wav"))
    return sort_items(mixtures, root, "*/mixture.wav")


PAIRS_SEED = 0
"""Seed of the target voices of conversion on VCTK."""


def vctk_conversion(root: pathlib.Path) -> list[Item]:
    """wav48_silence_trimmed/SPEAKER/SPEAKER_NNN_mic1.flac and txt/SPEAKER/SPEAKER_NNN.txt (0.92), or wav48/ (0.80).

    Each utterance with a text is converted to the voice of another speaker, sampled with a fixed seed.
    """
    recordings = find_folder(root, "VCTK-Corpus-0.92/wav48_silence_trimmed", "VCTK-Corpus/wav48")
    texts = recordings.parent / "txt"
    speakers: dict[str, dict[str, pathlib.Path]] = {}
    for path in sorted([*recordings.glob("*/*_mic1.flac"), *recordings.glob("*/*.wav")]):
        speakers.setdefault(path.parent.name, {})[path.stem.removesuffix("_mic1")] = path
    items, rng = [], random.Random(PAIRS_SEED)
    for speaker, utterances in speakers.items():
        others = [name for name in speakers if name != speaker]
        for name, path in utterances.items():
            text = texts / speaker / f"{name}.txt"
            if others and text.is_file():
                other = rng.choice(others)
                voice = rng.choice(list(speakers[other].values()))
                items.append(Item(f"{name}-to-{other}", path, (), voice, text.read_text("utf-8").strip()))
    return sort_items(items, root, "utterances with texts, of at least two speakers")


def packet_loss(root: pathlib.Path) -> list[Item]:
    """lossy_signals/NAME.wav and, where published, clean_signals/NAME.wav."""
    lossy = next(iter(sorted(p for p in [root, *root.rglob("lossy*")] if p.is_dir() and "lossy" in p.name)), None)
    if lossy is None:
        raise UserError(f"{root} holds no folder lossy_signals; see `quarkaudio evaluate --list`")
    clean = {p.stem: p for near in sorted(lossy.parent.glob("*clean*")) for p in near.glob("*.wav")}
    items = (Item(p.stem, p, (clean[p.stem],) if p.stem in clean else ()) for p in lossy.glob("*.wav"))
    return sort_items(items, lossy, "*.wav")


def _libri2mix(root: pathlib.Path) -> tuple[pathlib.Path, list[str]]:
    root = find_folder(root, "Libri2Mix/wav16k/min/test")
    return root, sorted(p.stem for p in (root / "mix_clean").glob("*.wav"))


def libri2mix_separation(root: pathlib.Path) -> list[Item]:
    """mix_clean/NAME.wav of s1/NAME.wav and s2/NAME.wav."""
    root, names = _libri2mix(root)
    items = (
        Item(name, root / "mix_clean" / f"{name}.wav", tuple(root / side / f"{name}.wav" for side in ("s1", "s2")))
        for name in names
    )
    return sort_items(items, root, "mix_clean/*.wav")


def libri2mix_extraction(root: pathlib.Path) -> list[Item]:
    """map_mixture2enrollment: lines of mixture, utterance to extract, and a recording of its speaker.

    The recording is a path relative to the file's folder, with or without extension. NAME is UTT1_UTT2, so that the
    utterance shows whether s1 or s2 is the target.
    """
    root, names = _libri2mix(root)
    known, items = set(names), []
    for number, (mixture, utterance, enrollment, *_) in _lines(root / "map_mixture2enrollment", " ", 3):
        if mixture not in known or utterance not in mixture.split("_"):
            raise UserError(
                f"{root / 'map_mixture2enrollment'}, line {number}: no mixture {mixture} in mix_clean/ with {utterance}"
            )
        path = root / enrollment
        voice = path if path.is_file() else _find_stem(path.parent, path.name)
        if voice is None:
            raise UserError(f"{root / 'map_mixture2enrollment'}, line {number}: {path} does not exist")
        side = f"s{1 + mixture.split('_').index(utterance)}"
        targets = (root / side / f"{mixture}.wav",)
        items.append(Item(f"{mixture}-{side}", root / "mix_clean" / f"{mixture}.wav", targets, voice))
    return sort_items(items, root, "lines in map_mixture2enrollment")

"""A tiny synthetic copy of each data set, in its published layout."""

import pathlib

import numpy as np

from quarkaudio_jax.io import audio

RATE = 16000


def talk(seconds: float = 1.2, pitch: float = 150.0, rate: int = RATE) -> np.ndarray:
    """Something with harmonics and syllables."""
    time = np.arange(round(seconds * rate)) / rate
    voice = sum(np.sin(2 * np.pi * pitch * k * time) / k for k in range(1, 12))
    return (0.1 * voice * (0.6 + 0.4 * np.sin(2 * np.pi * 4 * time))).astype(np.float32)


def write(path: pathlib.Path, *values, rate: int = RATE) -> None:
    """A recording of `talk`."""
    audio.write(path, talk(*values, rate=rate), rate)


def librispeech(root: pathlib.Path) -> None:
    chapter = root / "LibriSpeech" / "test-clean" / "1089" / "134686"
    for i in range(3):
        write(chapter / f"1089-134686-000{i}.flac", 1.2, 140 + 10 * i)
    lines = [f"1089-134686-000{i} HE HOPED THERE WOULD BE STEW {i}" for i in range(3)]
    (chapter / "1089-134686.trans.txt").write_text("\n".join(lines) + "\n")


def seed_tts(root: pathlib.Path) -> None:
    for language, text in (("en", "Get the trust fund"), ("zh", "他把球踢出去")):
        folder = root / "seedtts_testset" / language
        for i in range(2):
            write(folder / "prompt-wavs" / f"voice-{i}.wav", 1.0, 200 + i)
        write(folder / "wavs" / "one.wav", 1.1, 180)
        lines = [
            f"one|Some prompt.|prompt-wavs/voice-0.wav|{text}",
            "two|Other prompt.|prompt-wavs/voice-1.wav|Not spoken",
        ]
        (folder / "meta.lst").write_text("\n".join(lines) + "\n", "utf-8")
    edits = [("wavs/one.wav", "删除“出去”", "他把球踢"), ("prompt-wavs/voice-1.wav", "添加“他”", "他说")]
    (folder / "edits.tsv").write_text("".join("\t".join(row) + "\n" for row in edits), "utf-8")


def audioset(root: pathlib.Path) -> None:
    write(root / "clips" / "Y--4gqARaEJE.wav", 1.0, rate=44100)
    write(root / "clips" / "-0RWZT-miFs_400.flac", 1.0, rate=44100)
    lines = [
        "# Segments csv created Sun Mar  5 10:54:25 2017",
        "# num_ytids=20371",
        "# YTID, start_seconds, end_seconds",
    ]
    lines += [f'{name}, {start}, {start + 10}, "/m/068hy,/m/07q6cd_"' for name, start in IDS]
    (root / "eval_segments.csv").write_text("\n".join(lines) + "\n")


IDS = (("--4gqARaEJE", 0.0), ("-0RWZT-miFs", 400.0), ("-gone-gone-", 30.0))


def musdb(root: pathlib.Path) -> None:
    for track in ("AM Contra - Heart Peripheral", "Al James - Schoolboy Facination"):
        for stem in ("mixture", "drums", "bass", "other", "vocals"):
            write(root / "musdb18hq" / "test" / track / f"{stem}.wav", 1.0, rate=44100)


def vctk(root: pathlib.Path) -> None:
    root = root / "VCTK-Corpus-0.92"
    for i, speaker in enumerate(("p225", "p226")):
        for number in ("001", "002"):
            for mic in (1, 2):
                path = root / "wav48_silence_trimmed" / speaker / f"{speaker}_{number}_mic{mic}.flac"
                write(path, 1.0, 120 + 90 * i, rate=48000)
            (root / "txt" / speaker).mkdir(parents=True, exist_ok=True)
            (root / "txt" / speaker / f"{speaker}_{number}.txt").write_text("Please call Stella.\n")
    (root / "txt" / "p226" / "p226_002.txt").unlink()  # as a few are missing in the original


def packet_loss(root: pathlib.Path) -> None:
    for name in ("1", "2"):
        wave = talk(1.5, 160)
        audio.write(root / "test_train" / "clean_signals" / f"{name}.wav", wave, RATE)
        lost = wave.copy()
        lost[8000:8640] = 0
        audio.write(root / "test_train" / "lossy_signals" / f"{name}.wav", lost, RATE)
    (root / "test_train" / "clean_signals" / "2.wav").unlink()


MIX = "4077-13754-0001_5142-33396-0065"


def libri2mix(root: pathlib.Path) -> None:
    root = root / "Libri2Mix" / "wav16k" / "min" / "test"
    one, two = talk(1.2, 110), 0.8 * talk(1.2, 230)
    for folder, wave in (("mix_clean", one + two), ("s1", one), ("s2", two)):
        audio.write(root / folder / f"{MIX}.wav", wave, RATE)
    write(root / "enrolment" / "4077-13751-0003.wav", 1.0, 110)
    write(root / "enrolment" / "5142-36586-0002.wav", 1.0, 230)
    first, second = MIX.split("_")
    lines = [f"{MIX} {first} enrolment/4077-13751-0003", f"{MIX} {second} enrolment/5142-36586-0002.wav"]
    (root / "map_mixture2enrollment").write_text("\n".join(lines) + "\n")


MAKERS = {
    "librispeech": librispeech,
    "seedtts-zh": seed_tts,
    "seedtts-en": seed_tts,
    "audioset": audioset,
    "musdb": musdb,
    "vctk-conversion": vctk,
    "plc": packet_loss,
    "libri2mix-extraction": libri2mix,
    "libri2mix-separation": libri2mix,
    "seedtts-editing": seed_tts,
}
"""The set of each benchmark."""

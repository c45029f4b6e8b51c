"""Benchmarks of the published report: dataset, task, metrics and published value of each row."""

import dataclasses
import functools
import inspect
import pathlib
from collections.abc import Callable

from quarkaudio_jax.evaluation import datasets

RECONSTRUCTION = "reconstruction"
"""Task of a codec; all others are names of `tokens.tasks.TASKS`."""


@dataclasses.dataclass(frozen=True)
class Benchmark:
    """A row of the published report.

    read: reads the items of the dataset below a folder. place: its usual path. metrics: names of `metrics.registry`,
    the published one first. published: the report's value. fetch: what to download, and where.
    """

    name: str
    about: str
    task: str
    read: Callable[[pathlib.Path], list[datasets.Item]]
    place: str
    metrics: tuple[str, ...]
    published: str
    fetch: str

    @property
    def files(self) -> str:
        """Description of the files of the dataset."""
        read = self.read.func if isinstance(self.read, functools.partial) else self.read
        about = inspect.cleandoc(read.__doc__ or "")
        return f"{self.place}: {' '.join(about.split())}"


_SPEECH = ("pesq", "pesq_nb", "estoi", "mel_distance", "stft_distance", "visqol_speech", "dnsmos", "wer", "speaker")
_ANY = ("stft_distance", "si_sdr", "visqol", "fad")
_SEED = "seedtts_testset, by ByteDance (seed-tts-eval): zh/ and en/ with meta.lst, prompt-wavs/ and wavs/"
_MIXED = "Libri2Mix, made from LibriSpeech with the scripts of LibriMix: 16 kHz, min, mix_clean, test"

BENCHMARKS = {
    row.name: row
    for row in (
        Benchmark(
            "librispeech",
            "speech reconstruction, LibriSpeech test-clean",
            RECONSTRUCTION,
            datasets.librispeech,
            "LibriSpeech/test-clean",
            ("stoi", *_SPEECH),
            "STOI 0.94",
            "test-clean.tar.gz of LibriSpeech (openslr.org/12), unpacked",
        ),
        *(
            Benchmark(
                f"seedtts-{language}",
                f"speech reconstruction, Seed-TTS test-{language}",
                RECONSTRUCTION,
                functools.partial(datasets.seed_tts, language),
                f"seedtts_testset/{language}",
                ("pesq", "stoi", *_SPEECH[1:]),
                f"PESQ {value}",
                _SEED,
            )
            for language, value in (("zh", "2.88"), ("en", "2.77"))
        ),
        Benchmark(
            "audioset",
            "audio reconstruction, AudioSet eval",
            RECONSTRUCTION,
            datasets.audioset,
            "anywhere below the folder",
            ("mel_distance", *_ANY),
            "mel distance 1.1125",
            "eval_segments.csv of AudioSet, and its clips, which Google does not give out as audio",
        ),
        Benchmark(
            "musdb",
            "music reconstruction, MUSDB18-HQ test",
            RECONSTRUCTION,
            datasets.musdb,
            "musdb18hq/test",
            ("mel_distance", *_ANY),
            "mel loss 0.5035",
            "musdb18hq.zip (zenodo.org/records/3338373), unpacked",
        ),
        Benchmark(
            "vctk-conversion",
            "voice conversion, VCTK",
            "conversion",
            datasets.vctk_conversion,
            "VCTK-Corpus-0.92",
            ("wer", "speaker", "dnsmos"),
            "WER 3.02",
            "VCTK-Corpus-0.92.zip (datashare.ed.ac.uk/handle/10283/3443), unpacked",
        ),
        Benchmark(
            "plc",
            "packet loss concealment, test of the 2022 challenge",
            "restoration",
            datasets.packet_loss,
            "a folder lossy_signals anywhere below",
            ("plcmos", "dnsmos", "pesq", "stoi"),
            "PLCMOS 4.58",
            "the test set of Microsoft's Audio Deep PLC Challenge 2022 (github.com/microsoft/PLC-Challenge)",
        ),
        Benchmark(
            "libri2mix-extraction",
            "target speaker extraction, Libri2Mix clean test",
            "extraction",
            datasets.libri2mix_extraction,
            "Libri2Mix/wav16k/min/test",
            ("dnsmos", "speaker", "estoi", "pesq", "mel_distance"),
            "DNSMOS SIG 3.62",
            f"{_MIXED}; map_mixture2enrollment of SpeakerBeam (github.com/BUTSpeechFIT/speakerbeam), in that folder",
        ),
        Benchmark(
            "libri2mix-separation",
            "speech separation, Libri2Mix test",
            "separation",
            datasets.libri2mix_separation,
            "Libri2Mix/wav16k/min/test",
            ("dnsmos", "estoi", "pesq", "mel_distance"),
            "DNSMOS and others",
            _MIXED,
        ),
        Benchmark(
            "seedtts-editing",
            "speech semantic editing, Seed-TTS zh",
            "speech_editing",
            datasets.seed_tts_edits,
            "seedtts_testset/zh",
            ("wer", "speaker", "dnsmos"),
            "WER 11.275",
            f"{_SEED}; the report does not publish its edits, so edits.tsv is yours to write",
        ),
    )
}
"""Name -> benchmark."""


def listing() -> str:
    """All benchmarks, their datasets and where to get them, as text."""
    out = []
    for row in BENCHMARKS.values():
        out += [f"{row.name}", f"  {row.about}; published: {row.published}", f"  metrics: {', '.join(row.metrics)}"]
        out += [f"  fetch: {row.fetch}", f"  files: {row.files}", ""]
    return "\n".join(out)

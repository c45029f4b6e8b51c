"""The metrics by name: what each is told, what it says, which way is better, and what has to be installed."""

import dataclasses
import importlib.util
from collections.abc import Callable

from quarkaudio_jax.metrics import opinion, reconstruction


@dataclasses.dataclass(frozen=True)
class Metric:
    """columns: names of its values (those of `weights` only weight others in a mean). higher: whether more is better.

    needs: what it compares an output with: target, text, voice or caption of an item, or nothing. model: the kind of
    trained model it asks, whose weights have to be named. whole: one value of a whole set, none of a file.
    compute: (target_S, output_S, rate) -> value or (output_S, rate) -> {column: value}, where no model is asked.
    package, install: what must be importable, and its name for pip.
    """

    name: str
    about: str
    columns: tuple[str, ...]
    higher: bool
    needs: str = "target"
    model: str = ""
    whole: bool = False
    compute: Callable | None = None
    package: str = ""
    install: str = ""
    weights: tuple[tuple[str, str], ...] = ()

    @property
    def missing(self) -> str:
        """The name for pip of a package that is not installed, or ''."""
        return self.install if self.package and importlib.util.find_spec(self.package) is None else ""


def _paired(name: str, about: str, higher: bool, package: str = "", install: str = "") -> Metric:
    compute = getattr(reconstruction, name)
    return Metric(name, about, (name,), higher, compute=compute, package=package, install=install or package)


_DNSMOS = ("dnsmos_sig", "dnsmos_bak", "dnsmos_ovrl", "dnsmos_p808")

METRICS = {
    metric.name: metric
    for metric in (
        _paired("mel_distance", "multi-scale mel distance", False),
        _paired("stft_distance", "multi-scale STFT distance", False),
        _paired("si_sdr", "scale-invariant signal-to-distortion ratio, dB", True),
        _paired("stoi", "short-time objective intelligibility", True, "pystoi"),
        _paired("estoi", "extended STOI", True, "pystoi"),
        _paired("pesq", "PESQ, wide band", True, "pesq"),
        _paired("pesq_nb", "PESQ, narrow band", True, "pesq"),
        _paired("visqol", "ViSQOL of music and sounds, 48 kHz", True, "visqol", "visqol-python"),
        _paired("visqol_speech", "ViSQOL of speech, 16 kHz", True, "ai_edge_litert", "visqol-python[lattice]"),
        Metric(
            "dnsmos", "DNSMOS P.835 and P.808", _DNSMOS, True, "", "", False, opinion.dnsmos, "speechmos", "speechmos"
        ),
        Metric("plcmos", "PLCMOS v2", ("plcmos",), True, "", "", False, opinion.plcmos, "speechmos", "speechmos"),
        Metric(
            "wer",
            "word and character error rates of a recognizer",
            ("wer", "words", "cer", "characters"),
            False,
            "text",
            "recognizer",
            package="jiwer",
            install="jiwer",
            weights=(("wer", "words"), ("cer", "characters")),
        ),
        Metric("speaker", "cosine of speaker embeddings", ("speaker_similarity",), True, "voice", "speaker"),
        Metric("clap", "CLAP score: cosine of audio and caption", ("clap_score",), True, "caption", "clap"),
        Metric("fad", "Fréchet audio distance", ("fad",), False, "target", "fad", True),
    )
}
"""In the order of a table's columns."""

HIGHER = {column: metric.higher for metric in METRICS.values() for column in metric.columns}
"""Column -> whether more is better."""

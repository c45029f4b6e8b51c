"""The metrics by name: their inputs, columns, direction and requirements."""

import dataclasses
import importlib.util
from collections.abc import Callable

from quarkaudio_jax.metrics import opinion, reconstruction


@dataclasses.dataclass(frozen=True)
class Metric:
    """A metric, or several that are computed together.

    columns: names of its values. higher: whether higher is better. needs: what an output is compared with: target,
    text, voice or caption of an item, or "". model: kind of trained model, whose weights the user gives, or "".
    of_set: one value of a set of files, none of a file. compute: without a model, (target_S, output_S, rate) -> value
    or, if it needs no target, (output_S, rate) -> {column: value}. package, install: module that must be importable,
    and its name for pip. weights: (column, column that weights it in a mean).
    """

    name: str
    about: str
    columns: tuple[str, ...]
    higher: bool
    needs: str = "target"
    model: str = ""
    of_set: bool = False
    compute: Callable | None = None
    package: str = ""
    install: str = ""
    weights: tuple[tuple[str, str], ...] = ()

    @property
    def missing(self) -> str:
        """The name for pip of the required package, if it is not installed, or ""."""
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
            "word and character error rates of an ASR model",
            ("wer", "words", "cer", "characters"),
            False,
            "text",
            "asr_model",
            package="jiwer",
            install="jiwer",
            weights=(("wer", "words"), ("cer", "characters")),
        ),
        Metric("speaker", "cosine of speaker embeddings", ("speaker_similarity",), True, "voice", "speaker"),
        Metric("clap", "CLAP score: cosine of audio and caption", ("clap_score",), True, "caption", "clap"),
        Metric("fad", "Fréchet audio distance", ("fad",), False, "target", "fad", True),
    )
}
"""Name -> metric, in the order of the columns of a table."""

HIGHER = {column: metric.higher for metric in METRICS.values() for column in metric.columns}
"""Column -> whether higher is better."""

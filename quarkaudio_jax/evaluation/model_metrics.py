"""Model-based metrics; their weights are given by hub name or folder, and never downloaded by default."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from quarkaudio_jax.clap.model import ClapAudio
from quarkaudio_jax.errors import QuarkAudioError
from quarkaudio_jax.evaluation.datasets import Item
from quarkaudio_jax.inference.features import FeatureEncoder
from quarkaudio_jax.io import audio
from quarkaudio_jax.io.transforms import resample, to_mono
from quarkaudio_jax.metrics.embeddings import cosine
from quarkaudio_jax.metrics.word_errors import error_rates
from quarkaudio_jax.weights.clap import load_clap_audio
from quarkaudio_jax.weights.hub import MissingWeightsError
from quarkaudio_jax.weights.ssl import load_extractor
from quarkaudio_jax.weights.text import load_text_extractor

DESCRIPTIONS = {
    "asr_model": "an ASR model: a transformers model such as openai/whisper-large-v3",
    "speaker": "a speaker encoder: a transformers model such as microsoft/wavlm-base-plus-sv",
    "clap": "a CLAP model: a transformers model such as laion/clap-htsat-unfused",
    "fad": "an encoder of ours: hubert, wavlm, wav2vec2 or clap, or with its weights hubert:FOLDER, or mel (a stand-in)",
}
"""`Metric.model` -> the weights that it takes."""

Waves = Sequence[np.ndarray]


class MetricModelError(QuarkAudioError, ValueError):
    """A metric's model that can't be loaded; the message says which weights it takes."""


class AsrMetric:
    """Word and character error rates of the transcript of an output by an ASR model."""

    def __init__(self, weights: str):
        import transformers

        pipeline: Any = transformers.pipeline("automatic-speech-recognition", model=weights)
        self._transcribe = pipeline
        self._rate = self._transcribe.feature_extractor.sampling_rate

    def __call__(self, items: Sequence[Item], waves: Waves, rate: int) -> list[dict[str, Any]]:
        """The values of each wave (S,) at `rate` Hz, and its transcript (`understood`)."""
        inputs = [{"raw": resample(w, rate, self._rate), "sampling_rate": self._rate} for w in waves]
        hypotheses = self._transcribe(inputs, batch_size=len(inputs))
        return [
            {**error_rates(item.text, hypothesis["text"]), "understood": hypothesis["text"].strip()}
            for item, hypothesis in zip(items, hypotheses, strict=True)
        ]


class SpeakerMetric:
    """Cosine between the speaker embeddings of an output and of its reference voice."""

    def __init__(self, weights: str):
        import torch
        import transformers

        self._torch = torch
        self._prepare = transformers.AutoFeatureExtractor.from_pretrained(weights)
        self._model = transformers.AutoModelForAudioXVector.from_pretrained(weights).eval()

    def _embed(self, wave: np.ndarray, rate: int) -> np.ndarray:
        at = self._prepare.sampling_rate
        inputs = self._prepare(resample(wave, rate, at), sampling_rate=at, return_tensors="pt")
        with self._torch.inference_mode():
            return self._model(**inputs).embeddings[0].numpy()

    @functools.lru_cache(maxsize=64)  # noqa: B019  # lives as long as the process
    def _reference(self, path: str) -> np.ndarray:
        samples, rate = audio.read(path)
        return self._embed(to_mono(samples), rate)

    def __call__(self, items: Sequence[Item], waves: Waves, rate: int) -> list[dict[str, Any]]:
        """The value of each wave (S,) at `rate` Hz."""
        return [
            {"speaker_similarity": cosine(self._embed(wave, rate), self._reference(str(item.voice or item.targets[0])))}
            for item, wave in zip(items, waves, strict=True)
        ]


class ClapMetric:
    """Cosine between the CLAP embeddings of an output, averaged over windows, and of its caption."""

    def __init__(self, weights: str):
        self._audio = ClapAudio(*load_clap_audio(weights))
        self._text = load_text_extractor("clap", weights)

    def __call__(self, items: Sequence[Item], waves: Waves, rate: int) -> list[dict[str, Any]]:
        """The value of each wave (S,) at `rate` Hz."""
        audio_embeddings = self._audio([resample(w, rate, self._audio.cfg.sample_rate) for w in waves])
        text_embeddings = self._text([item.prompt for item in items])
        return [{"clap_score": cosine(a.mean(0), t[0])} for a, t in zip(audio_embeddings, text_embeddings, strict=True)]


class FadEncoder:
    """Embeddings for the Fréchet audio distance: the mean SSL features of each second, or CLAP's of windows of 10 s.

    A recording shorter than a second has one. weights: NAME or NAME:FOLDER.
    """

    def __init__(self, weights: str):
        recipe, _, folder = weights.partition(":")
        self._clap = ClapAudio(*load_clap_audio(folder)) if recipe == "clap" else None
        if self._clap:
            return
        extractor = load_extractor(recipe, folder)
        self._features = FeatureEncoder(extractor, extractor.cfg.dim if extractor.cfg else 96, 8)

    def __call__(self, waves: Waves, rate: int) -> list[np.ndarray]:
        """(N, D) of each wave (S,) at `rate` Hz."""
        if self._clap:
            return self._clap([resample(w, rate, self._clap.cfg.sample_rate) for w in waves])
        at = 16000
        found = self._features([resample(w, rate, at) for w in waves], at)
        return [np.stack([x[i : i + 50].mean(0) for i in range(0, max(len(x) - 25, 1), 50)]) for x in found if len(x)]


METRIC_MODELS: dict[str, Callable[[str], Any]] = {
    "asr_model": AsrMetric,
    "speaker": SpeakerMetric,
    "clap": ClapMetric,
    "fad": FadEncoder,
}
"""`Metric.model` -> its class."""


def load_metric_model(kind: str, weights: str) -> Any:
    """Loads the model of a metric; MetricModelError says which weights it takes if they are missing or unreadable."""
    option = f"--{kind.replace('_', '-')}"
    if not weights:
        raise MetricModelError(f"it needs {DESCRIPTIONS[kind]}, given by {option}=")
    try:
        return METRIC_MODELS[kind](weights)
    except ImportError as error:
        raise MetricModelError(f"{option} needs the package {error.name} (pip install {error.name})") from error
    except (OSError, ValueError, KeyError, MissingWeightsError) as error:
        reason = str(error).strip().splitlines()[0]
        reason = reason if isinstance(error, MissingWeightsError) else reason[:200]
        raise MetricModelError(
            f"{option}={weights} can't be read ({reason}); it takes {DESCRIPTIONS[kind]}, or its folder"
        ) from error

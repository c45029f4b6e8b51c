"""Metrics that ask a trained model, whose weights are named by the user: by hub name or folder, never loaded unasked."""

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

WANTED = {
    "recognizer": "a recognizer of speech: a transformers model such as openai/whisper-large-v3",
    "speaker": "a speaker encoder: a transformers model such as microsoft/wavlm-base-plus-sv",
    "clap": "a CLAP model: a transformers model such as laion/clap-htsat-unfused",
    "fad": "an encoder of ours: hubert, wavlm, wav2vec2 or clap, or with its weights hubert:FOLDER, or mel (a stand-in)",
}
"""What each kind of judge is given."""

Waves = Sequence[np.ndarray]


class JudgeError(QuarkAudioError, ValueError):
    """A judge that can't be had; the message says what it wants."""


class Recognizer:
    """Word and character error rates of what a recognizer understands of an output."""

    def __init__(self, weights: str):
        import transformers

        self._ask = transformers.pipeline("automatic-speech-recognition", model=weights)
        self._rate = self._ask.feature_extractor.sampling_rate

    def __call__(self, items: Sequence[Item], waves: Waves, rate: int) -> list[dict[str, Any]]:
        inputs = [{"raw": resample(w, rate, self._rate), "sampling_rate": self._rate} for w in waves]
        heard = self._ask(inputs, batch_size=len(inputs))
        return [
            {**error_rates(item.text, h["text"]), "understood": h["text"].strip()}
            for item, h in zip(items, heard, strict=True)
        ]


class Speaker:
    """Cosine between the speaker embeddings of an output and of the voice that it should have."""

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

    @functools.lru_cache(maxsize=64)  # noqa: B019  # a judge lives as long as its run
    def _voice(self, path: str) -> np.ndarray:

        samples, rate = audio.read(path)
        return self._embed(to_mono(samples), rate)

    def __call__(self, items: Sequence[Item], waves: Waves, rate: int) -> list[dict[str, Any]]:
        return [
            {"speaker_similarity": cosine(self._embed(wave, rate), self._voice(str(item.voice or item.targets[0])))}
            for item, wave in zip(items, waves, strict=True)
        ]


class Clap:
    """Cosine between the CLAP embeddings of an output, the mean of its windows', and of what it was asked for."""

    def __init__(self, weights: str):
        self._audio = ClapAudio(*load_clap_audio(weights))
        self._text = load_text_extractor("clap", weights)

    def __call__(self, items: Sequence[Item], waves: Waves, rate: int) -> list[dict[str, Any]]:
        heard = self._audio([resample(w, rate, self._audio.cfg.sample_rate) for w in waves])
        asked = self._text([item.prompt for item in items])
        return [{"clap_score": cosine(a.mean(0), b[0])} for a, b in zip(heard, asked, strict=True)]


class FadEncoder:
    """Embeddings of the seconds of a recording, the means of its features within each (a shorter one gives one).

    With CLAP, of its windows of ten seconds.
    """

    def __init__(self, weights: str):

        recipe, _, folder = weights.partition(":")
        self._clap = ClapAudio(*load_clap_audio(folder)) if recipe == "clap" else None
        if self._clap:
            return
        extractor = load_extractor(recipe, folder)
        self._features = FeatureEncoder(extractor, extractor.cfg.dim if extractor.cfg else 96, 8)

    def __call__(self, waves: Waves, rate: int) -> list[np.ndarray]:
        if self._clap:
            return self._clap([resample(w, rate, self._clap.cfg.sample_rate) for w in waves])
        at = 16000
        found = self._features([resample(w, rate, at) for w in waves], at)
        return [np.stack([x[i : i + 50].mean(0) for i in range(0, max(len(x) - 25, 1), 50)]) for x in found if len(x)]


JUDGES: dict[str, Callable[[str], Any]] = {
    "recognizer": Recognizer,
    "speaker": Speaker,
    "clap": Clap,
    "fad": FadEncoder,
}
"""By the `model` of a metric."""


def judge(kind: str, weights: str) -> Any:
    """The judge of that kind; JudgeError says what it wants if there is none, or it can't be read."""
    if not weights:
        raise JudgeError(f"it wants {WANTED[kind]}, named by --{kind}=")
    try:
        return JUDGES[kind](weights)
    except ImportError as error:
        raise JudgeError(f"--{kind} needs the package {error.name} (pip install {error.name})") from error
    except (OSError, ValueError, KeyError, MissingWeightsError) as error:
        reason = str(error).strip().splitlines()[0]
        reason = reason if isinstance(error, MissingWeightsError) else reason[:200]
        raise JudgeError(
            f"--{kind}={weights} can't be read ({reason}); it wants {WANTED[kind]}, or a folder of one"
        ) from error

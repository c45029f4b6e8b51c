"""Speech synthesis with word timings, by eSpeak NG through its C interface.

The library keeps state between utterances (flutter, breath noise), so it is loaded anew for each one, which makes the
samples depend on the request alone.
"""

import ctypes
import dataclasses
import threading

import numpy as np

from quarkaudio_jax.data.utterance import Word
from quarkaudio_jax.errors import UserError

_SYNCHRONOUS, _UTF8 = 2, 1
_EVENT_END, _EVENT_WORD, _EVENT_FINISHED = 0, 1, 6
_RATE, _PITCH, _RANGE = 1, 3, 4
_LOCK = threading.Lock()


class _Id(ctypes.Union):
    _fields_ = [("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8)]


class _Event(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _Id),
    ]


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


@dataclasses.dataclass(frozen=True)
class Voice:
    """An eSpeak voice with an optional variant ("en-us+f3"), speed in words per minute, pitch and pitch range 0-99."""

    name: str
    speed: int = 160
    pitch: int = 50
    pitch_range: int = 50


def _library() -> tuple[ctypes.CDLL, str]:
    try:
        import espeakng_loader
    except ImportError as error:
        raise UserError(
            "generated speech needs the package espeakng-loader: pip install 'quarkaudio_jax[speech]', "
            "or set config.data.speech.paths to audio of your own"
        ) from error
    return ctypes.CDLL(espeakng_loader.get_library_path()), espeakng_loader.get_data_path()


def speak(text: str, voice: Voice) -> tuple[np.ndarray, int, tuple[Word, ...]]:
    """Synthesizes `text`: (mono float32 samples in [-1, 1], sample rate in Hz, words in order).

    ValueError: an unknown voice, or text without sound.
    """
    import _ctypes

    with _LOCK:
        library, data = _library()
        try:
            return _speak(library, data, text, voice)
        finally:
            _ctypes.dlclose(library._handle)


def _speak(library, data: str, text: str, voice: Voice):
    chunks: list[np.ndarray] = []
    marks: list[tuple[int, int]] = []

    def receive(samples, count, events):
        if samples and count > 0:
            chunks.append(np.ctypeslib.as_array(samples, (count,)).copy())
        i = 0
        while events[i].type != _EVENT_END:
            if events[i].type == _EVENT_WORD:
                marks.append((events[i].text_position, events[i].sample))
            i += 1
        return 0

    callback = _Callback(receive)
    library.espeak_ng_SetRandSeed.argtypes = [ctypes.c_long]
    library.espeak_ng_SetRandSeed(1)
    ctypes.CDLL(None).srand(1)  # the Klatt voices take their noise from the C library
    rate = library.espeak_Initialize(_SYNCHRONOUS, 0, data.encode(), 0)
    if rate <= 0:
        raise UserError(f"eSpeak NG did not start (code {rate}) with its data in {data}")
    try:
        library.espeak_SetSynthCallback(callback)
        if library.espeak_SetVoiceByName(voice.name.encode()) != 0:
            raise ValueError(f"eSpeak NG has no voice {voice.name!r}")
        for parameter, value in ((_RATE, voice.speed), (_PITCH, voice.pitch), (_RANGE, voice.pitch_range)):
            library.espeak_SetParameter(parameter, int(value), 0)
        raw = text.encode() + b"\0"
        library.espeak_Synth(raw, ctypes.c_size_t(len(raw)), 0, 0, 0, _UTF8, None, None)
        library.espeak_Synchronize()
    finally:
        library.espeak_Terminate()
    if not chunks:
        raise ValueError(f"eSpeak NG made no sound of {text!r}")
    samples = np.concatenate(chunks)
    begins = [position - 1 for position, _ in marks] + [len(text)]
    times = [start / rate for _, start in marks] + [len(samples) / rate]
    words = tuple(
        Word(text[begins[i] : begins[i + 1]].strip().rstrip(".,;:!?"), times[i], times[i + 1])
        for i in range(len(marks))
    )
    return samples.astype(np.float32) / 32768, rate, words

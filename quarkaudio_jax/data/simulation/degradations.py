"""Audio degradations: pure functions on (S,) float32 that keep the length."""

import io

import numpy as np

from quarkaudio_jax.errors import UserError
from quarkaudio_jax.io.transforms import resample
from quarkaudio_jax.types import ceil_div

CODECS = ("mp3", "opus", "vorbis", "mu-law")


def limit_bandwidth(samples_S: np.ndarray, rate: int, sampling: int) -> np.ndarray:
    """Resamples to `sampling` Hz and back, which removes everything above half of it."""
    if sampling >= rate:
        return samples_S
    narrow = resample(resample(samples_S, rate, sampling), sampling, rate)
    return np.resize(np.pad(narrow, (0, max(len(samples_S) - len(narrow), 0))), len(samples_S))


def clip_quantiles(samples_S: np.ndarray, low: float, high: float) -> np.ndarray:
    """Clips at two quantiles of the samples."""
    floor, ceiling = np.quantile(samples_S, [low, high])
    return np.clip(samples_S, floor, ceiling).astype(np.float32)


def lose_packets(
    samples_S: np.ndarray, rate: int, packet: float, share: float, burst: int, rng: np.random.Generator
) -> tuple[np.ndarray, list[int]]:
    """Silences a `share` of the packets of `packet` s, in bursts of 1 to `burst`: (signal, numbers of lost packets)."""
    size = max(round(packet * rate), 1)
    count = ceil_div(len(samples_S), size)
    wanted = min(round(share * count), count)
    lost: set[int] = set()
    while len(lost) < wanted:
        start, length = int(rng.integers(count)), int(rng.integers(1, burst + 1))
        lost |= set(range(start, min(start + min(length, wanted - len(lost)), count)))
    out = samples_S.copy()
    for number in lost:
        out[number * size : (number + 1) * size] = 0.0
    return out, sorted(lost)


def _mu_law(samples_S: np.ndarray, rate: int) -> np.ndarray:
    """Codes by G.711 at 8 kHz: eight bits on a logarithmic scale."""
    import soundfile

    narrow = np.clip(resample(samples_S, rate, 8000), -1, 1)
    file = io.BytesIO()
    soundfile.write(file, narrow, 8000, format="WAV", subtype="ULAW")
    file.seek(0)
    return resample(soundfile.read(file, dtype="float32")[0], 8000, rate)


_FORMATS = {"mp3": ("MP3", "MPEG_LAYER_III", 16000), "opus": ("OGG", "OPUS", 16000), "vorbis": ("OGG", "VORBIS", 16000)}


def code(samples_S: np.ndarray, rate: int, codec: str, quality: float) -> np.ndarray:
    """Encodes and decodes by a lossy codec of `CODECS`; the result is aligned to the input.

    quality: 0 (worst) to 1, of mp3, opus and vorbis, which run at 16 kHz (about 18 to 24, 8 to 109 and 36 to 43
    kbit/s).
    """
    import soundfile

    if codec not in CODECS:
        raise UserError(f"codec {codec!r} is not known; choose among {', '.join(CODECS)}")
    if codec == "mu-law":
        decoded = _mu_law(samples_S, rate)
    else:
        container, subtype, narrow = _FORMATS[codec]
        narrow = min(narrow, rate)
        file = io.BytesIO()
        soundfile.write(
            file,
            np.clip(resample(samples_S, rate, narrow), -1, 1),
            narrow,
            format=container,
            subtype=subtype,
            compression_level=0.99 - 0.39 * quality,
        )
        file.seek(0)
        decoded = resample(soundfile.read(file, dtype="float32")[0], narrow, rate)
    return _aligned(decoded, samples_S)


def _aligned(decoded_S: np.ndarray, original_S: np.ndarray) -> np.ndarray:
    """Removes the delay at which it correlates best with the original, and pads or cuts to its length."""
    from scipy.signal import correlate

    size = len(original_S)
    similarity = correlate(decoded_S, original_S, mode="full", method="fft")
    delay = int(np.argmax(similarity)) - (size - 1)
    shifted = decoded_S[delay:] if delay >= 0 else np.pad(decoded_S, (-delay, 0))
    return np.pad(shifted, (0, max(size - len(shifted), 0)))[:size].astype(np.float32)

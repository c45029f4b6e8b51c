"""Audio files: whole ones of every format that is read, mutated; read by every function that reads audio."""

import functools
import io
import pathlib
import random
import re

import numpy as np
import soundfile

from quarkaudio_jax.data.sources import open_source
from quarkaudio_jax.io import audio, stream
from tests.fuzz.mutations import damaged

FORMATS = (
    # suffix, what libsndfile calls it, rate, channels
    (".wav", "WAV", "PCM_16", 8000, 1),
    (".wav", "WAV", "FLOAT", 16000, 2),
    (".wav", "WAVEX", "PCM_24", 44100, 1),
    (".wav", "RF64", "PCM_16", 8000, 1),
    (".wav", "WAV", "ULAW", 8000, 1),
    (".flac", "FLAC", "PCM_16", 16000, 1),
    (".flac", "FLAC", "PCM_24", 48000, 2),
    (".mp3", "MP3", "MPEG_LAYER_III", 16000, 1),
    (".mp3", "MP3", "MPEG_LAYER_III", 44100, 2),
    (".ogg", "OGG", "VORBIS", 16000, 1),
    (".opus", "OGG", "OPUS", 48000, 1),
    (".aiff", "AIFF", "PCM_16", 22050, 1),
    (".aif", "AIFF", "FLOAT", 8000, 2),
    (".au", "AU", "PCM_16", 8000, 1),
    (".caf", "CAF", "PCM_16", 8000, 1),
    (".w64", "W64", "PCM_16", 8000, 1),
)
SUFFIXES = sorted({suffix for suffix, *_ in FORMATS})


@functools.cache
def good() -> tuple[tuple[str, bytes], ...]:
    """(suffix, bytes) of a whole file of each format, the same on every call."""
    noise = np.random.default_rng(0)
    out = []
    for suffix, kind, subtype, rate, channels in FORMATS:
        time_S = np.arange(rate // 4)[:, None] / rate
        samples = 0.4 * np.sin(2 * np.pi * 440 * time_S) + 0.1 * noise.standard_normal((len(time_S), channels))
        memory = io.BytesIO()
        soundfile.write(memory, samples, rate, format=kind, subtype=subtype)
        data = re.sub(rb"(PEAK.{8}).{4}", rb"\1\0\0\0\0", memory.getvalue(), flags=re.DOTALL)  # when it was written
        out.append((suffix, resealed(data, serial=7) if data[:4] == b"OggS" else data))
    return tuple(out)


def resealed(data: bytes, serial: int | None = None) -> bytes:
    """An Ogg file whose pages have the right checksums (and that serial number), as far as its pages can be found."""
    out, start = bytearray(data), data.find(b"OggS")
    while 0 <= start <= len(out) - 27:
        end = start + 27 + out[start + 26]
        end += sum(out[start + 27 : end])
        if serial is not None:
            out[start + 14 : start + 18] = serial.to_bytes(4, "little")
        out[start + 22 : start + 26] = bytes(4)
        out[start + 22 : start + 26] = _crc(out[start:end]).to_bytes(4, "little")
        start = out.find(b"OggS", start + 4)
    return bytes(out)


@functools.cache
def _table() -> list[int]:
    table = []
    for value in range(256):
        value <<= 24
        for _ in range(8):
            value = (value << 1) ^ (0x04C11DB7 if value & 0x80000000 else 0)
        table.append(value & 0xFFFFFFFF)
    return table


def _crc(data: bytes) -> int:
    """Ogg's CRC-32: not reflected, no final exclusive or."""
    table, crc = _table(), 0
    for byte in data:
        crc = (crc << 8 & 0xFFFFFFFF) ^ table[crc >> 24 ^ byte]
    return crc


def make(rng: random.Random) -> dict[str, bytes]:
    """One mutated file."""
    suffix, data = rng.choice(good())
    data = damaged(rng, data, rng.choice(good())[1])
    if data[:4] == b"OggS" and rng.random() < 0.5:
        data = resealed(data)
    return {f"a{rng.choice(SUFFIXES) if rng.random() < 0.1 else suffix}": data}


def whole(path: pathlib.Path) -> None:
    """All of it at once."""
    frames, rate, channels = audio.info(path)
    samples, stored = audio.read(path)
    assert samples.shape == (frames, channels) and stored == rate and samples.dtype == np.float32
    assert np.isfinite(samples).all()


def crop(path: pathlib.Path) -> None:
    """A stretch of it, as training reads."""
    found = open_source(str(path)).read(0, 0.05, 0.5)
    assert len(found.samples_SxC) and np.isfinite(found.samples_SxC).all()


def streamed(path: pathlib.Path) -> None:
    """In blocks, at another rate, as encoding reads."""
    with stream.ResampledReader(path, 24000) as reader:
        for start in range(0, reader.num_samples, 1 << 16):
            block = reader(start, start + (1 << 16))
            assert len(block) == min(1 << 16, reader.num_samples - start) and np.isfinite(block).all()


def measured(path: pathlib.Path) -> None:
    """Its levels."""
    rms, peak = stream.rms_and_peak(path)
    assert 0 <= rms <= peak * 1.001 < float("inf")


READERS = (whole, crop, streamed, measured)

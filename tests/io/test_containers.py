"""Files whose stated length is missing or wrong are read whole; those that are cut are refused."""

import io
import os
import shutil
import struct
import subprocess

import numpy as np
import pytest
import soundfile

from quarkaudio_jax.io import audio
from quarkaudio_jax.io.audio import AudioError
from quarkaudio_jax.io.stream import ResampledReader

RATE, SAMPLES = 48000, 24000


def tone(samples=SAMPLES, channels=1, seed=0):
    rng = np.random.default_rng(seed)
    wave = 0.3 * np.sin(np.arange(samples)[:, None] * 0.05 * (1 + np.arange(channels)))
    return wave + 0.05 * rng.standard_normal((samples, channels))


def encoded(form, samples=SAMPLES, rate=RATE, channels=1, seed=0, **how):
    file = io.BytesIO()
    soundfile.write(file, tone(samples, channels, seed), rate, format=form, **how)
    return file.getvalue()


def length(tmp_path, data, name):
    """What every way of reading agrees on."""
    path = tmp_path / name
    path.write_bytes(data)
    frames, rate, _ = audio.info(path)
    samples, _ = audio.read(path)
    assert len(samples) == frames
    with ResampledReader(path, rate) as reader:
        streamed = [reader(i, min(i + 7000, frames)) for i in range(0, frames, 7000)]
    np.testing.assert_allclose(np.concatenate(streamed), samples.mean(1), atol=1e-6)
    for start in (0, frames // 3, frames - 500):
        part, _ = audio.read(path, start, 400)
        np.testing.assert_allclose(part, samples[start : start + 400], atol=1e-4)
    return frames


def with_size(data, tag, size, form, top=None):
    """A file with another size behind `tag`, and `top` behind its first four bytes."""
    at = data.index(tag) + 4
    data = data[:at] + struct.pack(form, size) + data[at + 4 :]
    return data if top is None else data[:4] + struct.pack(form, top) + data[8:]


@pytest.mark.parametrize("size", [0, 0x7FFFF000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
def test_sizes_that_pipes_write(tmp_path, size):
    assert length(tmp_path, with_size(encoded("WAV"), b"data", size, "<I", size), "a.wav") == SAMPLES
    assert length(tmp_path, with_size(encoded("AIFF"), b"SSND", size, ">I", size), "a.aiff") == SAMPLES


def test_chunks_behind_the_samples_are_no_samples(tmp_path):
    extra = b"LIST" + struct.pack("<I", 4) + b"INFO"
    assert length(tmp_path, encoded("WAV") + extra, "a.wav") == SAMPLES
    empty = with_size(encoded("WAV", samples=0) + extra, b"data", 0, "<I")
    with pytest.raises(AudioError, match=r"b.wav: the file holds no samples"):
        length(tmp_path, empty, "b.wav")
    odd = encoded("WAV", samples=1001, subtype="PCM_U8") + b"\0" + extra
    assert length(tmp_path, odd, "c.wav") == 1001


LARGE = ("WAV", "RF64", "W64", "AIFF", "AU", "CAF")


@pytest.mark.parametrize("form", LARGE)
def test_every_container_is_whole_or_refused(tmp_path, form):
    data = encoded(form)
    assert length(tmp_path, data, f"a.{form.lower()}") == SAMPLES
    for share in (0.5, 0.9):
        path = tmp_path / f"cut.{form.lower()}"
        path.write_bytes(data[: int(len(data) * share)])
        with pytest.raises(AudioError, match=f"cut.{form.lower()}: (the file is truncated|not readable)"):
            audio.read(path)


def test_a_flac_that_does_not_know_its_length(tmp_path):
    data = bytearray(encoded("FLAC"))
    field = int.from_bytes(data[18:26], "big") >> 36 << 36
    data[18:26] = field.to_bytes(8, "big")
    assert length(tmp_path, bytes(data), "a.flac") == SAMPLES


def test_a_flac_damaged_in_its_middle_is_named(tmp_path):
    data = bytearray(encoded("FLAC"))
    data[len(data) // 2 :][:64] = bytes(64)
    data = bytes(data[: len(data) // 2]) + bytes(64) + bytes(data[len(data) // 2 + 64 :])
    path = tmp_path / "bad.flac"
    path.write_bytes(data)
    audio.check(path)
    for read in (audio.read, lambda p: audio.check(p, thorough=True), stream_all):
        with pytest.raises(AudioError, match=r"bad.flac: (not readable|the file is damaged)"):
            read(path)


def stream_all(path):
    with ResampledReader(path, 16000) as reader:
        for start in range(0, reader.num_samples, 1000):
            reader(start, start + 1000)


def frames_of(data):
    """Bytes of the mp3 frames, by the lengths that LAME gives them here (MPEG-1 and 2, layer 3)."""
    rates = {1: (44100, 48000, 32000), 0: (22050, 24000, 16000)}
    bits = {
        1: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
        0: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    }
    out, at = [], 0
    while at + 4 <= len(data):
        first = data[at + 1] >> 3 & 1
        rate = rates[first][data[at + 2] >> 2 & 3]
        size = (144 if first else 72) * bits[first][data[at + 2] >> 4] * 1000 // rate + (data[at + 2] >> 1 & 1)
        out.append(data[at : at + size])
        at += size
    return out


@pytest.mark.parametrize("rate", [48000, 44100, 22050, 16000])
@pytest.mark.parametrize("loud_first", [True, False])
def test_mp3_without_a_length_header(tmp_path, rate, loud_first):
    """Variable bitrate, one half loud and one quiet: guessed from the first frames the length would be far off."""
    wave = tone(4 * rate)[:, 0] * np.where((np.arange(4 * rate) < 2 * rate) == loud_first, 1, 1e-3)
    file = io.BytesIO()
    soundfile.write(file, wave, rate, format="MP3", bitrate_mode="VARIABLE")
    pieces = frames_of(file.getvalue())
    whole = length(tmp_path, file.getvalue(), "whole.mp3")
    assert b"Xing" in pieces[0] or b"Info" in pieces[0]
    bare = b"".join(pieces[1:])
    found = length(tmp_path, bare, "bare.mp3")
    assert abs(found - whole) <= 2 * 1152
    assert length(tmp_path, tag() + bare + b"TAG" + bytes(125), "tagged.mp3") == found
    with pytest.raises(AudioError, match=r"cut.mp3: the file is truncated"):
        length(tmp_path, bare[:-7], "cut.mp3")


def tag(size=300):
    """An ID3v2 tag."""
    return b"ID3\x04\0\0" + bytes((0, 0, size >> 7, size & 127)) + bytes(size)


def test_an_mp3_whose_header_lies(tmp_path):
    data = encoded("MP3", 4 * RATE)
    at = data.index(b"Xing") + 8 if b"Xing" in data else data.index(b"Info") + 8
    (count,) = struct.unpack_from(">I", data, at)
    whole = length(tmp_path, data, "whole.mp3")
    fewer = data[:at] + struct.pack(">I", count // 2) + data[at + 4 :]
    assert abs(length(tmp_path, fewer, "fewer.mp3") - whole) <= 1152
    two = length(tmp_path, data + encoded("MP3", 4 * RATE, seed=1), "two.mp3")
    assert abs(two - 2 * whole) <= 3 * 1152
    with pytest.raises(AudioError, match=r"more.mp3: the file is truncated"):
        length(tmp_path, data[:at] + struct.pack(">I", 2 * count) + data[at + 4 :], "more.mp3")
    with pytest.raises(AudioError, match=r"cut.mp3: the file is truncated"):
        length(tmp_path, data[: len(data) // 2], "cut.mp3")


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_chained_ogg_is_read_to_its_end(tmp_path, subtype):
    first, second = encoded("OGG", subtype=subtype), encoded("OGG", 2 * SAMPLES, seed=1, subtype=subtype)
    alone = [length(tmp_path, data, "one.ogg") for data in (first, second)]
    assert abs(alone[0] - SAMPLES) < 1000 and abs(alone[1] - 2 * SAMPLES) < 1000
    assert length(tmp_path, first + second, "two.ogg") == sum(alone)
    with pytest.raises(AudioError, match=r"mixed.ogg: its chained streams differ"):
        length(tmp_path, first + encoded("OGG", channels=2, subtype=subtype), "mixed.ogg")
    with pytest.raises(AudioError, match=r"cut.ogg: the file is truncated"):
        length(tmp_path, first + second[: len(second) // 2], "cut.ogg")
    gap = second.index(b"OggS", len(second) // 2)
    with pytest.raises(AudioError, match=r"gap.ogg: (the file is damaged|the file is truncated)"):
        length(tmp_path, first + second[: len(second) // 2] + second[gap:], "gap.ogg")


def test_names_that_are_not_utf8_and_long_names(tmp_path):
    name = os.fsdecode(b"\xe9t\xe9.wav")
    audio.write(os.path.join(tmp_path, name), tone()[:, 0], RATE)
    assert [os.fsencode(p.name) for p in audio.find(tmp_path)] == [b"\xe9t\xe9.wav"]
    assert audio.info(audio.find(tmp_path)[0])[0] == SAMPLES
    long = tmp_path / ("x" * 251 + ".wav")
    audio.write(long, tone()[:, 0], RATE)
    assert len(audio.read(long)[0]) == SAMPLES


def test_folders_are_searched_once(tmp_path):
    data = encoded("WAV")
    for name in ("a/one.wav", "a/.hidden/two.wav", "elsewhere/three.WAV", ".four.wav"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    (tmp_path / "a" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "a" / "again").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "loop").symlink_to(tmp_path / "a")
    found = [path.relative_to(tmp_path / "a").as_posix() for path in audio.find(tmp_path / "a")]
    assert found == ["again/three.WAV", "one.wav"]


def test_what_only_ffmpeg_reads_is_told_without_it(tmp_path, monkeypatch, caplog):
    (tmp_path / "a.wav").write_bytes(encoded("WAV"))
    (tmp_path / "b.M4A").write_bytes(b"\0\0\0\x20ftypM4A ")
    (tmp_path / "notes.txt").write_text("no audio")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert [p.name for p in audio.find(tmp_path)] == ["a.wav"]
    assert "1 files are left out" in caplog.text and "b.M4A" in caplog.text and "notes" not in caplog.text
    with pytest.raises(AudioError, match=r"b.M4A: this format is read through ffmpeg, which is not installed"):
        audio.read(tmp_path / "b.M4A")


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")
def test_foreign_formats_are_read_through_ffmpeg(tmp_path):
    source = tmp_path / "a.wav"
    source.write_bytes(encoded("WAV", 5 * RATE))
    made = []
    for name in ("b.m4a", "c.webm", "d.wma", "e.mka", "f.wv"):
        done = subprocess.run(["ffmpeg", "-v", "error", "-i", source, tmp_path / name], capture_output=True)
        made += [name] if done.returncode == 0 else []
    assert "b.m4a" in made
    for name in made:
        frames, rate, channels = audio.info(tmp_path / name)
        assert (rate, channels) == (RATE, 1) and abs(frames - 5 * RATE) < 5000
        samples, _ = audio.read(tmp_path / name, RATE, RATE)
        assert samples.shape == (RATE, 1) and np.abs(samples).max() > 0.1
    assert {p.name for p in audio.find(tmp_path)} >= set(made)
    (tmp_path / "bad.m4a").write_bytes((tmp_path / "b.m4a").read_bytes()[:2000])
    with pytest.raises(AudioError, match=r"bad.m4a: not readable as audio \(ffmpeg: "):
        audio.read(tmp_path / "bad.m4a")

"""Reading files: every format whole, bad ones named."""

import pathlib

import numpy as np
import pytest
import soundfile

from quarkaudio_jax.io import audio
from quarkaudio_jax.io.audio import AudioError
from quarkaudio_jax.io.stream import ResampledReader, Writer
from quarkaudio_jax.io.transforms import resample, to_mono

FORMATS = ("wav", "flac", "mp3", "ogg")


def tone(seconds=2.0, rate=44100, channels=2):
    t = np.arange(int(seconds * rate)) / rate
    return 0.3 * np.stack([np.sin(2 * np.pi * 220 * (c + 1) * t) for c in range(channels)], axis=1)


def make(folder: pathlib.Path, extension: str, **kwargs) -> pathlib.Path:
    path = folder / f"tone.{extension}"
    soundfile.write(path, tone(**kwargs), kwargs.get("rate", 44100))
    return path


@pytest.mark.parametrize("extension", FORMATS)
def test_formats(tmp_path, extension):
    path = make(tmp_path, extension)
    samples, rate = audio.read(path)
    assert rate == 44100 and samples.shape[1] == 2 and abs(len(samples) - 88200) < 3000
    assert audio.info(path) == (len(samples), 44100, 2)
    part, _ = audio.read(path, 20000, 3000)
    np.testing.assert_allclose(part, samples[20000:23000], atol=1e-4)


@pytest.mark.parametrize("extension", ("wav", "flac", "ogg"))
@pytest.mark.parametrize("share", [0.9, 0.5, 0.01])
def test_truncated_files_are_named(tmp_path, extension, share):
    path = make(tmp_path, extension)
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(AudioError, match=f"tone.{extension}: (the file is truncated|not readable)"):
        audio.read(path, 0, 100)


def test_bad_files_are_named(tmp_path):
    empty, text = tmp_path / "empty.wav", tmp_path / "text.mp3"
    empty.touch()
    text.write_text("this is no audio" * 100)
    nan = tmp_path / "nan.wav"
    soundfile.write(nan, np.full((1000, 1), np.nan), 16000, subtype="FLOAT")
    none = tmp_path / "none.wav"
    soundfile.write(none, np.zeros((0, 1)), 16000)
    for path, reason in ((empty, "empty"), (text, "not readable"), (nan, "NaN"), (none, "no samples")):
        with pytest.raises(AudioError, match=f"{path.name}: .*{reason}"):
            audio.read(path)
    with pytest.raises(AudioError, match="gone.wav: No such file"):
        audio.read(tmp_path / "gone.wav")


def test_real_audio_is_whole(real_audio):
    files = audio.find(real_audio)
    assert len(files) > 80
    for path in files:
        audio.check(path)


@pytest.mark.parametrize("rate", [16000, 44100, 48000])
@pytest.mark.parametrize("step", [1, 4801, 10**9])
def test_streaming_does_not_depend_on_how_it_is_read(tmp_path, rate, step):
    path = make(tmp_path, "wav")
    with ResampledReader(path, rate) as whole:
        want = whole(0, whole.num_samples)
        assert len(want) == round(88200 * rate / 44100)
    direct = resample(to_mono(audio.read(path)[0]), 44100, rate)
    np.testing.assert_allclose(want[:1000], direct[:1000], atol=1e-5)
    with ResampledReader(path, rate) as reader:
        stop = min(len(want), 500 * step)
        got = np.concatenate([reader(i, min(i + step, stop)) for i in range(0, stop, step)])
        np.testing.assert_array_equal(got, want[:stop])
        with pytest.raises(ValueError, match="is before sample"):
            reader(0, 1) if stop > step else reader(-1, 1)


def test_one_sample(tmp_path):
    path = tmp_path / "one.wav"
    soundfile.write(path, np.array([0.5]), 8000)
    with ResampledReader(path, 48000) as reader:
        assert reader.num_samples == 6 and len(reader(0, 6)) == 6
    with ResampledReader(path, 4000) as reader:
        assert reader.num_samples == 1 and len(reader(0, 1)) == 1


@pytest.mark.parametrize("rate", [8000, 44100])
def test_one_channel_of_several(tmp_path, rate):
    path = tmp_path / "a.wav"
    samples = 0.1 * np.random.default_rng(0).standard_normal((20000, 3)).astype(np.float32)
    soundfile.write(path, samples, 44100, "FLOAT")
    for channel in (0, 2):
        want = resample(samples[:, channel], 44100, rate)
        with ResampledReader(path, rate, channel) as reader:
            np.testing.assert_allclose(reader(0, reader.num_samples)[:1000], want[:1000], atol=1e-5)
    with pytest.raises(audio.AudioError, match="has no channel 4, only 3"):
        ResampledReader(path, rate, 3)


def test_a_failed_write_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError), Writer(tmp_path / "a.wav", 16000) as writer:
        writer.write(np.zeros(10, np.float32))
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    with Writer(tmp_path / "a.wav", 16000) as writer:
        writer.write(np.array([2.0, -2.0], np.float32))
    assert [p.name for p in tmp_path.iterdir()] == ["a.wav"]
    np.testing.assert_allclose(audio.read(tmp_path / "a.wav")[0][:, 0], [1, -1], atol=1e-4)

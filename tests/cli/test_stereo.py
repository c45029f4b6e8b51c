"""Stereo files through the verbs: encode, decode, evaluate, compare; mono to stereo; other numbers of channels."""

import json

import numpy as np
import pytest
import soundfile

from quarkaudio_jax.cli.compare import main as compare
from quarkaudio_jax.cli.convert import main as convert
from quarkaudio_jax.cli.decode import main as decode
from quarkaudio_jax.cli.encode import main as encode
from quarkaudio_jax.cli.evaluate import main as evaluate
from quarkaudio_jax.codec.variants import get_variant
from quarkaudio_jax.io import audio, token_file
from quarkaudio_jax.io.stream import ResampledReader
from quarkaudio_jax.io.transforms import resample
from quarkaudio_jax.weights.files import read_tensors, write_tensors
from quarkaudio_jax.weights.saved_codec import read_codec
from tests.cli.memory import round_trip_peak
from tests.inference.test_stereo import made, noise
from tests.parity.codecs import golden_state_dict

pytestmark = pytest.mark.slow


def call(main, *arguments):
    main(["quarkaudio", *map(str, arguments)])


@pytest.fixture(scope="module")
def codec():
    return made("hcodec_16k_mono2stereo_tiny")


@pytest.fixture(scope="module")
def checkpoint(codec, tmp_path_factory):
    return codec.save_pretrained(tmp_path_factory.mktemp("codec") / "saved")


def test_stereo_files(codec, checkpoint, tmp_path):
    wave = noise(30000, 2)
    soundfile.write(tmp_path / "a.wav", wave, 48000, "FLOAT")
    soundfile.write(tmp_path / "mono.wav", wave[:, 0], 48000, "FLOAT")
    call(encode, tmp_path / "a.wav", tmp_path / "mono.wav", "--checkpoint", checkpoint, "--output", tmp_path / "t")
    file = token_file.read(tmp_path / "t" / "a.qka")
    assert file.header.codebooks == (4, 4, 4) and file.header.source_channels == 2
    with ResampledReader(tmp_path / "a.wav", 16000, channels=2) as reader:
        resampled = reader(0, reader.num_samples)
    assert resampled.shape == (10000, 2)
    np.testing.assert_allclose(resampled, resample(wave, 48000, 16000), atol=2e-3)
    want = codec.encode(resampled)
    for stored, stream in zip(file.streams, want.streams, strict=True):
        np.testing.assert_array_equal(stored, stream[0])
    call(decode, tmp_path / "t", "--checkpoint", checkpoint, "--output", tmp_path / "out")
    found, rate = audio.read(tmp_path / "out" / "a.wav")
    assert rate == 16000 and found.shape == (10000, 2)
    np.testing.assert_allclose(found, codec.decode(want, 10000).samples_BxS[0].clip(-1, 1), atol=1e-4)
    assert audio.info(tmp_path / "out" / "mono.wav") == (10000, 16000, 2)
    call(encode, tmp_path / "a.wav", "--checkpoint", checkpoint, "--output", tmp_path / "left", "--channel", "first")
    doubled, mono = (token_file.read(path) for path in (tmp_path / "left" / "a.qka", tmp_path / "t" / "mono.qka"))
    for one, other in zip(doubled.streams, mono.streams, strict=True):
        np.testing.assert_array_equal(one, other)


def test_conversion_keeps_the_scalar_weight_of_the_mapping(tmp_path):
    tensors = golden_state_dict(get_variant("hcodec_16k_mono2stereo_tiny"))
    write_tensors(tmp_path / "in.safetensors", {name: np.asarray(x) for name, x in tensors.items()})
    call(convert, "import", tmp_path / "in.safetensors", "--output", tmp_path / "run")
    stored = read_codec(tmp_path / "run")[1]["params"]["spatial_mapping"]["out_scale"]
    assert np.shape(stored) == () and stored == tensors["spatial_mapping.out_scale"]
    call(convert, "export", tmp_path / "run", "--output", tmp_path / "out.safetensors")
    exported = read_tensors(tmp_path / "out.safetensors")
    assert {name: x.shape for name, x in exported.items()} == {name: np.shape(x) for name, x in tensors.items()}


def test_mono_codes_are_heard_from_a_position(codec, checkpoint, tmp_path):
    soundfile.write(tmp_path / "a.wav", noise(8000), 16000)
    call(encode, tmp_path / "a.wav", "--checkpoint", checkpoint, "--output", tmp_path)
    where = ("--azimuth", "-30", "--elevation", "10", "--distance", "2.5")
    call(decode, tmp_path / "a.qka", "--checkpoint", checkpoint, "--output", tmp_path / "out", *where)
    codes = codec.encode(audio.read_mono(tmp_path / "a.wav")[0])
    want = codec.spatialize(codes, -30, 10, 2.5, 8000).samples_BxS[0]
    np.testing.assert_allclose(audio.read(tmp_path / "out" / "a.wav")[0], want.clip(-1, 1), atol=1e-4)
    for options, message in (
        (("--azimuth", "400"), "azimuth is 400.0; it should be -180 to 360 degrees"),
        (("--elevation", "10"), "--elevation and --distance need --azimuth"),
    ):
        with pytest.raises(SystemExit, match=message):
            call(decode, tmp_path / "a.qka", "--checkpoint", checkpoint, "--output", tmp_path / "b", *options)


def test_other_numbers_of_channels_are_refused(checkpoint, tmp_path):
    soundfile.write(tmp_path / "surround.wav", noise(8000, 6), 16000)
    with pytest.raises(SystemExit, match="surround.wav: has 6 channels; a stereo codec takes 1 or 2: mix it down"):
        call(encode, tmp_path / "surround.wav", "--checkpoint", checkpoint, "--output", tmp_path)
    call(encode, tmp_path / "surround.wav", "--checkpoint", checkpoint, "--output", tmp_path, "--channel", "mean")
    assert token_file.read(tmp_path / "surround.qka").header.source_channels == 6


def test_ten_minutes_in_bounded_memory(codec, checkpoint, tmp_path):
    """Ten minutes take no more memory than one; both begin as the codes and channels of the first minute in memory."""
    peaks, wave = {}, noise(600 * 44100, 2)
    for minutes in (1, 10):
        path = tmp_path / f"{minutes}.wav"
        soundfile.write(path, wave[: minutes * 60 * 44100], 44100, "FLOAT")
        peaks[minutes] = round_trip_peak(path, checkpoint, tmp_path / "out")
        assert audio.info(tmp_path / "out" / f"{minutes}.wav") == (minutes * 60 * 16000, 16000, 2)
    assert peaks[10] < peaks[1] + 60_000  # the file of ten minutes alone is 212 MB of float32
    with ResampledReader(tmp_path / "1.wav", 16000, channels=2) as reader:
        resampled = reader(0, reader.num_samples)
    codes = codec.encode(resampled)
    want = codec.decode(codes, len(resampled)).samples_BxS[0].clip(-1, 1)
    assert not np.array_equal(want[:, 0], want[:, 1])
    # Chunks are 500 frames; what follows the first minute changes codes of its last chunk, and so the wave of the one before.
    for minutes, frames, heard in ((1, 1500, 1500), (10, 1000, 500)):
        for stored, stream in zip(token_file.read(tmp_path / f"{minutes}.qka").streams, codes.streams, strict=True):
            assert len(stored) == minutes * 1500
            np.testing.assert_array_equal(stored[:frames], stream[0, :frames])
        found = audio.read(tmp_path / "out" / f"{minutes}.wav")[0][: heard * 640]
        np.testing.assert_allclose(found, want[: len(found)], atol=1e-4)


def test_both_channels_are_measured_and_heard(codec, checkpoint, tmp_path):
    (tmp_path / "in").mkdir()
    wave = noise(16000, 2)
    soundfile.write(tmp_path / "in" / "a.wav", wave, 16000, "FLOAT")
    call(evaluate, tmp_path / "in", "--checkpoint", checkpoint, "--output", tmp_path / "out", "--metrics", "si_sdr",
         "--report", tmp_path / "page")  # fmt: skip
    (row,) = json.loads((tmp_path / "out" / "results.json").read_text())["files"]
    from quarkaudio_jax.metrics.reconstruction import si_sdr

    out = codec.reconstruct(wave)
    want = np.mean([si_sdr(wave[:, i], out[:, i], 16000) for i in range(2)])
    assert row["si_sdr"] == pytest.approx(want, abs=1e-2)
    kept = sorted((tmp_path / "out" / "audio" / "a.wav").glob("*.flac"))
    assert [audio.info(path)[2] for path in kept] == [2] * len(kept) and kept
    call(compare, tmp_path / "in" / "a.wav", kept[0], "--output", tmp_path / "compared")
    assert (tmp_path / "compared" / "index.html").stat().st_size > 10_000

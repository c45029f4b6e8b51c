"""Batches: deterministic, sharded, resumable; bad files counted and named."""

import dataclasses
import errno
import logging
import os
import shutil

import numpy as np
import pytest
import soundfile

from quarkaudio_jax.config import DataConfig, DomainConfig
from quarkaudio_jax.data.pipeline import CropSpec, crop_spec, heldout_clips, make_crop, training_batches
from quarkaudio_jax.data.simulation.head import Position, spatialize
from quarkaudio_jax.data.skipping import MAX_CONSECUTIVE_FAILURES, DataError, SkipMonitor
from quarkaudio_jax.data.sources import open_source
from quarkaudio_jax.io import audio
from quarkaudio_jax.io.audio import AudioError
from quarkaudio_jax.io.levels import scale_peak
from quarkaudio_jax.io.transforms import resample, wrap_pad

SPEC = CropSpec(16000, 3200)
NONE = DomainConfig()


def config(speech, **changes):
    base = DataConfig(DomainConfig(str(speech), 2.0), NONE, NONE, batch_size=4, threads=2, prefetch=4)
    return dataclasses.replace(base, **changes)


@pytest.fixture
def folder(tmp_path):
    """24 constant files, so that a crop tells which one it came from."""
    for i in range(24):
        soundfile.write(tmp_path / f"{i:02d}.wav", np.full(8000, (i + 1) / 100), 16000, subtype="FLOAT")
    return tmp_path


def take(iterator, count):
    return [next(iterator)["wave"] for _ in range(count)]


def test_the_crop_is_whole_frames():
    assert crop_spec(DataConfig(crop_seconds=5.0), 48000, 3840) == CropSpec(48000, 241920)
    assert crop_spec(DataConfig(crop_seconds=0.32), 48000, 3840, 960, 768) == CropSpec(48000, 15360, 16, 768)


def test_same_seed_same_batches(folder):
    a, b, c = (take(training_batches(config(folder), SPEC, seed)[0], 5) for seed in (7, 7, 8))
    np.testing.assert_array_equal(a, b)
    assert not np.array_equal(a, c)


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_resumed_to_the_exact_example(folder, workers):
    cfg = config(folder, workers=workers)
    iterator, _ = training_batches(cfg, SPEC, 0)
    take(iterator, 3)
    state = iterator.get_state()
    want = take(iterator, 4)
    again, _ = training_batches(cfg, SPEC, 0)
    again.set_state(state)
    np.testing.assert_array_equal(take(again, 4), want)


def test_hosts_share_one_stream(folder):
    cfg = config(folder, batch_size=4)
    whole = np.concatenate(take(training_batches(cfg, SPEC, 0)[0], 4))
    parts = [np.concatenate(take(training_batches(cfg, SPEC, 0, i, 2)[0], 4)) for i in range(2)]
    np.testing.assert_array_equal(parts[0], whole[0::2])
    np.testing.assert_array_equal(parts[1], whole[1::2])
    with pytest.raises(DataError, match="not a multiple of the 3 hosts"):
        training_batches(cfg, SPEC, 0, 0, 3)


def test_domains_are_weighted():
    half = CropSpec(48000, 4800)
    cfg = DataConfig(
        DomainConfig("embedded:events", 3.0), DomainConfig("embedded:music", 1.0), NONE, batch_size=8, heldout=0
    )
    kinds = {"speech": 0, "music": 0}
    from quarkaudio_jax.data import pipeline

    original = pipeline.make_crop
    try:

        def counted(source, index, spec, position, *place):
            kinds["music" if "music" in source.name(index) else "speech"] += 1
            return {"wave": np.ones(spec.samples, np.float32)}

        pipeline.make_crop = counted
        take(training_batches(cfg, half, 0)[0], 20)
    finally:
        pipeline.make_crop = original
    assert kinds["speech"] / sum(kinds.values()) == pytest.approx(0.75, abs=0.06)


def test_gain_and_wrapping(folder):
    waves = np.concatenate(take(training_batches(config(folder, peak=(0.2, 0.4)), SPEC, 0)[0], 6))
    peaks = np.abs(waves).max(1)
    assert peaks.min() >= 0.2 and peaks.max() <= 0.4 and len(set(peaks)) > 20
    np.testing.assert_array_equal(wrap_pad(np.arange(3), 8), [0, 1, 2, 0, 1, 2, 0, 1])
    np.testing.assert_array_equal(scale_peak(np.zeros(3, np.float32), 0.5), np.zeros(3))
    short = folder / "short.wav"
    soundfile.write(short, np.linspace(-0.5, 0.5, 100), 16000)
    wave = make_crop(open_source(str(short)), 0, SPEC, 0.0)["wave"]
    np.testing.assert_array_equal(wave[:100], wave[100:200])


def test_any_rate_and_channels(tmp_path):
    for rate, channels in ((8000, 1), (22050, 2), (48000, 6), (96000, 3)):
        path = tmp_path / f"{rate}.wav"
        t = np.arange(rate) / rate
        soundfile.write(path, 0.3 * np.stack([np.sin(2 * np.pi * 440 * t)] * channels, 1), rate)
        wave = make_crop(open_source(str(path)), 0, SPEC, 0.3)["wave"]
        spectrum = np.abs(np.fft.rfft(wave * np.hanning(len(wave))))
        assert abs(spectrum.argmax() * 16000 / len(wave) - 440) < 5
        assert np.abs(wave).max() == pytest.approx(0.3, abs=0.02)


@pytest.fixture
def spoiled(folder):
    data = (folder / "03.wav").read_bytes()
    (folder / "03.wav").write_bytes(data[: len(data) // 2])
    (folder / "07.wav").write_bytes(b"")
    (folder / "11.wav").write_text("no audio at all")
    soundfile.write(folder / "15.wav", np.full(8000, np.nan), 16000, subtype="FLOAT")
    return folder


def test_bad_files_are_skipped_counted_and_named(spoiled, caplog):
    with caplog.at_level(logging.WARNING):
        iterator, skips = training_batches(config(spoiled, heldout=0.0), SPEC, 0)
        waves = np.concatenate(take(iterator, 20))
    assert np.isfinite(waves).all() and waves.any(1).all()
    assert len(skips.problems) == 4 and skips.count >= 4
    for name, reason in (("03", "truncated"), ("07", "empty"), ("11", "not readable"), ("15", "NaN")):
        lines = [r.message for r in caplog.records if f"{name}.wav" in r.message]
        assert len(lines) == 1 and reason in lines[0]


def test_strict_makes_them_an_error(spoiled):
    iterator, _ = training_batches(config(spoiled, strict=True), SPEC, 0)
    with pytest.raises(DataError, match=r"\d\d.wav: .*config.data.strict is on"):
        take(iterator, 30)


def test_nothing_but_bad_files_ends(tmp_path):
    for i in range(3):
        (tmp_path / f"{i}.wav").write_text("no")
    iterator, _ = training_batches(config(tmp_path), SPEC, 0)
    with pytest.raises(DataError, match=r"none of the \d files can be used, the last: .*\d.wav: not readable"):
        next(iterator)
    with pytest.raises(DataError, match="no training data"):
        training_batches(config(""), SPEC, 0)


def test_precomputed_features_are_cut_with_the_wave(tmp_path):
    t = np.arange(16000 * 2)
    soundfile.write(tmp_path / "a.wav", (t % 320 == 0) * (t // 320) / 200, 16000, subtype="FLOAT")
    np.save(tmp_path / "a.features.npy", np.repeat(np.arange(100, dtype=np.float16)[:, None], 6, axis=1))
    spec = CropSpec(16000, 3200, 10, 6)
    source = open_source(str(tmp_path))
    for position in (0.0, 0.37, 0.99):
        crop = make_crop(source, 0, spec, position)
        np.testing.assert_allclose(crop["wave"][::320] * 200, crop["features"][:, 0], atol=1e-3)
    wrong = dataclasses.replace(spec, feature_dim=7)
    with pytest.raises(ValueError, match="features are 6 wide, the codec wants 7"):
        make_crop(source, 0, wrong, 0.0)
    (tmp_path / "a.features.npy").unlink()
    with pytest.raises(ValueError, match="no precomputed features"):
        make_crop(source, 0, spec, 0.0)


def test_heldout_clips_are_the_same_in_every_run(folder):
    cfg = config(folder, heldout=0.3)
    names = [[c["name"] for c in heldout_clips(cfg, SPEC, 4)] for _ in range(2)]
    assert names[0] == names[1] and len(names[0]) == 4
    seen = {round(float(w[0] / np.abs(w).max()), 4) for w in np.concatenate(take(training_batches(cfg, SPEC, 0)[0], 1))}
    assert seen == {1.0}


def test_one_bad_file_is_no_reason_to_stop(folder, caplog):
    """What single files did wrong: a crop of denormals, one sample at 192 kHz, a name that is not UTF-8."""
    soundfile.write(folder / "denormal.wav", np.full(8000, 1e-42), 16000, subtype="FLOAT")
    soundfile.write(folder / "one.wav", np.array([0.5]), 192000)
    with open(os.fsencode(folder) + b"/\xe9t\xe9.wav", "wb") as file:
        file.write((folder / "03.wav").read_bytes())
    iterator, skips = training_batches(config(folder, heldout=0.2), SPEC, 0)
    waves = np.concatenate(take(iterator, 20))
    assert np.isfinite(waves).all() and skips.count == 0
    assert np.abs(waves).max() <= 1.0


def test_a_disk_that_goes_away_ends_the_run(folder):
    iterator, skips = training_batches(config(folder, heldout=0.0, threads=1, prefetch=1), SPEC, 0)
    take(iterator, 2)
    shutil.rmtree(folder)
    with pytest.raises(DataError, match=r"can('t)? be used, the last: .*No such file"):
        take(iterator, 1000)
    assert skips.count <= MAX_CONSECUTIVE_FAILURES


def test_giving_up_after_many_failures():
    monitor = SkipMonitor(strict=False, files=10**6)
    assert not any(monitor({"problem": f"{i}.wav: gone"}) for i in range(MAX_CONSECUTIVE_FAILURES - 1))
    assert monitor({"problem": ""})
    assert not any(monitor({"problem": f"{i}.wav: gone"}) for i in range(MAX_CONSECUTIVE_FAILURES - 1))
    with pytest.raises(DataError, match="1000 examples in a row can't be used, the last: x.wav: gone"):
        monitor({"problem": "x.wav: gone"})


def test_running_out_of_descriptors_is_no_bad_file(folder, monkeypatch):
    def exhausted(*_):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    source = open_source(str(folder))
    monkeypatch.setattr(os, "stat", exhausted)
    with pytest.raises(OSError, match="Too many open files") as caught:
        make_crop(source, 0, SPEC, 0.0)
    assert not isinstance(caught.value, AudioError)


def test_silence_is_said_to_be_silence(tmp_path, caplog):
    for i in range(4):
        soundfile.write(tmp_path / f"{i}.wav", np.zeros(8000), 16000)
    with caplog.at_level(logging.WARNING):
        take(training_batches(config(tmp_path, heldout=0.3), SPEC, 0)[0], 3)
        assert heldout_clips(config(tmp_path, heldout=0.3), SPEC, 4) == []
    told = [r.message for r in caplog.records]
    assert sum("crops are all silent" in line for line in told) == 1
    assert sum("held-out clips are silent" in line for line in told) == 1


class TestStereo:
    spec = CropSpec(16000, 3200, channels=2)

    @pytest.fixture
    def folder(self, tmp_path):
        wave = 0.1 * np.random.default_rng(0).standard_normal((16000, 6)).astype(np.float32)
        for name, channels in (("mono", 1), ("stereo", 2), ("surround", 6)):
            audio.write(tmp_path / f"{name}.wav", wave[:, :channels], 32000)
        return tmp_path

    def test_stereo_files_keep_their_channels_and_mono_ones_get_a_position(self, folder):
        source = open_source(str(folder))
        by_name = {source.name(i).rsplit("/")[-1]: i for i in range(len(source))}
        crop = make_crop(source, by_name["stereo.wav"], self.spec, 0.0, Position(90, 0, 1))
        want = resample(audio.read(folder / "stereo.wav", 0, 6400)[0], 32000, 16000)
        np.testing.assert_array_equal(crop["wave"], want[:3200])
        assert np.isnan(crop["position"]).all()
        crop = make_crop(source, by_name["mono.wav"], self.spec, 0.0, Position(90, 0, 1))
        mono = resample(audio.read(folder / "mono.wav", 0, 6400)[0][:, 0], 32000, 16000)
        np.testing.assert_array_equal(crop["wave"], spatialize(mono[:3200], 16000, Position(90, 0, 1)))
        np.testing.assert_array_equal(crop["position"], np.array([90, 0, 1], np.float32))
        with pytest.raises(AudioError, match="surround.wav: has 6 channels"):
            make_crop(source, by_name["surround.wav"], self.spec, 0.0, Position(90, 0, 1))

    def test_batches_and_heldout_clips(self, folder):
        cfg = DataConfig(
            speech=DomainConfig(str(folder)), music=DomainConfig(), events=DomainConfig(), batch_size=3, heldout=0.0
        )
        batches, monitor = training_batches(cfg, self.spec, 0)
        batch, again = next(batches), next(training_batches(cfg, self.spec, 0)[0])
        assert batch["wave"].shape == (3, 3200, 2) and batch["position"].shape == (3, 3) and monitor.count > 0
        for name in batch:
            np.testing.assert_array_equal(batch[name], again[name])
        peaks = np.abs(batch["wave"]).max((1, 2))
        assert (peaks > 0.09).all() and (peaks < 1).all()
        clips = heldout_clips(dataclasses.replace(cfg, heldout=1.0), self.spec, 4)
        assert [clip["wave"].shape for clip in clips] == [(3200, 2)] * len(clips) and len(clips) == 2

"""encode, decode and evaluate on a trained checkpoint, as a person calls them."""

import csv
import dataclasses
import sys

import numpy as np
import pytest
import soundfile

from quarkaudio_jax import load_codec
from quarkaudio_jax.cli import decode, encode, evaluate, main
from quarkaudio_jax.codec.chunked import ChunkSpec
from quarkaudio_jax.io import audio, token_file
from tests.cli.memory import round_trip_peak

RNG = np.random.default_rng(0)


def noise(count, rate=48000):
    return 0.1 * RNG.standard_normal(count).astype(np.float32)


@pytest.fixture(scope="module")
def runner(trained):
    return load_codec(trained)


def call(verb, *args):
    verb.main(["quarkaudio", *map(str, args)])


@pytest.mark.parametrize("count", [1, *(pytest.param(c, marks=pytest.mark.slow) for c in (2, 3839, 3840, 3841, 48000))])
def test_length_is_kept(runner, count):
    assert len(runner.reconstruct(noise(count))) == count


def test_round_trip_through_files(trained, tmp_path, capsys):
    source = tmp_path / "in"
    (source / "deep").mkdir(parents=True)
    soundfile.write(source / "a.wav", noise(30000)[:, None].repeat(2, 1), 44100)
    soundfile.write(source / "deep" / "b.flac", noise(1), 8000)
    call(encode, source, "--checkpoint", trained, "--output", tmp_path / "tokens")
    printed = capsys.readouterr().out
    header, acoustic, semantic, *_ = token_file.read(tmp_path / "tokens" / "a.qka")
    assert header.num_samples == round(30000 * 48000 / 44100) and header.source_rate == 44100
    assert acoustic.shape == semantic.shape == (header.num_frames, 4)
    size = (tmp_path / "tokens" / "a.qka").stat().st_size
    assert f"{size * 8 / header.seconds / 1000:.2f} kbit/s with header ({size} bytes)" in printed
    call(decode, tmp_path / "tokens", "--checkpoint", trained, "--output", tmp_path / "out", "--format", "flac")
    assert audio.info(tmp_path / "out" / "a.flac") == (header.num_samples, 48000, 1)
    assert audio.info(tmp_path / "out" / "deep" / "b.flac") == (6, 48000, 1)


@pytest.mark.slow
def test_chunks_do_not_depend_on_how_the_file_was_fed(runner):
    runner.chunk_spec, chunk_spec = ChunkSpec(6, 2), runner.chunk_spec
    try:
        wave = noise(40 * 3840 + 17)
        reads = []
        fed = runner.encode_stream(lambda a, b: reads.append((a, b)) or wave[a:b], len(wave))
        assert len(reads) == 7 and len(fed[0]) == 41
        np.testing.assert_array_equal(fed[0], runner.encode(wave).acoustic_BxTxK[0])
        assert len(runner.reconstruct(wave)) == len(wave)
    finally:
        runner.chunk_spec = chunk_spec


def test_errors_are_one_clear_line(trained, tmp_path):
    (tmp_path / "text.wav").write_text("no audio")
    soundfile.write(tmp_path / "ok.wav", noise(100), 16000)
    with pytest.raises(SystemExit, match="error: .*text.wav: not readable as audio"):
        call(encode, tmp_path / "text.wav", tmp_path / "ok.wav", "--checkpoint", trained, "--output", tmp_path / "t")
    assert (tmp_path / "t" / "ok.qka").exists()
    with pytest.raises(SystemExit, match="error: /nowhere: no such checkpoint"):
        call(encode, tmp_path / "ok.wav", "--checkpoint", "/nowhere", "--output", tmp_path)
    with pytest.raises(SystemExit, match="no such file or folder"):
        call(encode, tmp_path / "none.wav", "--checkpoint", trained, "--output", tmp_path)
    with pytest.raises(SystemExit, match="ok.wav: not a token file"):
        call(decode, tmp_path / "ok.wav", "--checkpoint", trained, "--output", tmp_path / "d")
    header, acoustic, semantic, *_ = token_file.read(tmp_path / "t" / "ok.qka")
    other = dataclasses.replace(header, sample_rate=16000, frame_hop=640, codec="hcodec_16k", num_samples=640)
    token_file.write(tmp_path / "other.qka", token_file.TokenFile(other, acoustic[:1], semantic[:1]))
    with pytest.raises(
        SystemExit, match=r"other.qka: made with codec hcodec_16k \(16000 Hz.*the checkpoint is hcodec_48k_tiny"
    ):
        call(decode, tmp_path / "other.qka", "--checkpoint", trained, "--output", tmp_path / "d")
    assert not (tmp_path / "d").exists() or not list((tmp_path / "d").iterdir())
    with pytest.raises(SystemExit, match="metric 'mos' does not exist"):
        call(evaluate, tmp_path, "--checkpoint", trained, "--metrics", "mos")


def test_cut_codes_go_through_files(trained, runner, tmp_path):
    wave = noise(3840 * 3)
    audio.write(tmp_path / "a.wav", wave, 48000)
    call(encode, tmp_path / "a.wav", "--checkpoint", trained, "--output", tmp_path, "--num-codebooks", 2)
    file = token_file.read(tmp_path / "a.qka")
    assert file.header.codebooks == (2, 2) and file.header.codec_codebooks == (4, 4)
    assert file.header.payload_bits == 3 * 4 * 8 and file.acoustic_TxK.shape == (3, 2)
    want = runner.encode(audio.read(tmp_path / "a.wav")[0][:, 0], num_codebooks=2)
    np.testing.assert_array_equal(file.acoustic_TxK, want.acoustic_BxTxK[0])
    call(decode, tmp_path / "a.qka", "--checkpoint", trained, "--output", tmp_path / "out")
    np.testing.assert_allclose(
        audio.read(tmp_path / "out" / "a.wav")[0][:, 0], runner.decode(want).samples_BxS[0].clip(-1, 1), atol=1e-4
    )
    with pytest.raises(SystemExit, match="--num-codebooks is 5; hcodec_48k_tiny_faded has 1 to 4"):
        call(encode, tmp_path / "a.wav", "--checkpoint", trained, "--output", tmp_path / "t", "--num-codebooks", 5)


def test_token_files_know_their_weights(trained, runner, tmp_path, capsys):
    ours, theirs = f"{runner.fingerprint():08x}", f"{runner.fingerprint() ^ 1:08x}"
    header = runner.header(3840, 48000, 1)
    codes = np.zeros((1, 4), np.int32)
    files = {"ours": ours, "theirs": theirs, "unknown": "", "unknown_too": ""}
    for name, fingerprint in files.items():
        file = token_file.TokenFile(dataclasses.replace(header, fingerprint=fingerprint), codes, codes)
        token_file.write(tmp_path / f"{name}.qka", file)
    arguments = (tmp_path, "--checkpoint", trained, "--output", tmp_path / "out")
    with pytest.raises(SystemExit, match=f"theirs.qka: made with weights {theirs} .*has weights {ours}.*--any-weights"):
        call(decode, *arguments)
    assert sorted(p.stem for p in (tmp_path / "out").iterdir()) == ["ours", "unknown", "unknown_too"]
    assert capsys.readouterr().err.count("does not say which weights made it") == 1  # one line for all files
    call(decode, tmp_path / "theirs.qka", *arguments[1:], "--any-weights")
    assert audio.info(tmp_path / "out" / "theirs.wav") == (3840, 48000, 1)


def test_resealed_token_files_of_impossible_chunks_are_refused(trained, runner, tmp_path):
    header = dataclasses.replace(runner.header(3840 * 2000, 48000, 1), chunk_frames=10**6)
    codes = np.zeros((2000, 4), np.int32)
    token_file.write(tmp_path / "a.qka", token_file.TokenFile(header, codes, codes))
    with pytest.raises(
        SystemExit, match="a.qka: its chunks are 160 s long; hcodec_48k_tiny_faded decodes 120 s at once"
    ):
        call(decode, tmp_path / "a.qka", "--checkpoint", trained, "--output", tmp_path / "out")


def test_a_channel_can_be_chosen(trained, runner, tmp_path):
    left, right = noise(3840 * 2), noise(3840 * 2)
    path = tmp_path / "stereo.wav"
    audio.write(path, np.stack([left, right], axis=1), 48000)
    channels = audio.read(path)[0]
    for choice, wave in (("first", channels[:, 0]), ("2", channels[:, 1])):
        folder = tmp_path / choice
        call(encode, path, "--checkpoint", trained, "--output", folder, "--channel", choice)
        codes = runner.encode(wave)
        np.testing.assert_array_equal(token_file.read(folder / "stereo.qka").acoustic_TxK, codes.acoustic_BxTxK[0])
    with pytest.raises(SystemExit, match="stereo.wav: has no channel 3, only 2"):
        call(encode, path, "--checkpoint", trained, "--output", tmp_path, "--channel", "3")
    with pytest.raises(SystemExit):
        call(encode, path, "--checkpoint", trained, "--output", tmp_path, "--channel", "0")


def test_samples_that_were_never_scaled_are_named(trained, tmp_path):
    soundfile.write(tmp_path / "loud.wav", noise(3840) * 32768, 48000, "FLOAT")
    with pytest.raises(SystemExit, match="loud.wav: the recording reaches .*divide 16-bit integers by 32768"):
        call(encode, tmp_path / "loud.wav", "--checkpoint", trained, "--output", tmp_path)


def test_evaluate_writes_table_and_csv(trained, tmp_path, capsys):
    for i in range(2):
        soundfile.write(tmp_path / f"{i}.wav", noise(24000), 24000)
    (tmp_path / "broken.wav").write_bytes(b"RIFF")
    with pytest.raises(SystemExit, match="not measured:\n.*broken.wav"):
        call(
            evaluate,
            tmp_path,
            "--checkpoint",
            trained,
            "--output",
            tmp_path / "r.csv",
            "--metrics",
            "mel_distance,si_sdr",
        )
    assert "| mean of 2 |" in capsys.readouterr().out
    rows = list(csv.DictReader((tmp_path / "r.csv").open()))
    assert [r["file"] for r in rows] == ["0.wav", "1.wav"] and float(rows[0]["mel_distance"]) > 0


def test_evaluate_takes_reconstructions_made_elsewhere(real_audio, tmp_path, capsys):
    folder = real_audio / "tasks" / "sr"
    call(evaluate, folder / "clean", "--reconstructions", folder / "clean", "--metrics", "mel_distance,stoi")
    assert "| mean of 2 | 7.712   | 0.000        | 1.000 |" in capsys.readouterr().out


@pytest.mark.slow
def test_memory_is_bounded(trained, tmp_path):
    """Ten times the audio does not take ten times the memory: encode holds windows, not the file."""
    peaks = {}
    for minutes in (1, 10):
        path = tmp_path / f"{minutes}.wav"
        soundfile.write(path, noise(minutes * 60 * 48000), 48000)
        peaks[minutes] = round_trip_peak(path, trained, tmp_path / "out")
        assert audio.info(tmp_path / "out" / f"{minutes}.wav")[0] == minutes * 60 * 48000
    assert peaks[10] < peaks[1] + 60_000  # the file of ten minutes alone is 115 MB of float32


def test_the_command_lists_its_verbs(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["quarkaudio"])
    with pytest.raises(SystemExit) as done:
        main.main()
    printed = capsys.readouterr().out
    assert done.value.code == 0 and all(verb in printed for verb in main.VERBS)

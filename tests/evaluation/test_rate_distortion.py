"""Rate against distortion, of codecs trained in the tests and of tiny public ones."""

import csv

import matplotlib.image
import numpy as np
import pytest

from quarkaudio_jax.cli import rate_distortion
from quarkaudio_jax.evaluation.baselines import Baseline
from quarkaudio_jax.evaluation.rate_distortion import read_all
from tests.evaluation import sets

SMALL = {
    "encodec": dict(num_filters=4, hidden_size=8, codebook_size=16, codebook_dim=8, upsampling_ratios=[4, 2], target_bandwidths=[48.0, 96.0], num_lstm_layers=1),
    "dac": dict(encoder_hidden_size=4, downsampling_ratios=[2, 4], decoder_hidden_size=16, upsampling_ratios=[4, 2], n_codebooks=3, codebook_size=16, codebook_dim=2, hidden_size=16),
    "mimi": dict(num_filters=4, hidden_size=8, num_quantizers=4, num_semantic_quantizers=1, codebook_size=16, codebook_dim=4, vector_quantization_hidden_dimension=4, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=2, head_dim=4, intermediate_size=8, upsample_groups=8),
}  # fmt: skip


def save_baseline(kind, folder):
    torch = pytest.importorskip("torch", reason="torch runs the public codecs")
    transformers = pytest.importorskip("transformers", reason="transformers holds the public codecs")
    torch.manual_seed(0)
    name = kind.capitalize()
    getattr(transformers, f"{name}Model")(getattr(transformers, f"{name}Config")(**SMALL[kind])).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("kind", SMALL)
def test_a_public_codec_costs_what_its_codes_cost(kind, tmp_path):
    baseline = Baseline(kind, str(save_baseline(kind, tmp_path)))
    settings = baseline.settings()
    wave = sets.talk(0.5, rate=baseline.rate)
    found = [baseline(wave, setting) for setting in settings]
    assert all(out.shape == wave.shape and np.isfinite(out).all() for out, _ in found)
    bits = [bits for _, bits in found]
    assert bits == pytest.approx([bits[0] / settings[0] * setting for setting in settings], rel=1e-6)
    if kind == "dac":
        assert bits[0] == pytest.approx(len(wave) / 8 * 4, rel=0.02)


@pytest.mark.slow
def test_curves_of_a_codec_and_a_public_one(trained, tmp_path, capsys):
    sets.write(tmp_path / "in" / "a.wav", 1.0)
    baseline = save_baseline("dac", tmp_path / "dac")
    given = [tmp_path / "in", f"--checkpoint={trained}", f"--dac={baseline}", f"--output={tmp_path / 'out'}"]
    rate_distortion.main(["quarkaudio rate-distortion", *map(str, given), "--metrics=mel_distance,stoi"])
    rows = list(csv.DictReader((tmp_path / "out" / "rate_distortion.csv").open()))
    assert [(row["codec"], row["setting"]) for row in rows] == [
        *(("hcodec_48k_tiny_faded", f"{k} a stream") for k in range(1, 5)),
        *(("Dac", f"{k} codebooks") for k in range(1, 4)),
    ]
    rates = [float(row["kbit_s"]) for row in rows[:4]]  # a second is 13 frames of 12.5 Hz, with 8 bits of two streams
    assert rates == pytest.approx([13 * 16 * k / 1000 for k in range(1, 5)])
    assert all(float(row["mel_distance"]) > 0 for row in rows)
    assert matplotlib.image.imread(tmp_path / "out" / "rate_distortion.png").shape[2] == 4
    with pytest.raises(
        SystemExit, match="rate-distortion takes metrics that need no weights: wer: it needs an ASR model"
    ):
        rate_distortion.main(["quarkaudio rate-distortion", *map(str, given), "--metrics=wer"])
    with pytest.raises(SystemExit, match="--mimi=/none can't be loaded as a folder or hub name"):
        rate_distortion.main(["quarkaudio rate-distortion", *map(str, given), "--mimi=/none", "--overwrite"])


def test_a_file_that_can_t_be_read_is_left_out(tmp_path):
    for name in ("a.wav", "b.wav"):
        sets.write(tmp_path / name, 0.5)
    (tmp_path / "b.wav").write_bytes(b"RIFF")
    recordings, failed = read_all([tmp_path / name for name in ("a.wav", "b.wav", "none.wav")])
    assert len(recordings) == 1 and len(recordings[0][0]) == sets.RATE // 2
    assert [line.split(": ")[0] for line in failed] == [str(tmp_path / "b.wav"), str(tmp_path / "none.wav")]
    with pytest.raises(SystemExit, match="^error: .*b.wav: the file is truncated$"):
        rate_distortion.main(
            [
                "quarkaudio rate-distortion",
                str(tmp_path / "b.wav"),
                "--checkpoint=/none",
                f"--output={tmp_path / 'out'}",
            ]
        )
    (tmp_path / "rate_distortion.csv").write_text("old")
    with pytest.raises(SystemExit, match="rate_distortion.csv exists already"):
        rate_distortion.main(
            ["quarkaudio rate-distortion", str(tmp_path), "--checkpoint=/none", f"--output={tmp_path}"]
        )

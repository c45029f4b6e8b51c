"""Metrics on real speech, and on another system's published outputs: computed once with the packages, and pinned."""

import json
import math
import pathlib

import numpy as np
import pytest

from quarkaudio_jax.io import audio
from quarkaudio_jax.io.audio import read_mono
from quarkaudio_jax.metrics.registry import HIGHER, METRICS

COMPUTED = [metric for metric in METRICS.values() if metric.compute]
PINNED = json.loads((pathlib.Path(__file__).parent.parent / "fixtures" / "task_metrics.json").read_text())


def need(metric):
    if metric.missing:
        pytest.skip(f"{metric.missing} is not installed")


def values(metric, target, output, rate):
    if metric.needs != "target":
        return metric.compute(output, rate)
    count = min(len(target), len(output))
    return {metric.columns[0]: metric.compute(target[:count], output[:count], rate)}


@pytest.mark.parametrize("metric", COMPUTED, ids=lambda m: m.name)
def test_noise_makes_everything_worse(metric, real_audio):
    need(metric)
    clean, rate = read_mono(real_audio / "tasks/sr/clean/1.wav")
    noisy = clean + 0.05 * np.random.default_rng(0).standard_normal(len(clean)).astype(np.float32)
    best, worse = values(metric, clean, clean, rate), values(metric, clean, noisy, rate)
    perfect = {"mel_distance": 0.0, "stft_distance": 0.0, "stoi": 1.0, "estoi": 1.0, "pesq": 4.644, "pesq_nb": 4.549}
    perfect["visqol"] = 4.7321  # of the original's conformance tests, identical recordings
    for column in metric.columns:
        if column in perfect:
            assert math.isclose(best[column], perfect[column], abs_tol=2e-3)
        if column == "dnsmos_sig":
            continue  # is about the speech alone, whatever lies behind it
        assert best[column] > worse[column] if HIGHER[column] else best[column] < worse[column]


@pytest.mark.slow
@pytest.mark.parametrize("metric", COMPUTED, ids=lambda m: m.name)
@pytest.mark.parametrize("pair", PINNED)
def test_published_outputs_against_their_targets(metric, pair, real_audio):
    need(metric)
    target, output = ((real_audio / "tasks" / path) for path in pair.split(" "))
    (target, rate), (output, other) = read_mono(target), read_mono(output)
    assert rate == other and audio.info(real_audio / "tasks" / pair.split(" ")[0])[1] == rate
    for column, value in values(metric, target, output, rate).items():
        assert value == pytest.approx(PINNED[pair][column], rel=2e-3, abs=2e-3), column

"""Parts of `convert verify` that need no checkout."""

import json

import numpy as np
import pytest

from quarkaudio_jax.weights.ssl import load_extractor
from quarkaudio_jax.weights.verify import compare_features, exact_codes
from tests.parity import golden
from tests.parity.test_ssl import write_folder


def test_exact_codes_tell_entries_apart_that_float32_does_not():
    books = np.float32([[[1.0, 1e-4], [1.0, 0.0]], [[-1.0, 0.0], [3e-8, 5e-5]]])
    x = np.float32([[[50.0, 6e-5], [50.0, 4e-5]]])
    near = ((x[..., None, :] - books[0]) ** 2).sum(-1)
    assert (near[..., 0] == near[..., 1]).all()
    np.testing.assert_array_equal(exact_codes(books, x), [[[0, 1], [1, 1]]])


@pytest.mark.slow
def test_ssl_features_of_a_long_clip_are_transformers_own(tmp_path):
    """13 s, with the length given: lengths in samples times a rate are over 2**31 there."""
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    folder = tmp_path / "hubert_base"
    write_folder(folder, "hf_hubert")
    config = {**golden.load("hf_hubert")[1]["config"], "model_type": "hubert"}
    (folder / "config.json").write_text(json.dumps(config))
    wave = 0.1 * np.random.default_rng(0).standard_normal(13 * 16000, dtype=np.float32)
    row = compare_features(load_extractor("hubert", folder), folder, wave, 16000, 320)
    assert row.name == "SSL features of 13.0 s" and row.difference < 1e-4

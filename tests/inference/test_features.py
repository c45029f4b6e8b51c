"""SSL features of many waves at once, as `prepare` computes them."""

import dataclasses

import jax
import numpy as np
import pytest

from quarkaudio_jax.inference.features import FeatureEncoder
from quarkaudio_jax.ssl.features import Extractor, get_recipe
from tests.parity.test_ssl import load


@pytest.mark.parametrize("rate, seconds", [(16000, 9.1), (48000, 3.1)])
def test_long_waves_give_the_features_they_give_alone(rate, seconds):
    """Beyond 2^31 / 16000 samples too: 8.4 s at 16 kHz, 2.8 s at 48 kHz; in a batch, padded."""
    cfg, params, _, _ = load("hf_hubert")
    recipe, hop = dataclasses.replace(get_recipe("hubert"), compress=False), rate // 50
    extractor, rng = Extractor(recipe, params, cfg), np.random.default_rng(0)
    waves = [0.1 * rng.standard_normal(round(s * rate) + 7).astype(np.float32) for s in (seconds + 0.2, seconds)]
    found = FeatureEncoder(extractor, cfg.dim, batch=2)(waves, rate)
    assert [len(f) for f in found] == [len(w) // hop for w in waves]
    whole = waves[1][None, : len(waves[1]) // hop * hop]
    alone = jax.jit(lambda wave: extractor(params, wave, rate, hop, cfg.dim))(whole)
    np.testing.assert_allclose(found[1], alone[0], rtol=0, atol=1e-5)

"""Distances between features."""

import jax
import jax.numpy as jnp
import numpy as np

from quarkaudio_jax.losses.features import feature_matching
from quarkaudio_jax.nn.blocks import Blocks


def test_features_are_matched_layer_by_layer():
    fake, real = ([jnp.full((1, 2, 3, 4), a), jnp.full((1, 2, 5, 1), b)] for a, b in ((1.0, 2.0), (3.0, 5.0)))
    found = feature_matching(*([Blocks(x, x.shape[2], 1) for x in layers] for layers in (fake, real)))
    np.testing.assert_allclose(found, (2 + 3) / 2, rtol=1e-6)


def test_layers_of_a_pods_batch_have_more_values_than_int32_holds():
    layer = jax.ShapeDtypeStruct((512, 1, 40_000, 128), jnp.bfloat16)
    found = jax.eval_shape(lambda f, r: feature_matching([Blocks(f, 40_000, 1)], [Blocks(r, 40_000, 1)]), layer, layer)
    assert found.shape == ()

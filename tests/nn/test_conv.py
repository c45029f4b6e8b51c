"""Convolutions against jax.lax's own."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from quarkaudio_jax.nn.conv import ConvTranspose1d, DepthwiseConv1d, conv2d, folded_conv2d

DIMS = ("NHWC", "HWIO", "NHWC")


def random(*shape):
    return jnp.asarray(np.random.default_rng(0).standard_normal(shape, dtype=np.float32))


@pytest.mark.parametrize("size", [(9, 11), (10, 24), (31, 5)])
@pytest.mark.parametrize("kernel, strides", [((3, 9), (1, 1)), ((3, 9), (1, 2)), ((5, 1), (3, 1)), ((3, 3), (2, 2))])
def test_conv2d_is_a_convolution(size, kernel, strides):
    x, k = random(2, *size, 3), random(*kernel, 3, 4)

    def reference(x, k):
        padding = [(n // 2, n // 2) for n in kernel]
        return jax.lax.conv_general_dilated(x, k, strides, padding, dimension_numbers=DIMS)

    want = reference(x, k)
    g = random(*want.shape)

    @functools.partial(jax.jit, static_argnums=0)
    def gradients(conv):
        return jax.vjp(conv, x, k)[1](g)

    for conv in (conv2d, folded_conv2d):
        np.testing.assert_allclose(conv(x, k, strides), want, atol=1e-5)
        got = gradients(lambda x, k, conv=conv: conv(x, k, strides))
        for a, b in zip(got, gradients(reference), strict=True):
            np.testing.assert_allclose(a, b, atol=2e-4)


def test_depthwise_is_a_grouped_convolution():
    x, conv = random(2, 13, 6), DepthwiseConv1d(7)
    params = nn.meta.unbox(jax.jit(conv.init)(jax.random.key(0), x))
    kernel = params["params"]["kernel"][:, None]
    want = jax.lax.conv_general_dilated(
        x, kernel, (1,), [(3, 3)], feature_group_count=6, dimension_numbers=("NWC", "WIO", "NWC")
    )
    np.testing.assert_allclose(conv.apply(params, x), want, atol=1e-6)


@pytest.mark.parametrize("stride", [2, 3, 5])
def test_transposed_convolution_multiplies_the_length(stride):
    x, conv = random(1, 7, 4), ConvTranspose1d(5, stride)
    params = nn.meta.unbox(jax.jit(conv.init)(jax.random.key(0), x))
    kernel = params["params"]["kernel"]
    side = 2 * stride - 1 - (stride + 1) // 2
    want = jax.lax.conv_general_dilated(
        x,
        kernel[::-1],
        (1,),
        [(side, side + stride % 2)],
        lhs_dilation=(stride,),
        dimension_numbers=("NWC", "WIO", "NWC"),
    )
    got = conv.apply(params, x)
    assert got.shape == (1, 7 * stride, 5)
    np.testing.assert_allclose(got, want + params["params"]["bias"], atol=1e-6)

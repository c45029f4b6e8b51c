"""Floating-point operations counted in traces."""

import jax
import jax.numpy as jnp
import pytest

from quarkaudio_jax.compile_report.flops import count_flops
from quarkaudio_jax.nn.causal import causal_attention
from quarkaudio_jax.nn.conv import conv2d


def of(*shape):
    return jax.ShapeDtypeStruct(shape, jnp.float32)


def test_products_and_their_gradients():
    def loss(w, x):
        return (x @ w).sum()

    assert count_flops(loss, of(5, 7), of(3, 5)) == 2 * 3 * 5 * 7
    assert count_flops(jax.value_and_grad(loss, argnums=(0, 1)), of(5, 7), of(3, 5)) == 3 * (2 * 3 * 5 * 7)


def test_batched_products():
    assert count_flops(lambda a, b: jnp.einsum("bij,bjk->bik", a, b), of(2, 3, 4), of(2, 4, 5)) == 2 * 2 * 3 * 4 * 5


def test_convolutions_with_groups():
    def conv(x, kernel, groups):
        numbers = ("NWC", "WIO", "NWC")
        return jax.lax.conv_general_dilated(
            x, kernel, (1,), "SAME", dimension_numbers=numbers, feature_group_count=groups
        )

    assert count_flops(lambda x, k: conv(x, k, 1), of(1, 10, 4), of(3, 4, 6)) == 2 * 10 * 6 * 3 * 4
    assert count_flops(lambda x, k: conv(x, k, 2), of(1, 10, 4), of(3, 2, 6)) == 2 * 10 * 6 * 3 * 2


def test_loops_jitted_functions_and_branches():
    def step(x, _):
        return jax.jit(lambda x: x @ x)(x), None

    assert count_flops(lambda x: jax.lax.scan(step, x, length=6)[0], of(3, 3)) == 6 * 2 * 27
    either = lambda x: jax.lax.cond(x[0, 0] > 0, lambda x: x @ x, lambda x: x, x)  # noqa: E731
    assert count_flops(either, of(3, 3)) == 2 * 27
    remat = jax.grad(lambda x: jax.checkpoint(lambda x: jnp.sin(x @ x))(x).sum())
    assert count_flops(remat, of(3, 3)) == 4 * 2 * 27


def test_what_attention_computes_twice_counts_once():
    """One block of four positions, one head of width 4: two products forwards (values with a one beside), four back."""
    q, segments = of(1, 4, 1, 4), jax.ShapeDtypeStruct((1, 4), jnp.int32)
    slope = jax.grad(lambda q, k, v, s, t: causal_attention(q, k, v, s, t).sum(), argnums=(0, 1, 2))
    assert count_flops(slope, q, q, q, segments, of(1, 4, 4)) == 2 * 4 * 4 * (4 + 5 + 4 * 4)


def test_strided_convolutions_and_their_gradients_are_one_product_each():
    """Whatever a platform's own way of computing them adds, and without the zeros of a transposed convolution."""
    x, kernel = of(2, 3, 300, 8), of(1, 5, 8, 16)
    once = 2 * 2 * 3 * 100 * 5 * 8 * 16
    assert count_flops(lambda x, k: conv2d(x, k, (1, 3)), x, kernel) == once
    step = jax.value_and_grad(lambda x, k: jnp.square(conv2d(x, k, (1, 3))).sum(), argnums=(0, 1))
    assert count_flops(step, x, kernel) == pytest.approx(3 * once, rel=0.02)

"""Real Fourier transforms over the last axis: FFTs, or matmuls for runtimes without complex numbers."""

import contextlib
import contextvars
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

_MATMULS = contextvars.ContextVar("fourier_by_matmuls", default=False)


@contextlib.contextmanager
def by_matmuls() -> Iterator[None]:
    """Traces the transforms of this module as real matmuls within the block: ONNX has no complex numbers."""
    token = _MATMULS.set(True)
    try:
        yield
    finally:
        _MATMULS.reset(token)


def _cosine_and_sine(length: int) -> tuple[np.ndarray, np.ndarray]:
    """Cos and sin of 2 pi f n / length, (length // 2 + 1, length); exactly 0 where the angle is a multiple of pi."""
    steps_FxN = np.outer(np.arange(length // 2 + 1), np.arange(length)) % length
    angles_FxN = steps_FxN * (2 * np.pi / length)
    return np.cos(angles_FxN), np.where(2 * steps_FxN % length == 0, 0.0, np.sin(angles_FxN))


def rfft(x: jax.Array) -> jax.Array:
    """Spectrum (..., N // 2 + 1) complex64 of (..., N)."""
    if not _MATMULS.get():
        return jnp.fft.rfft(x)
    cosine_FxN, sine_FxN = (wave.astype(np.float32) for wave in _cosine_and_sine(x.shape[-1]))
    return jax.lax.complex(x @ cosine_FxN.T, -(x @ sine_FxN.T))


def irfft(spectrum: jax.Array, length: int) -> jax.Array:
    """Inverse of `rfft`, (..., length) float32; imaginary parts at DC and Nyquist are ignored. length: even."""
    if not _MATMULS.get():
        return jnp.fft.irfft(spectrum, n=length)
    counts_Fx1 = np.full((length // 2 + 1, 1), 2.0)
    counts_Fx1[[0, -1]] = 1.0
    cosine_FxN, sine_FxN = ((counts_Fx1 / length * wave).astype(np.float32) for wave in _cosine_and_sine(length))
    return spectrum.real @ cosine_FxN - spectrum.imag @ sine_FxN


def modulus(spectrum: jax.Array) -> jax.Array:
    """|X|."""
    if not _MATMULS.get():
        return jnp.abs(spectrum)
    return jnp.sqrt(jnp.square(spectrum.real) + jnp.square(spectrum.imag))


def angle(spectrum: jax.Array) -> jax.Array:
    """The phase in (-pi, pi], radians."""
    if not _MATMULS.get():
        return jnp.angle(spectrum)
    return jnp.arctan2(jnp.where(spectrum.imag == 0, 0.0, spectrum.imag), spectrum.real)

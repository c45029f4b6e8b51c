"""Recipes: how the features that enter a semantic encoder are made.

A recipe is data: a name, what it computes, and the function (or None where the features come
with the data). Features are (B, T, D) float32 at S / hop frames of a wave (B, S).
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp

from quarkaudio_jax.nn.mel import magnitude, mel_filters
from quarkaudio_jax.nn.stft import stft


@dataclasses.dataclass(frozen=True)
class Recipe:
    """extract(wave_BxS, sample_rate, hop, dim) -> (B, S // hop, dim), or None: read from the data."""

    name: str
    about: str
    extract: Callable[[jax.Array, int, int, int], jax.Array] | None


NEIGHBOURS = 3


def mel_features(wave_BxS: jax.Array, sample_rate: int, hop: int, dim: int) -> jax.Array:
    """A stand-in for SSL features that needs no weights: log mel of three neighbouring frames.

    dim / 3 mel bands over a window of 4096 samples at 48 kHz (85 ms), each frame joined by the
    one before and the one after; scaled to about unit size. It holds no learned semantics.
    """
    if dim % NEIGHBOURS:
        raise ValueError(f"mel features: width {dim} is not a multiple of {NEIGHBOURS}")
    n_fft = max(4096 * sample_rate // 48000, hop)
    pad, length = n_fft - hop, wave_BxS.shape[1] // hop
    # One frame of silence more on each side is the neighbour of the first and of the last frame.
    spectrum = stft(jnp.pad(wave_BxS, ((0, 0), (pad // 2 + hop, pad - pad // 2 + hop))), n_fft, hop)
    mel = magnitude(spectrum) @ mel_filters(sample_rate, n_fft, dim // NEIGHBOURS)
    log_BxTxM = (jnp.log10(jnp.maximum(mel, 1e-5)) + 2.0) / 1.5
    return jnp.concatenate([log_BxTxM[:, i : i + length] for i in range(NEIGHBOURS)], axis=-1)


RECIPES = {
    r.name: r
    for r in (
        Recipe("mel", "log mel spectrogram, a stand-in that needs no weights", mel_features),
        Recipe("precomputed", "arrays that come with the data (the field `features` of each example)", None),
    )
}


def get_recipe(name: str) -> Recipe:
    """The recipe of that name; ValueError lists the known names."""
    if name not in RECIPES:
        raise ValueError(f"feature recipe {name!r} is not known; choose one of {', '.join(sorted(RECIPES))}")
    return RECIPES[name]

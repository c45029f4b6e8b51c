"""Recipes: how the features that enter a semantic encoder are made.

A recipe is data: a name and what it computes. An `Extractor` is a recipe with the weights it
needs. Features are (B, T, D) float32 at S / hop frames of a wave (B, S).
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from quarkaudio_jax.errors import UserError
from quarkaudio_jax.io.mel import mel_filters
from quarkaudio_jax.nn.mel import magnitude
from quarkaudio_jax.nn.resample import resample
from quarkaudio_jax.nn.stft import stft
from quarkaudio_jax.ssl.model import SSLConfig, SSLEncoder
from quarkaudio_jax.types import rescale

SSL_RATE, SSL_HOP, SSL_MARGIN = 16000, 320, 160
"""Every SSL model here: Hz, samples per frame, and the zeros put before and behind a wave."""


@dataclasses.dataclass(frozen=True)
class Recipe:
    """hub: the Hugging Face model whose hidden states are mixed, or None. layers: which of them (empty: all, the
    input of the first layer included), averaged; compress: then sign(x) |x|^0.3. stored: features come with the data.
    """

    name: str
    about: str
    hub: str | None = None
    layers: tuple[int, ...] = ()
    compress: bool = True
    stored: bool = False


NEIGHBORS = 3


def mel_features(wave_BxS: jax.Array, sample_rate: int, hop: int, dim: int) -> jax.Array:
    """A stand-in for SSL features that needs no weights: log mel of three neighboring frames.

    dim / 3 mel bands over a window of 4096 samples at 48 kHz (85 ms), each frame joined by the
    one before and the one after; scaled to about unit size. It holds no learned semantics.
    """
    if dim % NEIGHBORS:
        raise UserError(f"mel features: width {dim} is not a multiple of {NEIGHBORS}")
    n_fft = max(4096 * sample_rate // 48000, hop)
    pad, length = n_fft - hop, wave_BxS.shape[1] // hop
    # One frame of silence more on each side is the neighbor of the first and of the last frame.
    spectrum = stft(jnp.pad(wave_BxS, ((0, 0), (pad // 2 + hop, pad - pad // 2 + hop))), n_fft, hop)
    mel = magnitude(spectrum) @ mel_filters(sample_rate, n_fft, dim // NEIGHBORS)
    log_BxTxM = (jnp.log10(jnp.maximum(mel, 1e-5)) + 2.0) / 1.5
    return jnp.concatenate([log_BxTxM[:, i : i + length] for i in range(NEIGHBORS)], axis=-1)


def mix_states(states_NxBxTxD: jax.Array, recipe: Recipe) -> jax.Array:
    """A recipe's features from all hidden states; sign(0) is -1, as upstream computes it."""
    chosen = states_NxBxTxD[jnp.asarray(recipe.layers)] if recipe.layers else states_NxBxTxD
    x = chosen.mean(0)
    return compressed(x) if recipe.compress else x


def compressed(x: jax.Array) -> jax.Array:
    """sign(x) |x|^0.3, its gradient 0 at 0."""
    magnitude = jnp.where(x == 0, 0.0, jnp.where(x == 0, 1.0, jnp.abs(x)) ** 0.3)
    return jnp.where(x > 0, 1.0, -1.0) * magnitude


@dataclasses.dataclass(frozen=True)
class Extractor:
    """A recipe ready to compute.

    params, cfg: weights and switches of its SSL model, if it has one; model: which one it is, hub name and checksum.
    """

    recipe: Recipe
    params: Any = None
    cfg: SSLConfig | None = None
    model: str = ""

    @property
    def name(self) -> str:
        """The recipe's name."""
        return self.recipe.name

    @property
    def stored(self) -> bool:
        """Whether features come with the data and can't be computed."""
        return self.recipe.stored

    def check(self, sample_rate: int, hop: int, dim: int) -> None:
        """UserError unless frames of `hop` samples and width `dim` are what this makes."""
        if self.stored or self.recipe.hub is None:
            return
        if self.cfg is None:
            raise UserError(f"features {self.name!r} need the weights of {self.recipe.hub}: load them first")
        if hop * SSL_RATE != SSL_HOP * sample_rate or dim != self.cfg.dim:
            raise UserError(
                f"features {self.name!r} are {SSL_RATE / SSL_HOP:g} a second and {self.cfg.dim} wide; the codec wants "
                f"{sample_rate / hop:g} a second, {dim} wide: choose another config.features.recipe"
            )

    def __call__(
        self, params: Any, wave_BxS: jax.Array, sample_rate: int, hop: int, dim: int, lengths_B: jax.Array | None = None
    ) -> jax.Array:
        """(B, S) -> (B, S // hop, dim); params: this extractor's, as an argument so that they are not compiled in.

        lengths_B: valid samples, multiples of hop; what lies behind must be silent.
        """
        self.check(sample_rate, hop, dim)
        if self.stored:
            raise UserError(f"features {self.name!r} come with the data and can't be computed")
        if self.recipe.hub is None:
            return mel_features(wave_BxS, sample_rate, hop, dim)
        wave = resample(wave_BxS, sample_rate, SSL_RATE)
        if lengths_B is not None:
            lengths_B = rescale(lengths_B, sample_rate, SSL_RATE, "up")
            # Resampling lets the end of an item ring into the padding.
            wave = jnp.where(jnp.arange(wave.shape[1]) < lengths_B[:, None], wave, 0.0)
            lengths_B = lengths_B + 2 * SSL_MARGIN
        wave = jnp.pad(wave, ((0, 0), (SSL_MARGIN, SSL_MARGIN)))
        return mix_states(SSLEncoder(self.cfg).apply({"params": params}, wave, lengths_B), self.recipe)


RECIPES = {
    r.name: r
    for r in (
        Recipe("mel", "log mel spectrogram, a stand-in that needs no weights"),
        Recipe("precomputed", "arrays that come with the data (the field `features` of each example)", stored=True),
        Recipe("hubert", "H-Codec 1.0 and 2.0: all hidden states", "bosonai/hubert_base"),
        Recipe("wav2vec2", "H-Codec 1.5: states 11, 14 and 16", "facebook/wav2vec2-large-xlsr-53", (11, 14, 16)),
        Recipe("wavlm", "UniSE: all hidden states, not compressed", "microsoft/wavlm-base-plus", compress=False),
    )
}


def get_recipe(name: str) -> Recipe:
    """The recipe of that name; ValueError lists the known names."""
    if name not in RECIPES:
        raise UserError(f"feature recipe {name!r} is not known; choose one of {', '.join(sorted(RECIPES))}")
    return RECIPES[name]

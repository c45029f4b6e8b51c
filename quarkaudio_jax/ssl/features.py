"""Recipes of SSL features, and their extraction: (B, S) -> (B, S / hop, D) float32."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from quarkaudio_jax.errors import UserError
from quarkaudio_jax.nn.mel import log_mel
from quarkaudio_jax.nn.resample import resample
from quarkaudio_jax.nn.stft import stft
from quarkaudio_jax.ssl.model import SSLConfig, SSLEncoder
from quarkaudio_jax.types import rescale

SSL_RATE, SSL_HOP, SSL_MARGIN = 16000, 320, 160
"""Of all SSL models here: sample rate in Hz, samples per frame, zero padding on both sides of a wave."""


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How features are computed.

    hub: Hugging Face model whose hidden states are averaged, or None. layers: the hidden states (empty: all, including
    the input of the first layer). compress: apply sign(x) |x|^0.3. stored: features are part of the data. padded: the wave
    gets SSL_MARGIN zeros on both sides, so that there is a frame for every hop. normalize: the wave is scaled to mean 0 and
    variance 1, as transformers' feature extractors do.
    """

    name: str
    about: str
    hub: str | None = None
    layers: tuple[int, ...] = ()
    compress: bool = True
    stored: bool = False
    padded: bool = True
    normalize: bool = False


NEIGHBORS = 3
"""Frames that a mel feature concatenates: the previous, the current and the next."""


def mel_features(wave_BxS: jax.Array, sample_rate: int, hop: int, dim: int) -> jax.Array:
    """Log mel of three neighboring frames, a substitute for SSL features without weights or learned semantics.

    dim / 3 mel bands over a window of 4096 samples at 48 kHz (85 ms), concatenated with those of the previous and the
    next frame; scaled to about unit variance.
    """
    if dim % NEIGHBORS:
        raise UserError(f"mel features: width {dim} is not a multiple of {NEIGHBORS}")
    n_fft = max(4096 * sample_rate // 48000, hop)
    pad, length = n_fft - hop, wave_BxS.shape[1] // hop
    # An additional frame of silence on each side is the neighbor of the first and the last frame.
    spectrum = stft(jnp.pad(wave_BxS, ((0, 0), (pad // 2 + hop, pad - pad // 2 + hop))), n_fft, hop)
    log_BxTxM = (log_mel(spectrum, sample_rate, n_fft, dim // NEIGHBORS) + 2.0) / 1.5
    return jnp.concatenate([log_BxTxM[:, i : i + length] for i in range(NEIGHBORS)], axis=-1)


def average_states(states_NxBxTxD: jax.Array, recipe: Recipe) -> jax.Array:
    """Averages the recipe's hidden states; if compressed, sign(0) is -1, as in upstream code."""
    selected = states_NxBxTxD[jnp.asarray(recipe.layers)] if recipe.layers else states_NxBxTxD
    x = selected.mean(0)
    return compress(x) if recipe.compress else x


def compress(x: jax.Array) -> jax.Array:
    """sign(x) |x|^0.3, with a gradient of 0 at 0."""
    magnitude = jnp.where(x == 0, 0.0, jnp.where(x == 0, 1.0, jnp.abs(x)) ** 0.3)
    return jnp.where(x > 0, 1.0, -1.0) * magnitude


def normalized(wave_BxS: jax.Array, lengths_B: jax.Array | None = None) -> jax.Array:
    """Waves scaled to mean 0 and variance 1 over their valid samples, 0 after them."""
    size = wave_BxS.shape[1]
    valid = jnp.arange(size) < (jnp.full(len(wave_BxS), size) if lengths_B is None else lengths_B)[:, None]
    mean = wave_BxS.mean(1, keepdims=True, where=valid)
    variance = wave_BxS.var(1, keepdims=True, where=valid)
    return jnp.where(valid, (wave_BxS - mean) / jnp.sqrt(variance + 1e-7), 0.0)


@dataclasses.dataclass(frozen=True)
class Extractor:
    """A recipe with its SSL model, if it has one.

    params, cfg: weights and configuration of the model. model: its hub name and checksum.
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
        """Whether features are part of the data instead of computed."""
        return self.recipe.stored

    def check(self, sample_rate: int, hop: int, dim: int) -> None:
        """Raises UserError unless features have frames of `hop` samples and width `dim`."""
        if self.stored or self.recipe.hub is None:
            return
        if not self.recipe.padded:
            raise UserError(f"features {self.name!r} have no frame for every hop; only BiCodec uses them")
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
        """Features (B, S // hop, dim) of waves (B, S).

        params: `self.params`, passed as an argument so that they are not constants of the compiled program. lengths_B:
        valid samples, multiples of hop; later samples must be 0.
        """
        self.check(sample_rate, hop, dim)
        if self.stored:
            raise UserError(f"features {self.name!r} come with the data and can't be computed")
        if self.recipe.hub is None:
            return mel_features(wave_BxS, sample_rate, hop, dim)
        wave = resample(wave_BxS, sample_rate, SSL_RATE)
        if lengths_B is not None:
            lengths_B = rescale(lengths_B, sample_rate, SSL_RATE, "up")
            # Removes the ringing of the resampling filter after an item's end.
            wave = jnp.where(jnp.arange(wave.shape[1]) < lengths_B[:, None], wave, 0.0)
        return self.states(params, wave, lengths_B)

    def states(self, params: Any, wave_BxS: jax.Array, lengths_B: jax.Array | None = None) -> jax.Array:
        """The averaged hidden states (B, T, D) of waves at SSL_RATE.

        lengths_B: valid samples; later samples must be 0, and frames after `cfg.num_frames` of a length are undefined.
        """
        if self.recipe.normalize:
            wave_BxS = normalized(wave_BxS, lengths_B)
        if self.recipe.padded:
            wave_BxS = jnp.pad(wave_BxS, ((0, 0), (SSL_MARGIN, SSL_MARGIN)))
            lengths_B = None if lengths_B is None else lengths_B + 2 * SSL_MARGIN
        assert self.cfg is not None
        states: Any = SSLEncoder(self.cfg).apply({"params": params}, wave_BxS, lengths_B)
        return average_states(states, self.recipe)


RECIPES = {
    r.name: r
    for r in (
        Recipe("mel", "log mel spectrogram, without weights"),
        Recipe("precomputed", "arrays in the data (the field `features` of each example)", stored=True),
        Recipe("hubert", "H-Codec 1.0 and 2.0: all hidden states", "bosonai/hubert_base"),
        Recipe("wav2vec2", "H-Codec 1.5: states 11, 14 and 16", "facebook/wav2vec2-large-xlsr-53", (11, 14, 16)),
        Recipe(
            *("xlsr", "BiCodec: states 11, 14 and 16 of the normalized wave, neither padded nor compressed"),
            *("facebook/wav2vec2-large-xlsr-53", (11, 14, 16)),
            compress=False,
            padded=False,
            normalize=True,
        ),
        Recipe("wavlm", "UniSE: all hidden states, not compressed", "microsoft/wavlm-base-plus", compress=False),
    )
}
"""Name -> recipe."""


def get_recipe(name: str) -> Recipe:
    """The recipe of that name; UserError lists the known names."""
    if name not in RECIPES:
        raise UserError(f"feature recipe {name!r} is not known; choose one of {', '.join(sorted(RECIPES))}")
    return RECIPES[name]

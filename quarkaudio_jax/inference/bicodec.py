"""BiCodec: waves to tokens of the speaker and of the content, and back.

codec = load_bicodec("Spark-TTS-0.5B")      # the folder with BiCodec and wav2vec2-large-xlsr-53
tokens = codec.encode(wave, sample_rate)    # wave: (S,) or (B, S) floats in [-1, 1]
wave = codec.decode(tokens)                 # a Wave
"""

import dataclasses
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from quarkaudio_jax.codec import inputs
from quarkaudio_jax.codec.bicodec.model import BiCodec, BiCodecConfig
from quarkaudio_jax.errors import UserError
from quarkaudio_jax.io.transforms import resample, wrap_pad
from quarkaudio_jax.ssl.features import SSL_HOP, SSL_RATE, Extractor
from quarkaudio_jax.types import Array, Wave
from quarkaudio_jax.weights.record import checksum
from quarkaudio_jax.weights.saved_bicodec import read_bicodec, ssl_folder, write_bicodec
from quarkaudio_jax.weights.ssl import load_extractor

RECIPE = "xlsr"
"""Recipe of BiCodec's SSL features."""


@dataclasses.dataclass(frozen=True)
class BiCodecTokens:
    """Tokens of a batch, int32 from 0.

    globals_BxN: of the speaker, a fixed number. semantic_BxT: of the content, one per frame. lengths_B: valid frames of
    each item.
    """

    globals_BxN: Array
    semantic_BxT: Array
    lengths_B: Array


def reference_clip(cfg: BiCodecConfig, wave_S: np.ndarray) -> np.ndarray:
    """The clip that global tokens are computed from: the first 6 s of a recording, repeated if it is shorter."""
    return wrap_pad(wave_S, cfg.reference_samples)


class BiCodecModel:
    """BiCodec with its weights and its SSL model; see `load_bicodec`. Compiled once for every length of its inputs."""

    def __init__(self, cfg: BiCodecConfig, params: Any, extractor: Extractor):
        if extractor.recipe.name != RECIPE or extractor.cfg is None or extractor.cfg.dim != cfg.feature_dim:
            raise UserError(f"BiCodec needs features {RECIPE!r} of width {cfg.feature_dim}: name another SSL model")
        if (cfg.sample_rate, cfg.hop) != (SSL_RATE, SSL_HOP):
            raise UserError(f"BiCodec of {cfg.sample_rate} Hz and {cfg.hop} samples a token is not supported")
        self.cfg, self.extractor, self.params = cfg, extractor, jax.device_put(params)
        self._codec = BiCodec(cfg)
        self._ssl_params = jax.device_put(extractor.params)
        self._encode = jax.jit(self._compute)
        self._decode = jax.jit(lambda params, *tokens: self._codec.apply({"params": params}, *tokens, method="decode"))

    @property
    def name(self) -> str:
        """Name of the codec."""
        return self.cfg.name

    @property
    def sample_rate(self) -> int:
        """Sample rate of input and output in Hz."""
        return self.cfg.sample_rate

    @property
    def codebook_size(self) -> tuple[int, int]:
        """Numbers of global and of semantic tokens to choose from."""
        return int(np.prod(self.cfg.speaker.levels)), self.cfg.codebook_size

    def fingerprint(self) -> int:
        """CRC-32 of all weights as float32, in the order of their names."""
        return checksum(self.params)

    def save_pretrained(self, folder: str | os.PathLike) -> pathlib.Path:
        """Writes config.yaml and model.safetensors, which `load_bicodec` and the public code read."""
        return write_bicodec(folder, self.cfg, jax.device_get(self.params))

    def _compute(
        self, params: Any, ssl_params: Any, wave_BxS: jax.Array, lengths_B: jax.Array, reference_BxS: jax.Array
    ):
        assert self.extractor.cfg is not None
        features = self.extractor.states(ssl_params, wave_BxS, lengths_B)
        mask = jnp.arange(features.shape[1]) < self.extractor.cfg.num_frames(lengths_B)[:, None]
        return self._codec.apply({"params": params}, features, reference_BxS, mask, method="encode")

    def encode(
        self,
        wave: Wave | Array,
        sample_rate: int | None = None,
        lengths: Sequence[int] | np.ndarray | None = None,
        *,
        reference: tuple[Array, int] | None = None,
    ) -> BiCodecTokens:
        """Encodes a wave (S,) or a batch (B, S) of floats in [-1, 1].

        As SSL models of wav2vec 2.0 do without padding, it gives one token less than there are frames of 20 ms.

        Args:
            wave: the recording or recordings.
            sample_rate: of `wave` in Hz (default: the codec's); other rates are resampled.
            lengths: valid samples of each item.
            reference: (samples (S,), rate in Hz) that the global tokens of all items describe; by default each item's own
                beginning.
        """
        items, rate = inputs.check_waves(wave, sample_rate, lengths, self.sample_rate)
        items = [resample(x, rate, self.sample_rate) for x in items]
        if reference is None:
            clips = [reference_clip(self.cfg, x) for x in items]
        else:
            samples, rate = inputs.check_pair(reference, "reference")
            samples = resample(inputs.check_wave(samples, "reference"), inputs.as_rate(rate), self.sample_rate)
            clips = [reference_clip(self.cfg, samples)] * len(items)
        assert self.extractor.cfg is not None
        counts = np.asarray([len(x) for x in items], np.int32)
        frames = self.extractor.cfg.num_frames(counts)
        if frames.min() < 1:
            raise UserError(f"a recording has {counts.min()} samples at {self.sample_rate} Hz, too few for one token")
        batch = np.stack([np.pad(x, (0, counts.max() - len(x))) for x in items])
        found = self._encode(self.params, self._ssl_params, batch, counts, np.stack(clips))
        globals_BxN, semantic = map(np.asarray, found)
        return BiCodecTokens(globals_BxN, semantic, frames)

    def decode(self, tokens: BiCodecTokens) -> Wave:
        """Decodes tokens to a wave of `cfg.hop` samples for each semantic token; UserError for ids that do not exist."""
        globals_BxN, semantic = np.asarray(tokens.globals_BxN), np.asarray(tokens.semantic_BxT)
        lengths_B = np.asarray(tokens.lengths_B)
        valid = np.arange(semantic.shape[1]) < lengths_B[:, None]
        semantic = np.where(valid, semantic, 0)
        for what, ids, size in zip(("global", "semantic"), (globals_BxN, semantic), self.codebook_size, strict=True):
            if ids.min() < 0 or ids.max() >= size:
                raise UserError(
                    f"{what} tokens reach from {ids.min()} to {ids.max()}; they should be from 0 to {size - 1}"
                )
        if globals_BxN.shape[1:] != (self.cfg.speaker.num_tokens,):
            raise UserError(f"{globals_BxN.shape[1:]} global tokens; there should be {self.cfg.speaker.num_tokens}")
        wave = np.asarray(self._decode(self.params, globals_BxN, semantic, valid))
        samples = np.where(np.repeat(valid, self.cfg.hop, axis=1), wave, 0.0).astype(np.float32)
        return Wave(samples, self.sample_rate, (lengths_B * self.cfg.hop).astype(np.int32))


def load_bicodec(source: str | os.PathLike, features: str | os.PathLike = "") -> BiCodecModel:
    """Loads BiCodec.

    Args:
        source: the folder with config.yaml and model.safetensors, the folder of Spark-TTS, or a name on the Hugging Face hub
            such as SparkAudio/Spark-TTS-0.5B:BiCodec. The published weights forbid commercial use.
        features: folder or hub name of wav2vec 2.0 xlsr-53; by default the folder wav2vec2-large-xlsr-53 beside BiCodec, else
            the environment variable QUARKAUDIO_XLSR, else the Hugging Face cache.
    """
    cfg, params = read_bicodec(source)
    return BiCodecModel(cfg, params, load_extractor(RECIPE, ssl_folder(source, features)))

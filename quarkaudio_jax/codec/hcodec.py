"""The wiring that every H-Codec shares: two encoders, two residual VQs, two decoders.

A frozen `HCodecConfig` fills the slots; the classes that build them are looked up by the
type of the slot's configuration. The codec never computes SSL features: they are an argument.
"""

import dataclasses
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from quarkaudio_jax.codec.decoder import SpectralDecoder, SpectralDecoderConfig
from quarkaudio_jax.codec.quantize import Quantized, QuantizerConfig, ResidualVQ
from quarkaudio_jax.codec.semantic import SemanticConfig, SemanticDecoder, SemanticEncoder
from quarkaudio_jax.codec.spectral import SpectralEncoder, SpectralEncoderConfig
from quarkaudio_jax.types import Codes, Wave, ceil_div

SLOTS = {SpectralEncoderConfig: SpectralEncoder, SpectralDecoderConfig: SpectralDecoder}

jax.tree_util.register_dataclass(Wave, ["samples_BxS", "lengths_B"], ["sample_rate"])
jax.tree_util.register_dataclass(
    Codes, ["acoustic_BxTxK", "semantic_BxTxK", "lengths_B", "durations_BxT"], ["frame_rate"]
)


@dataclasses.dataclass(frozen=True)
class HCodecConfig:
    """A member of the family. sample_rate in Hz; the quantisers and the semantic branch share the frame rate."""

    name: str
    sample_rate: int
    encoder: SpectralEncoderConfig
    semantic: SemanticConfig
    acoustic_quantizer: QuantizerConfig
    semantic_quantizer: QuantizerConfig
    decoder: SpectralDecoderConfig

    @property
    def frame_hop(self) -> int:
        """Samples per code frame."""
        return self.encoder.hop * self.encoder.stride

    @property
    def feature_hop(self) -> int:
        """Samples per SSL feature frame."""
        return self.frame_hop // self.semantic.stride

    @property
    def frame_rate(self) -> float:
        """Code frames a second."""
        return self.sample_rate / self.frame_hop

    @property
    def bits_per_frame(self) -> int:
        """Bits that one frame of codes takes, packed."""
        return sum(
            q.num_codebooks * (q.codebook_size - 1).bit_length()
            for q in (self.acoustic_quantizer, self.semantic_quantizer)
        )

    @property
    def bitrate(self) -> float:
        """Bits a second of the codes alone."""
        return self.bits_per_frame * self.frame_rate

    def num_frames(self, num_samples):
        """Code frames that hold `num_samples` samples (an int or an array)."""
        return ceil_div(num_samples, self.frame_hop)


class Embeddings(NamedTuple):
    """Encoder outputs before quantisation, (B, T, D) float32, and the valid frames (B, T) or None."""

    acoustic_BxTxD: jax.Array
    semantic_BxTxD: jax.Array
    mask_BxT: jax.Array | None


class TrainOutputs(NamedTuple):
    """What a training pass gives the losses."""

    wave_BxS: jax.Array
    features_BxTxD: jax.Array
    acoustic: Quantized
    semantic: Quantized


class HCodec(nn.Module):
    """A codec of the family; apply one of its methods, for example `codec.apply(v, wave, feats, method="encode")`.

    Waves are (B, S) float32 with S a multiple of `cfg.frame_hop` (zero-pad the end), features
    (B, S / cfg.feature_hop, D). `lengths_B` are valid samples; what an item gives does not
    depend on the padding behind it. `scan`: see `nn.stack`.
    """

    cfg: HCodecConfig
    dtype: Any = jnp.float32
    scan: bool = True
    remat: str = "none"

    def setup(self):
        cfg = self.cfg
        deep = dict(dtype=self.dtype, scan=self.scan, remat=self.remat)
        self.encoder = SLOTS[type(cfg.encoder)](cfg.encoder, **deep)
        self.decoder = SLOTS[type(cfg.decoder)](cfg.decoder, **deep)
        self.semantic_encoder = SemanticEncoder(cfg.semantic, self.dtype)
        self.semantic_decoder = SemanticDecoder(cfg.semantic, self.dtype)
        self.quantizer = ResidualVQ(cfg.acoustic_quantizer)
        self.semantic_quantizer = ResidualVQ(cfg.semantic_quantizer)

    def embed(self, wave_BxS, features_BxTxD, lengths_B=None) -> Embeddings:
        """Both encoders."""
        cfg = self.cfg
        if wave_BxS.shape[1] % cfg.frame_hop:
            raise ValueError(f"wave has {wave_BxS.shape[1]} samples, not a multiple of {cfg.frame_hop}: pad its end")
        num_frames = wave_BxS.shape[1] // cfg.frame_hop
        if features_BxTxD.shape[1:] != (num_frames * cfg.semantic.stride, cfg.semantic.feature_dim):
            raise ValueError(
                f"features are {features_BxTxD.shape[1:]} (frames, width) where {num_frames * cfg.semantic.stride} "
                f"frames of width {cfg.semantic.feature_dim} belong to {wave_BxS.shape[1]} samples"
            )
        mask = mask_fine = None
        if lengths_B is not None:
            mask = jnp.arange(num_frames) < cfg.num_frames(jnp.asarray(lengths_B))[:, None]
            mask_fine = jnp.repeat(mask, cfg.encoder.stride, axis=1)
            wave_BxS = jnp.where(jnp.arange(wave_BxS.shape[1]) < jnp.asarray(lengths_B)[:, None], wave_BxS, 0.0)
        acoustic = self.encoder(wave_BxS, mask_fine)
        mask_features = None if mask is None else jnp.repeat(mask, cfg.semantic.stride, axis=1)
        return Embeddings(acoustic, self.semantic_encoder(features_BxTxD, mask_features), mask)

    def encode(self, wave_BxS, features_BxTxD, lengths_B=None) -> Codes:
        """Wave and features to codes; frames behind an item's end hold code 0."""
        acoustic, semantic, mask = self.embed(wave_BxS, features_BxTxD, lengths_B)
        codes = [self.quantizer.encode(acoustic), self.semantic_quantizer.encode(semantic)]
        lengths = None
        if mask is not None:
            codes = [jnp.where(mask[..., None], c, 0) for c in codes]
            lengths = mask.sum(-1, dtype=jnp.int32)
        return Codes(codes[0], codes[1], self.cfg.frame_rate, lengths)

    def dequantize(self, codes: Codes) -> tuple[jax.Array, jax.Array]:
        """Sums of the acoustic and of the semantic code vectors, each (B, T, D)."""
        return self.quantizer.decode(codes.acoustic_BxTxK), self.semantic_quantizer.decode(codes.semantic_BxTxK)

    def synthesize(self, acoustic_BxTxD, semantic_BxTxD, mask_BxT=None) -> jax.Array:
        """Code vectors to a wave, (B, T * frame_hop)."""
        return self.decoder(jnp.concatenate([acoustic_BxTxD, semantic_BxTxD], axis=-1), mask_BxT)

    def decode(self, codes: Codes) -> jax.Array:
        """Codes to a wave, (B, T * frame_hop); samples behind an item's end are 0."""
        mask = None
        if codes.lengths_B is not None:
            mask = jnp.arange(codes.acoustic_BxTxK.shape[1]) < jnp.asarray(codes.lengths_B)[:, None]
        wave = self.synthesize(*self.dequantize(codes), mask)
        return wave if mask is None else jnp.where(jnp.repeat(mask, self.cfg.frame_hop, axis=1), wave, 0.0)

    def predict_features(self, semantic_BxTxD, mask_BxT=None) -> jax.Array:
        """Semantic code vectors to SSL features, (B, T * stride, D)."""
        return self.semantic_decoder(semantic_BxTxD, mask_BxT)

    def fit_codebooks(self, wave_BxS, features_BxTxD, lengths_B=None) -> None:
        """k-means initialisation of both quantisers from a batch (mutable `codebooks`, rng `quantizer`)."""
        acoustic, semantic, mask = self.embed(wave_BxS, features_BxTxD, lengths_B)
        self.quantizer.fit(acoustic, mask)
        self.semantic_quantizer.fit(semantic, mask)

    def train(self, wave_BxS, features_BxTxD, lengths_B=None) -> TrainOutputs:
        """A training pass, updating the codebooks (mutable `codebooks`, rng `quantizer`)."""
        acoustic, semantic, mask = self.embed(wave_BxS, features_BxTxD, lengths_B)
        acoustic, semantic = self.quantizer.update(acoustic, mask), self.semantic_quantizer.update(semantic, mask)
        wave = self.synthesize(acoustic.quantized_BxTxD, semantic.quantized_BxTxD, mask)
        return TrainOutputs(wave, self.predict_features(semantic.quantized_BxTxD, mask), acoustic, semantic)

    def __call__(self, wave_BxS, features_BxTxD, lengths_B=None) -> TrainOutputs:
        """Reconstruction in evaluation mode (initialises every parameter)."""
        acoustic, semantic, mask = self.embed(wave_BxS, features_BxTxD, lengths_B)
        codes = Codes(self.quantizer.encode(acoustic), self.semantic_quantizer.encode(semantic), self.cfg.frame_rate)
        vectors = self.dequantize(codes)
        zeros = [jnp.zeros(q.num_codebooks) for q in (self.cfg.acoustic_quantizer, self.cfg.semantic_quantizer)]
        streams = [
            Quantized(v, c, z)
            for v, c, z in zip(vectors, (codes.acoustic_BxTxK, codes.semantic_BxTxK), zeros, strict=True)
        ]
        return TrainOutputs(self.synthesize(*vectors, mask), self.predict_features(vectors[1], mask), *streams)

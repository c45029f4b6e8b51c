"""The architecture of all H-Codecs: two encoders, two residual VQs, two decoders, and optional grouping of frames.

An `HCodecConfig` chooses the modules by the types of their configurations. SSL features are an argument.
"""

import dataclasses
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from quarkaudio_jax.codec.aggregate import (
    AggregationConfig,
    Groups,
    QueryAggregator,
    expand,
    group_frames,
    neighbor_similarity,
    segments_of,
)
from quarkaudio_jax.codec.decoder import SpectralDecoder, SpectralDecoderConfig
from quarkaudio_jax.codec.quantize import Quantized, QuantizerConfig, QuantizerRules, ResidualVQ
from quarkaudio_jax.codec.seanet import SeanetEncoder, SeanetEncoderConfig
from quarkaudio_jax.codec.semantic import SemanticConfig, SemanticDecoder, SemanticEncoder
from quarkaudio_jax.codec.spectral import SpectralEncoder, SpectralEncoderConfig
from quarkaudio_jax.nn.mimi import MimiTransformer
from quarkaudio_jax.types import Codes, Wave, ceil_div

MODULES = {
    SeanetEncoderConfig: SeanetEncoder,
    SpectralEncoderConfig: SpectralEncoder,
    SpectralDecoderConfig: SpectralDecoder,
}
"""Module class of each configuration class."""

jax.tree_util.register_dataclass(Wave, ["samples_BxS", "lengths_B"], ["sample_rate"])
jax.tree_util.register_dataclass(
    Codes, ["acoustic_BxTxK", "semantic_BxTxK", "lengths_B", "durations_BxT"], ["frame_rate"]
)


@dataclasses.dataclass(frozen=True)
class HCodecConfig:
    """Configuration of an H-Codec.

    sample_rate: Hz. The quantizers and the semantic branch share the frame rate. aggregation: grouping of frames before
    quantization; None quantizes every frame.
    """

    name: str
    sample_rate: int
    encoder: SpectralEncoderConfig | SeanetEncoderConfig
    semantic: SemanticConfig
    acoustic_quantizer: QuantizerConfig
    semantic_quantizer: QuantizerConfig
    decoder: SpectralDecoderConfig
    aggregation: AggregationConfig | None = None

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
        """Code frames per second, before grouping."""
        return self.sample_rate / self.frame_hop

    @property
    def duration_bits(self) -> int:
        """Bits of a group's duration; 0 without grouping."""
        return 0 if self.aggregation is None else (self.aggregation.max_group - 1).bit_length()

    @property
    def bits_per_frame(self) -> int:
        """Bits of one frame, or of one group of frames."""
        quantizers = (self.acoustic_quantizer, self.semantic_quantizer)
        return self.duration_bits + sum(q.num_codebooks * (q.codebook_size - 1).bit_length() for q in quantizers)

    @property
    def bitrate(self) -> float:
        """Bits per second of the codes; with grouping the maximum, one group per frame."""
        return self.bits_per_frame * self.frame_rate

    def num_frames(self, num_samples):
        """Code frames that hold `num_samples` samples (an int or an array)."""
        return ceil_div(num_samples, self.frame_hop)


class Embeddings(NamedTuple):
    """Encoder outputs before quantization, (B, T, D) float32.

    mask_BxT: valid positions, or None. groups: None without grouping; with it, T counts slots of groups. frame_mask_BxT:
    valid frames.
    """

    acoustic_BxTxD: jax.Array
    semantic_BxTxD: jax.Array
    mask_BxT: jax.Array | None
    groups: Groups | None = None
    frame_mask_BxT: jax.Array | None = None


class TrainOutputs(NamedTuple):
    """Outputs of a training pass, from which losses are computed."""

    wave_BxS: jax.Array
    features_BxTxD: jax.Array
    acoustic: Quantized
    semantic: Quantized


def expand_codes(codes: Codes, num_frames: int | None = None) -> Codes:
    """Repeats the codes of groups for each of their frames; codes without durations are returned unchanged.

    num_frames: frames of the result, at least those of the longest item; required under jit.
    """
    if codes.durations_BxT is None:
        return codes
    durations = jnp.asarray(codes.durations_BxT)
    lengths = durations.sum(1, dtype=jnp.int32)
    num_frames = int(lengths.max()) if num_frames is None else num_frames
    segment = segments_of(durations, num_frames)
    acoustic, semantic = (expand(jnp.asarray(c), segment) for c in (codes.acoustic_BxTxK, codes.semantic_BxTxK))
    return Codes(acoustic, semantic, codes.frame_rate, lengths)


class HCodec(nn.Module):
    """An H-Codec; apply one of its methods, for example `codec.apply(v, wave, feats, method="encode")`.

    Waves are (B, S) float32 with S a multiple of `cfg.frame_hop` (zero-pad the end), features (B, S / cfg.feature_hop, D).
    lengths_B: valid samples; an item's results do not depend on its padding. scan, remat: see `nn.stack.Stack`.

    With grouping, `threshold` (a number, or (B,)) and `max_group` override the configuration, and `starts_BxT` forces
    groups to start at those frames.
    """

    cfg: HCodecConfig
    dtype: Any = jnp.float32
    scan: bool = True
    remat: str = "none"

    def setup(self):
        """Creates the submodules and parameters."""
        cfg = self.cfg
        deep = dict(dtype=self.dtype, scan=self.scan, remat=self.remat)
        self.encoder = MODULES[type(cfg.encoder)](cfg.encoder, **deep)
        self.decoder = MODULES[type(cfg.decoder)](cfg.decoder, **deep)
        self.semantic_encoder = SemanticEncoder(cfg.semantic, self.dtype)
        self.semantic_decoder = SemanticDecoder(cfg.semantic, self.dtype)
        self.quantizer = ResidualVQ(cfg.acoustic_quantizer)
        self.semantic_quantizer = ResidualVQ(cfg.semantic_quantizer)
        if cfg.aggregation is not None:
            self.acoustic_aggregator = QueryAggregator(cfg.aggregation, **deep)
            self.semantic_aggregator = QueryAggregator(cfg.aggregation, **deep)
            mimi = cfg.aggregation.bottleneck
            shape = (mimi.dim, mimi.dim, mimi.num_layers, mimi.num_heads, mimi.hidden, mimi.layer_scale)
            self.bottleneck = MimiTransformer(*shape, **deep)

    def encode_frames(self, wave_BxS, features_BxTxD, lengths_B=None) -> Embeddings:
        """Outputs of both encoders, before grouping."""
        cfg = self.cfg
        if wave_BxS.shape[1] % cfg.frame_hop:
            raise ValueError(f"wave has {wave_BxS.shape[1]} samples, not a multiple of {cfg.frame_hop}: pad its end")
        num_frames = wave_BxS.shape[1] // cfg.frame_hop
        if features_BxTxD.shape[1:] != (num_frames * cfg.semantic.stride, cfg.semantic.feature_dim):
            raise ValueError(
                f"features are {features_BxTxD.shape[1:]} (frames, width) where {num_frames * cfg.semantic.stride} "
                f"frames of width {cfg.semantic.feature_dim} belong to {wave_BxS.shape[1]} samples"
            )
        mask = mask_features = None
        if lengths_B is not None:
            mask = jnp.arange(num_frames) < cfg.num_frames(jnp.asarray(lengths_B))[:, None]
            mask_features = jnp.repeat(mask, cfg.semantic.stride, axis=1)
            wave_BxS = jnp.where(jnp.arange(wave_BxS.shape[1]) < jnp.asarray(lengths_B)[:, None], wave_BxS, 0.0)
        acoustic = self.encoder(wave_BxS, mask)
        return Embeddings(acoustic, self.semantic_encoder(features_BxTxD, mask_features), mask, None, mask)

    def embed(
        self, wave_BxS, features_BxTxD, lengths_B=None, threshold=None, max_group=None, starts_BxT=None
    ) -> Embeddings:
        """The vectors to quantize: encoder frames, or groups of them."""
        cfg = self.cfg.aggregation
        frames = self.encode_frames(wave_BxS, features_BxTxD, lengths_B)
        if cfg is None:
            if threshold is not None or max_group is not None:
                raise ValueError(f"{self.cfg.name} has a fixed frame rate: it takes no threshold or group length")
            return frames
        groups = group_frames(
            neighbor_similarity(frames.semantic_BxTxD),
            cfg.threshold if threshold is None else threshold,
            cfg.max_group if max_group is None else max_group,
            frames.mask_BxT,
            starts_BxT,
        )
        acoustic = self.acoustic_aggregator(frames.acoustic_BxTxD, groups, frames.mask_BxT)
        semantic = self.semantic_aggregator(frames.semantic_BxTxD, groups, frames.mask_BxT)
        return Embeddings(acoustic, semantic, groups.mask_BxG, groups, frames.mask_BxT)

    def encode(
        self, wave_BxS, features_BxTxD, lengths_B=None, threshold=None, max_group=None, starts_BxT=None
    ) -> Codes:
        """Wave and features to codes; frames (or slots of groups) after an item's end hold code 0."""
        return self.quantize(self.embed(wave_BxS, features_BxTxD, lengths_B, threshold, max_group, starts_BxT))

    def quantize(self, emb: Embeddings) -> Codes:
        """Embeddings to codes; see `encode`."""
        codes = [self.quantizer.encode(emb.acoustic_BxTxD), self.semantic_quantizer.encode(emb.semantic_BxTxD)]
        lengths = None
        if emb.mask_BxT is not None:
            codes = [jnp.where(emb.mask_BxT[..., None], c, 0) for c in codes]
            lengths = emb.mask_BxT.sum(-1, dtype=jnp.int32)
        durations = None if emb.groups is None else emb.groups.durations_BxG
        return Codes(codes[0], codes[1], self.cfg.frame_rate, lengths, durations)

    def dequantize(self, codes: Codes) -> tuple[jax.Array, jax.Array]:
        """Sums of the acoustic and of the semantic code vectors, each (B, T, D)."""
        return self.quantizer.decode(codes.acoustic_BxTxK), self.semantic_quantizer.decode(codes.semantic_BxTxK)

    def concat_streams(self, acoustic_BxTxD, semantic_BxTxD, mask_BxT=None) -> jax.Array:
        """Concatenates the streams' code vectors to the decoder's input, and applies the bottleneck if there is one."""
        x = jnp.concatenate([acoustic_BxTxD, semantic_BxTxD], axis=-1)
        return x if self.cfg.aggregation is None else self.bottleneck(x, mask_BxT)

    def synthesize(self, acoustic_BxTxD, semantic_BxTxD, mask_BxT=None) -> jax.Array:
        """Code vectors of frames to a wave, (B, T * frame_hop)."""
        return self.decoder(self.concat_streams(acoustic_BxTxD, semantic_BxTxD, mask_BxT), mask_BxT)

    def decode(self, codes: Codes, num_frames: int | None = None) -> jax.Array:
        """Codes to a wave, (B, T * frame_hop); samples after an item's end are 0. num_frames: see `expand_codes`."""
        codes = expand_codes(codes, num_frames)
        mask = None
        if codes.lengths_B is not None:
            mask = jnp.arange(codes.acoustic_BxTxK.shape[1]) < jnp.asarray(codes.lengths_B)[:, None]
        wave = self.synthesize(*self.dequantize(codes), mask)
        return wave if mask is None else jnp.where(jnp.repeat(mask, self.cfg.frame_hop, axis=1), wave, 0.0)

    def predict_features(self, semantic_BxTxD, mask_BxT=None) -> jax.Array:
        """Semantic code vectors of frames to SSL features, (B, T * stride, D)."""
        return self.semantic_decoder(semantic_BxTxD, mask_BxT)

    def _training_threshold(self, batch: int):
        cfg = self.cfg.aggregation
        if cfg is None or cfg.train_thresholds is None:
            return None
        low, high = cfg.train_thresholds
        return jax.random.uniform(self.make_rng("codec"), (batch,), jnp.float32, minval=low, maxval=high)

    def _reconstruct(self, emb: Embeddings, acoustic: Quantized, semantic: Quantized) -> TrainOutputs:
        acoustic_BxTxD, semantic_BxTxD = acoustic.quantized_BxTxD, semantic.quantized_BxTxD
        if emb.groups is not None:
            acoustic_BxTxD, semantic_BxTxD = (
                expand(x, emb.groups.segment_BxT) for x in (acoustic_BxTxD, semantic_BxTxD)
            )
        wave = self.synthesize(acoustic_BxTxD, semantic_BxTxD, emb.frame_mask_BxT)
        return TrainOutputs(wave, self.predict_features(semantic_BxTxD, emb.frame_mask_BxT), acoustic, semantic)

    def init_codebooks(self, wave_BxS, features_BxTxD, lengths_B=None) -> None:
        """k-means initialization of both quantizers from a batch (mutable `codebooks`, rng `codec`)."""
        emb = self.embed(wave_BxS, features_BxTxD, lengths_B, self._training_threshold(len(wave_BxS)))
        self.quantizer.init_codebooks(emb.acoustic_BxTxD, emb.mask_BxT)
        self.semantic_quantizer.init_codebooks(emb.semantic_BxTxD, emb.mask_BxT)

    def train(self, rules: QuantizerRules, wave_BxS, features_BxTxD, lengths_B=None) -> TrainOutputs:
        """A training pass that updates the codebooks (mutable `codebooks`, rng `codec`)."""
        emb = self.embed(wave_BxS, features_BxTxD, lengths_B, self._training_threshold(len(wave_BxS)))
        acoustic = self.quantizer.update(rules, emb.acoustic_BxTxD, emb.mask_BxT)
        return self._reconstruct(emb, acoustic, self.semantic_quantizer.update(rules, emb.semantic_BxTxD, emb.mask_BxT))

    def __call__(self, wave_BxS, features_BxTxD, lengths_B=None) -> TrainOutputs:
        """Reconstruction in evaluation mode; initializes all parameters."""
        emb = self.embed(wave_BxS, features_BxTxD, lengths_B)

        def quantize(quantizer, x_BxTxD):
            codes = quantizer.encode(x_BxTxD)
            return Quantized(quantizer.decode(codes), codes, jnp.zeros(codes.shape[-1], jnp.float32))

        streams = (
            quantize(self.quantizer, emb.acoustic_BxTxD),
            quantize(self.semantic_quantizer, emb.semantic_BxTxD),
        )
        return self._reconstruct(emb, *streams)


def init_variables(codec: HCodec, key: jax.Array) -> dict[str, Any]:
    """Random parameters and codebooks, boxed with logical axis names."""
    cfg = codec.cfg
    wave = jnp.zeros((1, 4 * cfg.frame_hop), jnp.float32)
    features = jnp.zeros((1, 4 * cfg.semantic.stride, cfg.semantic.feature_dim), jnp.float32)
    return dict(codec.init(key, wave, features))

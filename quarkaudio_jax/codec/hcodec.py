"""The architecture of all H-Codecs: encoders, residual VQs and decoders of two streams, or of three for stereo.

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
from quarkaudio_jax.codec.spatial import CHANNELS, SpatialConfig, SpatialMapNet, mid_side
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
    Codes, ["acoustic_BxTxK", "semantic_BxTxK", "lengths_B", "durations_BxT", "spatial_BxTxK"], ["frame_rate"]
)


@dataclasses.dataclass(frozen=True)
class HCodecConfig:
    """Configuration of an H-Codec.

    sample_rate: Hz. The quantizers and the semantic branch share the frame rate. aggregation: grouping of frames before
    quantization; None quantizes every frame. spatial: the third stream of a stereo codec; None is a mono codec.
    """

    name: str
    sample_rate: int
    encoder: SpectralEncoderConfig | SeanetEncoderConfig
    semantic: SemanticConfig
    acoustic_quantizer: QuantizerConfig
    semantic_quantizer: QuantizerConfig
    decoder: SpectralDecoderConfig
    aggregation: AggregationConfig | None = None
    spatial: SpatialConfig | None = None

    def __post_init__(self):
        if self.aggregation is not None and self.spatial is not None:
            raise ValueError(f"{self.name}: frames of three streams can't be grouped")

    @property
    def channels(self) -> int:
        """Channels of a wave."""
        return 1 if self.spatial is None else CHANNELS

    @property
    def can_spatialize(self) -> bool:
        """Whether the codec renders mono codes at a position."""
        return self.spatial is not None and self.spatial.mapping is not None

    @property
    def quantizers(self) -> dict[str, QuantizerConfig]:
        """The quantizer of each stream by its name, in stored order."""
        found = {"acoustic": self.acoustic_quantizer, "semantic": self.semantic_quantizer}
        return found if self.spatial is None else {**found, "spatial": self.spatial.quantizer}

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
        quantizers = self.quantizers.values()
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
    valid frames. spatial_BxTxD: of the third stream, or None.
    """

    acoustic_BxTxD: jax.Array
    semantic_BxTxD: jax.Array
    mask_BxT: jax.Array | None
    groups: Groups | None = None
    frame_mask_BxT: jax.Array | None = None
    spatial_BxTxD: jax.Array | None = None

    @property
    def streams(self) -> tuple[jax.Array, ...]:
        """The embeddings of all streams, in stored order."""
        found = (self.acoustic_BxTxD, self.semantic_BxTxD)
        return found if self.spatial_BxTxD is None else (*found, self.spatial_BxTxD)


class TrainOutputs(NamedTuple):
    """Outputs of a training pass, from which losses are computed.

    wave_BxS: (B, S, 2) of a stereo codec. streams: in stored order. mapped_BxTxD: side vectors that the codec computes from
    the other streams and a position, if it has a `SpatialMapNet`.
    """

    wave_BxS: jax.Array
    features_BxTxD: jax.Array
    streams: tuple[Quantized, ...]
    mapped_BxTxD: jax.Array | None = None


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

    Waves are (B, S) float32, of a stereo codec (B, S, 2), with S a multiple of `cfg.frame_hop` (zero-pad the end), features
    (B, S / cfg.feature_hop, D), of a stereo codec of the mid. lengths_B: valid samples; an item's results do not depend on
    its padding. scan, remat: see `nn.stack.Stack`. position_Bx3: azimuth, elevation (degrees) and distance (m) of the sound,
    for codecs with a `SpatialMapNet`; NaN where unknown.

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
        if cfg.spatial is not None:
            self.spatial_encoder = MODULES[type(cfg.spatial.encoder)](cfg.spatial.encoder, **deep)
            self.spatial_quantizer = ResidualVQ(cfg.spatial.quantizer)
            if cfg.spatial.mapping is not None:
                self.spatial_mapping = SpatialMapNet(cfg.spatial.mapping, self.dtype)
        if cfg.aggregation is not None:
            self.acoustic_aggregator = QueryAggregator(cfg.aggregation, **deep)
            self.semantic_aggregator = QueryAggregator(cfg.aggregation, **deep)
            mimi = cfg.aggregation.bottleneck
            shape = (mimi.dim, mimi.dim, mimi.num_layers, mimi.num_heads, mimi.hidden, mimi.layer_scale)
            self.bottleneck = MimiTransformer(*shape, **deep)

    def _quantizers(self) -> list[ResidualVQ]:
        """The quantizers of all streams, in stored order."""
        return [
            self.quantizer,
            self.semantic_quantizer,
            *([] if self.cfg.spatial is None else [self.spatial_quantizer]),
        ]

    def encode_frames(self, wave_BxS, features_BxTxD, lengths_B=None) -> Embeddings:
        """Outputs of the encoders, before grouping."""
        cfg = self.cfg
        if wave_BxS.shape[2:] != (() if cfg.spatial is None else (CHANNELS,)):
            raise ValueError(f"wave has shape {wave_BxS.shape}, but {cfg.name} has {cfg.channels} channel(s)")
        waves = [wave_BxS] if cfg.spatial is None else mid_side(wave_BxS)
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
            valid_BxS = jnp.arange(wave_BxS.shape[1]) < jnp.asarray(lengths_B)[:, None]
            waves = [jnp.where(valid_BxS, wave, 0.0) for wave in waves]
        spatial = None if cfg.spatial is None else self.spatial_encoder(waves[1], mask)
        semantic = self.semantic_encoder(features_BxTxD, mask_features)
        return Embeddings(self.encoder(waves[0], mask), semantic, mask, None, mask, spatial)

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
        codes = [quantizer.encode(x) for quantizer, x in zip(self._quantizers(), emb.streams, strict=True)]
        lengths = None
        if emb.mask_BxT is not None:
            codes = [jnp.where(emb.mask_BxT[..., None], c, 0) for c in codes]
            lengths = emb.mask_BxT.sum(-1, dtype=jnp.int32)
        durations = None if emb.groups is None else emb.groups.durations_BxG
        return Codes(codes[0], codes[1], self.cfg.frame_rate, lengths, durations, *codes[2:])

    def dequantize(self, codes: Codes) -> tuple[jax.Array, ...]:
        """Sums of the code vectors of each stream that there is, each (B, T, D)."""
        return tuple(q.decode(k) for q, k in zip(self._quantizers(), codes.streams, strict=False))

    def concat_streams(self, acoustic_BxTxD, semantic_BxTxD, mask_BxT=None) -> jax.Array:
        """Concatenates the streams' code vectors to the decoder's input, and applies the bottleneck if there is one."""
        x = jnp.concatenate([acoustic_BxTxD, semantic_BxTxD], axis=-1)
        return x if self.cfg.aggregation is None else self.bottleneck(x, mask_BxT)

    def synthesize(self, acoustic_BxTxD, semantic_BxTxD, mask_BxT=None, spatial_BxTxD=None) -> jax.Array:
        """Code vectors of frames to a wave, (B, T * frame_hop), of a stereo codec (B, T * frame_hop, 2).

        Without spatial vectors, both channels of a stereo codec are the same.
        """
        if spatial_BxTxD is None:
            wave_BxS = self.decoder(self.concat_streams(acoustic_BxTxD, semantic_BxTxD, mask_BxT), mask_BxT)
            return wave_BxS if self.cfg.spatial is None else jnp.stack([wave_BxS, wave_BxS], axis=-1)
        sides = jnp.concatenate([acoustic_BxTxD + spatial_BxTxD, acoustic_BxTxD - spatial_BxTxD])
        mask = None if mask_BxT is None else jnp.concatenate([mask_BxT, mask_BxT])
        both = self.decoder(self.concat_streams(sides, jnp.concatenate([semantic_BxTxD, semantic_BxTxD]), mask), mask)
        return jnp.stack(jnp.split(both, 2), axis=-1)

    def map_side(self, acoustic_BxTxD, semantic_BxTxD, position_Bx3, mask_BxT=None) -> jax.Array:
        """Side vectors of a sound at a position; ValueError for a codec without a `SpatialMapNet`."""
        if not self.cfg.can_spatialize:
            raise ValueError(f"{self.cfg.name} has no mapping of mono to stereo: it takes no position")
        return self.spatial_mapping(acoustic_BxTxD, semantic_BxTxD, position_Bx3, mask_BxT)

    def decode(self, codes: Codes, num_frames: int | None = None, position_Bx3=None) -> jax.Array:
        """Codes to a wave as of `synthesize`; samples after an item's end are 0.

        num_frames: see `expand_codes`. position_Bx3: render there, without the spatial codes.
        """
        codes = expand_codes(codes, num_frames)
        mask = None
        if codes.lengths_B is not None:
            mask = jnp.arange(codes.acoustic_BxTxK.shape[1]) < jnp.asarray(codes.lengths_B)[:, None]
        acoustic, semantic, *rest = self.dequantize(codes)
        spatial = rest[0] if rest else None
        if position_Bx3 is not None:
            spatial = self.map_side(acoustic, semantic, position_Bx3, mask)
        wave = self.synthesize(acoustic, semantic, mask, spatial)
        if mask is None:
            return wave
        valid_BxS = jnp.repeat(mask, self.cfg.frame_hop, axis=1)
        return jnp.where(valid_BxS.reshape(*valid_BxS.shape, *[1] * (wave.ndim - 2)), wave, 0.0)

    def predict_features(self, semantic_BxTxD, mask_BxT=None) -> jax.Array:
        """Semantic code vectors of frames to SSL features, (B, T * stride, D)."""
        return self.semantic_decoder(semantic_BxTxD, mask_BxT)

    def _training_threshold(self, batch: int):
        cfg = self.cfg.aggregation
        if cfg is None or cfg.train_thresholds is None:
            return None
        low, high = cfg.train_thresholds
        return jax.random.uniform(self.make_rng("codec"), (batch,), jnp.float32, minval=low, maxval=high)

    def _reconstruct(self, emb: Embeddings, streams: list[Quantized], position_Bx3) -> TrainOutputs:
        vectors = [stream.quantized_BxTxD for stream in streams]
        if emb.groups is not None:
            vectors = [expand(x, emb.groups.segment_BxT) for x in vectors]
        acoustic, semantic, *spatial = vectors
        mapped = None
        if self.cfg.can_spatialize:
            fixed, fixed_semantic = jax.lax.stop_gradient((acoustic, semantic))
            position = jnp.full((len(acoustic), 3), jnp.nan) if position_Bx3 is None else position_Bx3
            mapped = self.map_side(fixed, fixed_semantic, position, emb.frame_mask_BxT)
        wave = self.synthesize(acoustic, semantic, emb.frame_mask_BxT, *spatial)
        return TrainOutputs(wave, self.predict_features(semantic, emb.frame_mask_BxT), tuple(streams), mapped)

    def init_codebooks(self, wave_BxS, features_BxTxD, lengths_B=None) -> None:
        """k-means initialization of the quantizers from a batch (mutable `codebooks`, rng `codec`)."""
        emb = self.embed(wave_BxS, features_BxTxD, lengths_B, self._training_threshold(len(wave_BxS)))
        for quantizer, x in zip(self._quantizers(), emb.streams, strict=True):
            quantizer.init_codebooks(x, emb.mask_BxT)

    def train(self, rules: QuantizerRules, wave_BxS, features_BxTxD, lengths_B=None, position_Bx3=None) -> TrainOutputs:
        """A training pass that updates the codebooks (mutable `codebooks`, rng `codec`)."""
        emb = self.embed(wave_BxS, features_BxTxD, lengths_B, self._training_threshold(len(wave_BxS)))
        pairs = zip(self._quantizers(), emb.streams, strict=True)
        streams = [quantizer.update(rules, x, emb.mask_BxT) for quantizer, x in pairs]
        return self._reconstruct(emb, streams, position_Bx3)

    def __call__(self, wave_BxS, features_BxTxD, lengths_B=None, position_Bx3=None) -> TrainOutputs:
        """Reconstruction in evaluation mode; initializes all parameters."""
        emb = self.embed(wave_BxS, features_BxTxD, lengths_B)

        def quantize(quantizer, x_BxTxD):
            codes = quantizer.encode(x_BxTxD)
            return Quantized(quantizer.decode(codes), codes, jnp.zeros(codes.shape[-1], jnp.float32))

        pairs = zip(self._quantizers(), emb.streams, strict=True)
        return self._reconstruct(emb, [quantize(quantizer, x) for quantizer, x in pairs], position_Bx3)


def wave_shape(cfg: HCodecConfig, batch: Any, num_samples: int) -> tuple[Any, ...]:
    """Shape of a batch of waves: (B, S), of a stereo codec (B, S, 2)."""
    return (batch, num_samples) if cfg.channels == 1 else (batch, num_samples, cfg.channels)


def init_variables(codec: HCodec, key: jax.Array) -> dict[str, Any]:
    """Random parameters and codebooks, boxed with logical axis names."""
    cfg = codec.cfg
    wave = jnp.zeros(wave_shape(cfg, 1, 4 * cfg.frame_hop), jnp.float32)
    features = jnp.zeros((1, 4 * cfg.semantic.stride, cfg.semantic.feature_dim), jnp.float32)
    return dict(codec.init(key, wave, features))

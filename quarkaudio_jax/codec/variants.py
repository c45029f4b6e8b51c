"""Configurations of the released codecs, and of smaller ones of the same architecture."""

import dataclasses
from typing import Any

from quarkaudio_jax.codec.aggregate import AggregationConfig, MimiConfig
from quarkaudio_jax.codec.decoder import SpectralDecoderConfig
from quarkaudio_jax.codec.hcodec import HCodecConfig
from quarkaudio_jax.codec.quantize import QuantizerConfig
from quarkaudio_jax.codec.seanet import SeanetEncoderConfig
from quarkaudio_jax.codec.semantic import SemanticConfig
from quarkaudio_jax.codec.spatial import SpatialConfig, SpatialMapConfig
from quarkaudio_jax.codec.spectral import SpectralEncoderConfig
from quarkaudio_jax.errors import UserError


def hcodec1(
    name: str,
    *,
    filters: int,
    strides: tuple[int, ...],
    dim: int,
    hidden: int,
    convnext_layers: int,
    transformer_layers: int,
    feature_dim: int,
    semantic_channels: int,
    codebook_size: int = 1024,
    num_heads: int = 8,
    kmeans_iters: int = 50,
    aggregation: AggregationConfig | None = None,
) -> HCodecConfig:
    """Configuration of an H-Codec 1.0 or, with `aggregation`, 1.5: 16 kHz, 25 Hz before grouping, 4 + 4 codebooks.

    The encoder's embedding is 16 * filters wide. strides: of the SEANet; their product is 320.
    """
    latent = 16 * filters
    quantizer = QuantizerConfig(4, codebook_size, latent, kmeans_iters=kmeans_iters)
    return HCodecConfig(
        name=name,
        sample_rate=16000,
        encoder=SeanetEncoderConfig(filters, strides, latent, transformer_layers, num_heads, 4 * latent),
        semantic=SemanticConfig(feature_dim, latent, semantic_channels, (1, 1), (2, 1)),
        acoustic_quantizer=quantizer,
        semantic_quantizer=quantizer,
        decoder=SpectralDecoderConfig(
            dim=dim,
            hidden=hidden,
            n_fft=1280,
            hop=320,
            convnext_layers=convnext_layers,
            transformer_layers=transformer_layers,
            num_heads=num_heads,
            mlp_hidden=4 * dim,
            upsample=2,
            subpixel=True,
        ),
        aggregation=aggregation,
    )


def stereo(cfg: HCodecConfig, name: str, num_codebooks: int, mapping: SpatialMapConfig | None = None) -> HCodecConfig:
    """HCodec-Spatial: a mono codec with a third stream, of an encoder like its own and `num_codebooks` codebooks.

    mapping: of mono to stereo by a position.
    """
    assert isinstance(cfg.encoder, SeanetEncoderConfig)
    quantizer = dataclasses.replace(cfg.acoustic_quantizer, num_codebooks=num_codebooks)
    return dataclasses.replace(cfg, name=name, spatial=SpatialConfig(cfg.encoder, quantizer, mapping))


def hcodec2(
    name: str,
    *,
    dim: int,
    hidden: int,
    latent: int,
    encoder_layers: int,
    decoder_layers: int,
    transformer_layers: int,
    semantic_channels: int,
    num_codebooks: int,
    codebook_size: int,
    strides: tuple[int, ...],
    feature_dim: int = 768,
    kmeans_iters: int = 50,
) -> HCodecConfig:
    """Configuration of an H-Codec 2.0: 48 kHz, spectral frames at 50 Hz, prod(strides) of them per code frame.

    Heads have 64 channels; the transformer's MLP is min(4 * dim, 4096) wide.
    """
    semantic = SemanticConfig(feature_dim, latent, semantic_channels, (1,) * len(strides), strides)
    shared: dict[str, Any] = dict(
        dim=dim,
        hidden=hidden,
        n_fft=1920,
        hop=960,
        transformer_layers=transformer_layers,
        num_heads=dim // 64,
        mlp_hidden=min(4 * dim, 4096),
    )
    quantizer = QuantizerConfig(num_codebooks, codebook_size, latent, kmeans_iters=kmeans_iters)
    return HCodecConfig(
        name=name,
        sample_rate=48000,
        encoder=SpectralEncoderConfig(**shared, out_dim=latent, convnext_layers=encoder_layers, stride=semantic.stride),
        semantic=semantic,
        acoustic_quantizer=quantizer,
        semantic_quantizer=quantizer,
        decoder=SpectralDecoderConfig(**shared, convnext_layers=decoder_layers, upsample=semantic.stride),
    )


HCODEC_16K = hcodec1(
    "hcodec_16k",
    filters=32,
    strides=(2, 4, 5, 8),
    dim=768,
    hidden=2304,
    convnext_layers=12,
    transformer_layers=2,
    feature_dim=768,
    semantic_channels=768,
)
"""H-Codec 1.0, 25 Hz: 137 M parameters, 4 + 4 codebooks of 1024, 2 kbit/s; HuBERT features."""

HCODEC_16K_WIDE = hcodec1(
    "hcodec_16k_wide",
    filters=32,
    strides=(8, 5, 4, 2),
    dim=1024,
    hidden=3072,
    convnext_layers=12,
    transformer_layers=2,
    feature_dim=1024,
    semantic_channels=1024,
)
"""The mono codec inside HCodec-Spatial: H-Codec 1.0 with the semantic branch of 1.5 and a wider decoder."""

HCODEC_16K_STEREO = stereo(HCODEC_16K_WIDE, "hcodec_16k_stereo", 2)
"""HCodec-Spatial, stereo, 25 Hz: 4 + 4 + 2 codebooks of 1024, 2.5 kbit/s; wav2vec 2.0 (xlsr-53) features of the mid."""

HCODEC_16K_MONO2STEREO = stereo(HCODEC_16K_WIDE, "hcodec_16k_mono2stereo", 4, SpatialMapConfig())
"""HCodec-Spatial, mono to stereo: 4 + 4 + 4 codebooks, and a mapping to stereo by azimuth, elevation and distance."""

HCODEC_16K_ADAPTIVE = hcodec1(
    "hcodec_16k_adaptive",
    filters=32,
    strides=(8, 5, 4, 2),
    dim=1024,
    hidden=2304,
    convnext_layers=12,
    transformer_layers=2,
    feature_dim=1024,
    semantic_channels=1024,
    aggregation=AggregationConfig(
        aggregator=MimiConfig(512, 32, 8, 2048), bottleneck=MimiConfig(1024, 32, 8, 2048), threshold=0.6
    ),
)
"""H-Codec 1.5, at most 25 Hz: 678 M parameters, 4 + 4 codebooks of 1024; wav2vec 2.0 (xlsr-53) features."""


def attending_to_padding(cfg: HCodecConfig) -> HCodecConfig:
    """The same codec with unmasked group slots, as in the original code (`AggregationConfig.mask_padding`)."""
    assert cfg.aggregation is not None
    aggregation = dataclasses.replace(cfg.aggregation, mask_padding=False)
    return dataclasses.replace(cfg, name=f"{cfg.name}_unmasked", aggregation=aggregation)


HCODEC_16K_ADAPTIVE_UNMASKED = attending_to_padding(HCODEC_16K_ADAPTIVE)
"""H-Codec 1.5 with the original code's batches: an item's codes depend on the longest item of its batch."""

TINY_16K: dict[str, Any] = dict(
    filters=8,
    dim=128,
    hidden=384,
    convnext_layers=2,
    transformer_layers=1,
    feature_dim=768,
    semantic_channels=64,
    codebook_size=256,
    num_heads=4,
    kmeans_iters=10,
)

HCODEC_16K_TINY = hcodec1(
    "hcodec_16k_tiny",
    strides=(2, 4, 5, 8),
    **TINY_16K,
)
"""H-Codec 1.0, small enough to train on a laptop's CPU (ours)."""

HCODEC_16K_STEREO_TINY = stereo(HCODEC_16K_TINY, "hcodec_16k_stereo_tiny", 2)
"""HCodec-Spatial, stereo, small enough to train on a laptop's CPU (ours)."""

HCODEC_16K_MONO2STEREO_TINY = stereo(
    HCODEC_16K_TINY, "hcodec_16k_mono2stereo_tiny", 4, SpatialMapConfig(32, 64, 64, (1, 2, 4))
)
"""HCodec-Spatial, mono to stereo, small enough to train on a laptop's CPU (ours)."""

HCODEC_16K_ADAPTIVE_TINY = hcodec1(
    "hcodec_16k_adaptive_tiny",
    strides=(8, 5, 4, 2),
    **TINY_16K,
    aggregation=AggregationConfig(
        aggregator=MimiConfig(128, 2, 4, 256), bottleneck=MimiConfig(256, 2, 4, 512), threshold=0.6
    ),
)
"""H-Codec 1.5, small enough to train on a laptop's CPU (ours)."""

HCODEC_16K_SMALL = HCodecConfig(
    name="hcodec_16k_small",
    sample_rate=16000,
    encoder=SpectralEncoderConfig(
        dim=128,
        hidden=384,
        out_dim=64,
        n_fft=1280,
        hop=320,
        convnext_layers=4,
        transformer_layers=0,
        num_heads=2,
        mlp_hidden=128,
        stride=2,
        fade_phase=True,
    ),
    semantic=SemanticConfig(feature_dim=240, dim=64, channels=64, channel_ratios=(1,), strides=(2,)),
    acoustic_quantizer=QuantizerConfig(8, 1024, 64, kmeans_iters=10),
    semantic_quantizer=QuantizerConfig(8, 1024, 64, kmeans_iters=10),
    decoder=SpectralDecoderConfig(
        dim=192,
        hidden=576,
        n_fft=640,
        hop=160,
        convnext_layers=6,
        transformer_layers=0,
        num_heads=3,
        mlp_hidden=192,
        upsample=4,
        subpixel=True,
    ),
)
"""H-Codec 2.0's spectral encoder and a decoder of 100 frames a second at 16 kHz, 25 Hz: 4 M parameters, 8 + 8 codebooks of
1024, 4 kbit/s; speech (ours). The built-in codec."""

HCODEC_48K = hcodec2(
    "hcodec_48k",
    dim=1536,
    hidden=4608,
    latent=512,
    encoder_layers=24,
    decoder_layers=32,
    transformer_layers=2,
    semantic_channels=1536,
    num_codebooks=16,
    codebook_size=1024,
    strides=(2, 1, 2),
)
"""H-Codec 2.0 large, 12.5 Hz: 1.24 G parameters, 16 + 16 codebooks of 1024, 4 kbit/s."""

HCODEC_48K_6HZ = hcodec2(
    "hcodec_48k_6hz",
    dim=1536,
    hidden=4608,
    latent=512,
    encoder_layers=24,
    decoder_layers=32,
    transformer_layers=2,
    semantic_channels=1536,
    num_codebooks=16,
    codebook_size=1024,
    strides=(2, 2, 2),
)
"""`HCODEC_48K` at 6.25 Hz, 2 kbit/s."""

HCODEC_48K_BASE = hcodec2(
    "hcodec_48k_base",
    dim=512,
    hidden=1536,
    latent=256,
    encoder_layers=8,
    decoder_layers=12,
    transformer_layers=1,
    semantic_channels=512,
    num_codebooks=8,
    codebook_size=1024,
    strides=(2, 1, 2),
)
"""H-Codec 2.0 with 78 M parameters (ours), for one accelerator."""

HCODEC_48K_TINY = hcodec2(
    "hcodec_48k_tiny",
    dim=128,
    hidden=384,
    latent=64,
    encoder_layers=2,
    decoder_layers=3,
    transformer_layers=1,
    semantic_channels=64,
    num_codebooks=4,
    codebook_size=256,
    strides=(2, 1, 2),
    kmeans_iters=10,
)
"""H-Codec 2.0, small enough to train on a laptop's CPU (ours)."""


def fading_phase(cfg: HCodecConfig) -> HCodecConfig:
    """The same codec with phases that fade out at low magnitudes (`SpectralEncoderConfig.fade_phase`)."""
    assert isinstance(cfg.encoder, SpectralEncoderConfig)
    encoder = dataclasses.replace(cfg.encoder, fade_phase=True)
    return dataclasses.replace(cfg, name=f"{cfg.name}_faded", encoder=encoder)


def published_front_end(cfg: HCodecConfig) -> HCodecConfig:
    """The same codec with the public code's front end, the only one that PyTorch checkpoints can have."""
    if not isinstance(cfg.encoder, SpectralEncoderConfig) or not cfg.encoder.fade_phase:
        return cfg
    encoder = dataclasses.replace(cfg.encoder, fade_phase=False)
    return dataclasses.replace(cfg, name=cfg.name.removesuffix("_faded"), encoder=encoder)


HCODEC_48K_FADED = fading_phase(HCODEC_48K)
"""H-Codec 2.0 large as `configs/codec48k.py` trains it from scratch."""

HCODEC_48K_6HZ_FADED = fading_phase(HCODEC_48K_6HZ)
"""`HCODEC_48K_FADED` at 6.25 Hz."""

HCODEC_48K_BASE_FADED = fading_phase(HCODEC_48K_BASE)
"""`base` as `configs/codec48k.py` trains it."""

HCODEC_48K_TINY_FADED = fading_phase(HCODEC_48K_TINY)
"""`tiny` as `configs/codec48k.py` trains it."""

VARIANTS = {
    v.name: v
    for v in (
        HCODEC_16K,
        HCODEC_16K_ADAPTIVE,
        HCODEC_16K_ADAPTIVE_UNMASKED,
        HCODEC_16K_TINY,
        HCODEC_16K_STEREO,
        HCODEC_16K_STEREO_TINY,
        HCODEC_16K_MONO2STEREO,
        HCODEC_16K_MONO2STEREO_TINY,
        HCODEC_16K_ADAPTIVE_TINY,
        HCODEC_16K_SMALL,
        HCODEC_48K,
        HCODEC_48K_6HZ,
        HCODEC_48K_BASE,
        HCODEC_48K_TINY,
        HCODEC_48K_FADED,
        HCODEC_48K_6HZ_FADED,
        HCODEC_48K_BASE_FADED,
        HCODEC_48K_TINY_FADED,
    )
}
"""Name -> codec."""


UPSTREAM_FEATURES = {768: "hubert", 1024: "wav2vec2"}
"""Width of the features -> feature recipe of the published checkpoints."""


def get_variant(name: str) -> HCodecConfig:
    """The codec of that name; UserError lists the known names."""
    if name not in VARIANTS:
        raise UserError(f"codec {name!r} is not known; choose one of {', '.join(sorted(VARIANTS))}")
    return VARIANTS[name]

"""The released codecs as constants, and small ones of the same wiring for tests and first runs."""

import dataclasses

from quarkaudio_jax.codec.decoder import SpectralDecoderConfig
from quarkaudio_jax.codec.hcodec import HCodecConfig
from quarkaudio_jax.codec.quantize import QuantizerConfig
from quarkaudio_jax.codec.semantic import SemanticConfig
from quarkaudio_jax.codec.spectral import SpectralEncoderConfig


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
    """An H-Codec 2.0: 48 kHz, spectral frames at 50 Hz, prod(strides) of them to a code frame.

    Heads have 64 channels; the transformer's MLP is min(4 * dim, 4096) wide.
    """
    semantic = SemanticConfig(feature_dim, latent, semantic_channels, (1,) * len(strides), strides)
    shared = dict(
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
"""The 6.25 Hz sibling, 2 kbit/s."""

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
"""A codec of 78 M parameters (ours), meant for one accelerator."""

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
"""A codec that trains on a laptop's CPU (ours), for tests and first runs."""

VARIANTS = {v.name: v for v in (HCODEC_48K, HCODEC_48K_6HZ, HCODEC_48K_BASE, HCODEC_48K_TINY)}


def get_variant(name: str) -> HCodecConfig:
    """The constant of that name; ValueError lists the known names."""
    if name not in VARIANTS:
        raise ValueError(f"codec {name!r} is not known; choose one of {', '.join(sorted(VARIANTS))}")
    return VARIANTS[name]


def with_quantizers(cfg: HCodecConfig, **changes) -> HCodecConfig:
    """A copy whose two quantisers have some fields changed (training rules, never released shapes)."""
    return dataclasses.replace(
        cfg,
        acoustic_quantizer=dataclasses.replace(cfg.acoustic_quantizer, **changes),
        semantic_quantizer=dataclasses.replace(cfg.semantic_quantizer, **changes),
    )

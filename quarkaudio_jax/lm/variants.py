"""Named sizes of the language model."""

import dataclasses

from quarkaudio_jax.config import LMTrainConfig
from quarkaudio_jax.errors import UserError
from quarkaudio_jax.lm.backbone import QWEN2_0B5, BackboneConfig
from quarkaudio_jax.lm.model import LMConfig
from quarkaudio_jax.lm.unise import UniseConfig
from quarkaudio_jax.tokens.tasks import TASKS

SIZES = {
    "tiny": BackboneConfig(192, 4, 4, 4, 512),
    "small": BackboneConfig(512, 12, 8, 8, 2048),
    "base": BackboneConfig(768, 12, 12, 12, 3072),
    "large": QWEN2_0B5,
    "1b5": BackboneConfig(1536, 28, 12, 2, 8960, rope_theta=1e6, qkv_bias=True),
}
"""Parameters without embeddings and heads: 1.8 M, 50 M, 113 M, 358 M (Qwen2.5-0.5B) and 1.31 G (Qwen2.5-1.5B)."""


def get_size(name: str) -> BackboneConfig:
    """The backbone of that name; UserError lists the known names."""
    if name not in SIZES:
        raise UserError(f"size {name!r} is not known; choose one of {', '.join(SIZES)}")
    return SIZES[name]


def configured_lm(cfg: LMTrainConfig) -> LMConfig:
    """The model's configuration; `cfg.dataset` must be set, as `data.prepared.read_dataset_info` reads it."""
    dataset = cfg.dataset
    return LMConfig(
        backbone=_backbone(cfg),
        codebooks=dataset.codebooks,
        feature_dim=dataset.feature_width * cfg.lm.condition_stack,
        text_dim=dataset.text_width,
        num_tasks=len(TASKS),
        max_duration=dataset.max_duration,
        aligned_rate=cfg.lm.aligned_rate,
        bidirectional_prefix=cfg.lm.bidirectional_prefix,
        encoder_layers=cfg.lm.encoder_layers,
        ar_codebooks=cfg.lm.ar_codebooks,
        fill_layers=cfg.lm.fill_layers if cfg.lm.ar_codebooks else 0,
    )


def configured_unise(cfg: LMTrainConfig) -> UniseConfig:
    """UniSE's configuration; `cfg.dataset` must be set, of data with BiCodec's tokens."""
    global_size, semantic_size = cfg.dataset.codebooks
    return UniseConfig(_backbone(cfg), cfg.dataset.feature_width, global_size, semantic_size)


def _backbone(cfg: LMTrainConfig) -> BackboneConfig:
    size = get_size(cfg.lm.size)
    return dataclasses.replace(size, dropout=cfg.lm.dropout, attention_dropout=cfg.lm.attention_dropout)

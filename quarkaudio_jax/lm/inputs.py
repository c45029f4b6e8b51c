"""What the language model reads of a packed batch: its shape, tokens in the delay pattern, and targets."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from quarkaudio_jax.lm.backbone import BackboneConfig
from quarkaudio_jax.tokens.delay import delay, shift_left
from quarkaudio_jax.tokens.sequence import Kind
from quarkaudio_jax.tokens.vocabulary import Vocabulary
from quarkaudio_jax.types import Tokens


@dataclasses.dataclass(frozen=True)
class LMConfig:
    """Shape of the language model.

    codebooks: codes of each codebook, acoustic ones first. feature_dim: width of the SSL features. text_dim: width of
    the text features (0: text is bytes). max_duration: longest duration of an adaptive codec's codes, in frames (0: a
    fixed frame rate). aligned_rate, bidirectional_prefix, encoder_layers, ar_codebooks, fill_layers
    (0 without `ar_codebooks`): see `config.LMModelConfig`.
    """

    backbone: BackboneConfig
    codebooks: tuple[int, ...]
    feature_dim: int
    text_dim: int = 0
    num_tasks: int = 8
    max_duration: int = 0
    aligned_rate: float = 0.0
    bidirectional_prefix: bool = False
    encoder_layers: int = 0
    ar_codebooks: tuple[int, ...] = ()
    fill_layers: int = 0

    @property
    def first_stage(self) -> tuple[int, ...]:
        """Numbers of the codebooks that the autoregressive stage predicts, in the order of their delay."""
        return self.ar_codebooks or tuple(range(len(self.codebooks)))

    @property
    def second_stage(self) -> tuple[int, ...]:
        """Numbers of the codebooks that `lm.fill` predicts."""
        return tuple(k for k in range(len(self.codebooks)) if k not in self.first_stage)

    @property
    def vocabulary(self) -> Vocabulary:
        """Ids of the first stage's codebooks."""
        return Vocabulary(tuple(self.codebooks[k] for k in self.first_stage))

    @property
    def delay_padding(self) -> int:
        """Extra positions after the codes: BOS, EOS and the delay, one less than the codebooks of the first stage."""
        return len(self.first_stage) + 1

    def in_codec_order(self, first_xN: jax.Array, second_xR: jax.Array) -> jax.Array:
        """(..., K) of values by codebook of the two stages."""
        order = np.argsort(self.first_stage + self.second_stage)
        return jnp.concatenate([first_xN, second_xR], axis=-1)[..., order]


def delayed_inputs(cfg: LMConfig, batch: dict[str, jax.Array]) -> Tokens:
    """Tokens of the codes of a packed batch; with durations if the codec is adaptive."""
    durations = batch["value"] if cfg.max_duration else None
    codes = batch["codes"][..., np.array(cfg.first_stage)] if cfg.ar_codebooks else batch["codes"]
    return delay(batch["kind"], batch["segment"], codes, cfg.vocabulary, durations)


@dataclasses.dataclass(frozen=True)
class Targets:
    """Next id and duration at each position, and where they count: those of the same sequence other than PAD."""

    ids_BxLxK: jax.Array
    mask_BxLxK: jax.Array
    durations_BxL: jax.Array | None = None
    duration_mask_BxL: jax.Array | None = None


def build_targets(cfg: LMConfig, batch: dict[str, jax.Array]) -> Targets:
    """The targets of a packed batch: codes, EOS and durations."""
    kind, segment = batch["kind"], batch["segment"]
    tokens = delayed_inputs(cfg, batch)
    same = (shift_left(kind) >= Kind.CODES) & (kind >= Kind.CODES) & (shift_left(segment) == segment)
    ids = shift_left(tokens.tokens_BxLxK)
    mask = same[..., None] & (ids != cfg.vocabulary.pad)
    if tokens.durations_BxL is None:
        return Targets(ids, mask)
    durations = shift_left(tokens.durations_BxL)
    return Targets(ids, mask, durations, same & (durations > 0))


def batch_shapes(cfg: LMConfig, rows: int, length: int, feature_dtype: Any) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes of a batch of packed sequences (rows, length); see `tokens.sequence`.

    feature_dtype: type in which features are stored.
    """
    shape = (rows, length)
    spec = {name: jax.ShapeDtypeStruct(shape, jnp.int32) for name in ("value", "segment", "position")}
    spec["kind"] = jax.ShapeDtypeStruct(shape, jnp.int8)
    spec["codes"] = jax.ShapeDtypeStruct((*shape, len(cfg.codebooks)), jnp.int32)
    spec["features"] = jax.ShapeDtypeStruct((*shape, cfg.feature_dim), feature_dtype)
    if cfg.text_dim:
        spec["text_features"] = jax.ShapeDtypeStruct((*shape, cfg.text_dim), feature_dtype)
    return spec

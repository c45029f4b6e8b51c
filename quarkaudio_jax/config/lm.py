"""The configuration of training the language model."""

import dataclasses

from quarkaudio_jax.config.prepare import DatasetInfo, LMDataConfig
from quarkaudio_jax.config.train import OptimConfig, TrainConfig
from quarkaudio_jax.config.values import Amount, Decay, Share


@dataclasses.dataclass(frozen=True)
class LMModelConfig:
    """The model, how it is computed and what it learns by.

    size: a name of `lm.variants`. backbone: a Hugging Face folder (Llama or Qwen2) of that size
    whose layers a fresh run starts with. dtype: compute type, float32 or bfloat16. remat: what
    the layers keep for the backward pass (none, dots, full, attention, dots+attention). unroll: compile
    the layers one after the other instead of as a loop; on TPUs faster with dots+attention, but long to compile.

    label_smoothing: share of the target's probability that all other ids get. codebook_weights:
    of each codebook in the loss, acoustic first (empty: all alike). condition_dropout: share of
    examples that are trained without their condition, for guidance in generation.
    """

    size: str = "small"
    backbone: str = ""
    dtype: str = "float32"
    remat: str = "none"
    unroll: bool = False
    label_smoothing: Decay = 0.1
    codebook_weights: tuple[Amount, ...] = ()
    condition_dropout: Share = 0.0


UNISE_SCHEDULE = OptimConfig(
    lr=5e-4, b1=0.9, b2=0.999, clip=5.0, warmup="cosine", warmup_steps=2000, decay=0.99998, min_ratio=0.02
)
"""The published schedule of UniSE; the betas are PyTorch's defaults."""


@dataclasses.dataclass(frozen=True)
class LMTrainConfig(TrainConfig):
    """Training of the language model. dataset: what the data says of itself; filled in when a run starts."""

    program: str = "lm"
    lm: LMModelConfig = LMModelConfig()
    optim: OptimConfig = UNISE_SCHEDULE
    data: LMDataConfig = dataclasses.field(default_factory=LMDataConfig)
    dataset: DatasetInfo = dataclasses.field(default_factory=DatasetInfo)

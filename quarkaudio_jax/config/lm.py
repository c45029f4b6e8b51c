"""Configuration of the language model: its training, its data and the dataset it was trained on."""

import dataclasses
from typing import Any

from quarkaudio_jax.config.features import FeatureConfig, TextConfig
from quarkaudio_jax.config.train import OptimConfig, TrainConfig
from quarkaudio_jax.config.values import Amount, Count, Decay, Share, Size
from quarkaudio_jax.tokens.tasks import TASKS


@dataclasses.dataclass(frozen=True)
class LMModelConfig:
    """The language model and its objective.

    size: a name of `lm.variants`. backbone: Hugging Face folder (Llama or Qwen2) of that size; a new run is initialized
    with its layers. dtype: compute dtype, float32 or bfloat16. remat: rematerialization policy of the layers (none, dots,
    full, attention, dots+attention). unroll: unroll the loop over layers; on TPUs faster with dots+attention, but slow to
    compile.

    label_smoothing: probability mass spread over all other ids. codebook_weights: weight of each codebook in the loss,
    acoustic first (empty: equal). condition_dropout: share of examples trained without their condition, for
    classifier-free guidance.

    dropout: rate for the outputs of attention and MLP and the MLP's hidden values (Srivastava et al. 2014; 0.1 in the
    recipes that learn from few hours, such as SpeechBrain's DASB). attention_dropout: rate for the attention weights
    (0.1 is dropout_p of UniSE's published configuration).

    condition_stack: frames of features that form one position, for example 4 to bring 50 Hz to a codec's 12.5 Hz (the
    low frame rate features of speech recognition, arXiv:1507.06947). aligned_rate: positions of the source per frame of the
    codec (50 / condition_stack / frame rate), at which the target's rotary positions run beside the source's (ours; 0: one
    after the other, as published). bidirectional_prefix: conditions attend to all of their prefix (prefix LM,
    arXiv:1910.10683). encoder_layers: layers of a bidirectional transformer over each recording's features, of the
    backbone's width (LauraTSE, arXiv:2504.07402, has one of conformers). feature_mask: share of the conditions' positions
    whose features are set to 0 in training, in spans of feature_mask_span positions (SpecAugment, arXiv:1904.08779).

    ar_codebooks: numbers of the codebooks that are predicted position by position, acoustic first as in `codebook_weights`
    (empty: all, as published); the others follow in one bidirectional pass of fill_layers layers, trained in the same step
    (LauraTSE; VALL-E, arXiv:2301.02111; see `lm.fill`).

    loss_pieces: the loss of a row is computed in that many pieces, positions that predict codes first, and pieces without any
    are left out. The loss is the same; on CPUs, whose time it takes, 4 save the share of the conditions.
    """

    size: str = "small"
    backbone: str = ""
    dtype: str = "float32"
    remat: str = "none"
    unroll: bool = False
    label_smoothing: Decay = 0.1
    codebook_weights: tuple[Amount, ...] = ()
    condition_dropout: Share = 0.0
    dropout: Decay = 0.0
    attention_dropout: Decay = 0.0
    condition_stack: Size = 1
    aligned_rate: Amount = 0.0
    bidirectional_prefix: bool = False
    encoder_layers: Count = 0
    feature_mask: Decay = 0.0
    feature_mask_span: Size = 5
    ar_codebooks: tuple[Count, ...] = ()
    fill_layers: Size = 4
    loss_pieces: Size = 1


_PerTask: Any = dataclasses.make_dataclass("_PerTask", [(name, Amount, 1.0) for name in TASKS], frozen=True)


@dataclasses.dataclass(frozen=True)
class TaskWeights(_PerTask):
    """Relative sampling weights of the tasks of `TASKS` in training; 0 leaves a task out."""


@dataclasses.dataclass(frozen=True)
class LMDataConfig:
    """Packed batches of prepared examples.

    folder: the output of `prepare`. batch_size: rows per step over all hosts; `length`: positions per row, into which
    examples are packed. bins: rows that are packed at a time (more leave less padding and take more memory). heldout:
    share of each task's examples kept out of training. workers: processes that make batches (0: a thread of this one).
    prefetch: batches made ahead. strict: an unreadable example is an error instead of being skipped and counted.
    change_mixture: allow a resumed run to use other task weights.
    """

    folder: str = ""
    weights: TaskWeights = TaskWeights()
    batch_size: Size = 16
    length: Size = 1536
    bins: Size = 32
    heldout: Share = 0.01
    workers: Count = 0
    prefetch: Count = 2
    strict: bool = False
    change_mixture: bool = False


@dataclasses.dataclass(frozen=True)
class DatasetInfo:
    """Codec, features and sizes of a folder of prepared examples; inference must use the same ones.

    codec: the codec's variant; codec_weights: checksum of its weights. num_codebooks: see `PrepareConfig`. codebooks: size of
    each codebook that is stored, acoustic first. max_duration: maximum frames per code of an adaptive codec (0: a fixed frame rate). feature_width, text_width: width
    of the stored features (text: 0 for bytes), stored as `dtype`. seconds: length of the longest example. tasks: the
    tasks in training (empty in the folder itself).
    """

    codec: str = ""
    codec_weights: int = 0
    num_codebooks: int = 0
    codebooks: tuple[int, ...] = ()
    max_duration: int = 0
    features: FeatureConfig = dataclasses.field(default_factory=FeatureConfig)
    feature_width: int = 0
    text: TextConfig = dataclasses.field(default_factory=TextConfig)
    text_width: int = 0
    dtype: str = "float16"
    seconds: float = 0.0
    tasks: tuple[str, ...] = ()


UNISE_SCHEDULE = OptimConfig(
    lr=5e-4, b1=0.9, b2=0.999, clip=5.0, warmup="cosine", warmup_steps=2000, decay=0.99998, min_ratio=0.02
)
"""The published schedule of UniSE; the betas are PyTorch's defaults."""


@dataclasses.dataclass(frozen=True)
class LMTrainConfig(TrainConfig):
    """Training of the language model. dataset: read from the data's folder when a run starts."""

    program: str = "lm"
    lm: LMModelConfig = LMModelConfig()
    optim: OptimConfig = UNISE_SCHEDULE
    data: LMDataConfig = dataclasses.field(default_factory=LMDataConfig)
    dataset: DatasetInfo = dataclasses.field(default_factory=DatasetInfo)


@dataclasses.dataclass(frozen=True)
class UniseTrainConfig(LMTrainConfig):
    """Training of UniSE, on data that `prepare` made with BiCodec.

    Of `lm` it takes size, dtype, remat, unroll, label_smoothing, dropout, attention_dropout and feature_mask. init_from:
    also UniSE's published weight file.
    """

    program: str = "unise"
    lm: LMModelConfig = LMModelConfig(attention_dropout=0.1)

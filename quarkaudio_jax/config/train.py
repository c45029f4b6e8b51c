"""Configuration of training: fields common to all programs, and those of the codec."""

import dataclasses

from quarkaudio_jax.config.features import FeatureConfig
from quarkaudio_jax.config.values import Amount, Clip, Count, Decay, Edges, Positive, PositiveRange, Seed, Share, Size
from quarkaudio_jax.io.mel import MEL_BANDS, MEL_WINDOWS


@dataclasses.dataclass(frozen=True)
class CodecConfig:
    """The codec.

    variant: a name of `codec.variants`. dtype: compute dtype, float32 or bfloat16. remat: rematerialization policy of
    the layers (none, dots, full). The rest: see `codec.quantize.QuantizerRules`.
    """

    variant: str = "hcodec_48k"
    dtype: str = "float32"
    remat: str = "none"
    rotation_trick: bool = True
    quantizer_dropout: bool = False
    revive_below: Amount = 0.0


@dataclasses.dataclass(frozen=True)
class LossConfig:
    """Weights of the generator's losses, and the scales of its spectral losses.

    A loss with weight 0 is not computed. mapping: of side vectors by position, of codecs that have that. perceptual_from:
    first step of the perceptual loss.
    """

    mel: Amount = 15.0
    stft: Amount = 1.0
    ssl: Amount = 5.0
    commitment: Amount = 0.25
    adversarial: Amount = 1.0
    feature_matching: Amount = 2.0
    mapping: Amount = 1.0
    perceptual: Amount = 0.0
    perceptual_from: Count = 400_000
    mel_windows: tuple[Size, ...] = MEL_WINDOWS
    mel_bands: tuple[Size, ...] = MEL_BANDS
    stft_windows: tuple[Size, ...] = (2048, 512)

    def problem(self) -> str:
        """The inconsistency between fields; empty if none."""
        windows, bands = len(self.mel_windows), len(self.mel_bands)
        return (
            f"mel_windows has {windows} entries and mel_bands {bands}: give the same number of both"
            if windows != bands
            else ""
        )


@dataclasses.dataclass(frozen=True)
class DiscriminatorsConfig:
    """The discriminators.

    from_step: first step with adversarial losses and discriminator updates. crop_seconds: length of the random part of
    each crop that they see (0: the full crop). bands: edges of the spectral discriminators' bands, as shares of the
    frequency axis.
    """

    from_step: Count = 0
    crop_seconds: Amount = 0.0
    periods: tuple[Size, ...] = (2, 3, 5, 7, 11)
    period_channels: tuple[Size, ...] = (32, 128, 512, 1024, 1024)
    fft_sizes: tuple[Size, ...] = (2048, 1024, 512)
    bands: Edges = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)
    spectral_channels: Size = 32


@dataclasses.dataclass(frozen=True)
class OptimConfig:
    """AdamW and its learning rate schedule.

    schedule: constant, cosine or exponential (times `decay` per step), after `warmup_steps` of warm-up (linear or
    cosine). min_ratio: the schedule's minimum as a share of `lr`. clip: maximum global norm of a gradient (0: no
    clipping).
    """

    lr: Amount = 2e-4
    b1: Decay = 0.8
    b2: Decay = 0.99
    weight_decay: Amount = 0.01
    clip: Clip = 5.0
    schedule: str = "exponential"
    warmup: str = "linear"
    warmup_steps: Count = 1000
    decay: Share = 0.999996
    min_ratio: Share = 0.02


@dataclasses.dataclass(frozen=True)
class DomainConfig:
    """One domain of audio and its sampling weight.

    paths: folders, globs, lists (.scp), manifests (.jsonl), tfds:NAME/CONFIG:SPLIT, prepared:FOLDER, embedded:KIND
    or voices:KIND, separated by commas.
    """

    paths: str = ""
    weight: Amount = 1.0


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Audio for training.

    batch_size: examples per step over all hosts. crop_seconds: rounded up to a multiple of code frames. peak: range of
    the crops' peaks after a random gain. heldout: share of the files kept out of training (at least one per domain).
    workers: processes that decode (0: `threads` of this one). prefetch: batches made ahead. strict: an unreadable file is
    an error instead of being skipped and counted.
    """

    speech: DomainConfig = DomainConfig("embedded:speech", 2.0)
    music: DomainConfig = DomainConfig("embedded:music", 1.0)
    events: DomainConfig = DomainConfig("embedded:events", 1.0)
    batch_size: Size = 16
    crop_seconds: Positive = 5.0
    peak: PositiveRange = (0.1, 0.99)
    heldout: Share = 0.02
    workers: Count = 0
    threads: Count = 4
    prefetch: Count = 16
    strict: bool = False
    tfds_dir: str = ""


@dataclasses.dataclass(frozen=True)
class MeshConfig:
    """Devices along each mesh axis; -1 (at most once): all remaining ones."""

    data: int = -1
    fsdp: int = 1
    tensor: int = 1


@dataclasses.dataclass(frozen=True)
class LoopConfig:
    """The training loop; intervals are in steps, and 0 turns an action off.

    keep: number of newest checkpoints to keep (0: all). bad_steps: maximum number of consecutive steps that are skipped
    because their losses or gradients are not finite; one more ends the run. allow_changes: allow a resumed run to use
    other data, features or losses. heldout_clips: clips to evaluate; sample_clips: clips to write, of `sample_seconds`.
    """

    steps: Count = 1_000_000
    log_every: Count = 50
    eval_every: Count = 5_000
    checkpoint_every: Count = 2_000
    keep: Count = 3
    bad_steps: Count = 10
    allow_changes: bool = False
    heldout_clips: Count = 8
    sample_clips: Count = 3
    sample_seconds: Amount = 5.0


@dataclasses.dataclass(frozen=True)
class ProfileConfig:
    """Profiling. steps: windows to record as FIRST-LAST step, such as 10-14,500-504 (empty: none)."""

    steps: str = ""


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """Fields common to all programs.

    program: a name of `EXPERIMENTS`. ema_decay: decay of the parameters' exponential moving average (0: none). init_from:
    a checkpoint whose model initializes a new run (fine-tuning), a built-in model or a model of the hub; of codecs and UniSE
    also a weight file.
    """

    program: str = ""
    seed: Seed = 0
    optim: OptimConfig = OptimConfig()
    ema_decay: Decay = 0.0
    init_from: str = ""
    mesh: MeshConfig = MeshConfig()
    loop: LoopConfig = LoopConfig()
    profile: ProfileConfig = ProfileConfig()


@dataclasses.dataclass(frozen=True)
class CodecTrainConfig(TrainConfig):
    """Training of a codec."""

    program: str = "codec"
    codec: CodecConfig = CodecConfig()
    features: FeatureConfig = dataclasses.field(default_factory=FeatureConfig)
    losses: LossConfig = LossConfig()
    discriminators: DiscriminatorsConfig = DiscriminatorsConfig()
    discriminator_optim: OptimConfig = OptimConfig()
    data: DataConfig = DataConfig()

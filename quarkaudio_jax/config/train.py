"""The configuration of training."""

import dataclasses

from quarkaudio_jax.config.values import Amount, Clip, Count, Decay, Edges, Positive, PositiveRange, Seed, Share, Size
from quarkaudio_jax.io.mel import MEL_BANDS, MEL_WINDOWS


@dataclasses.dataclass(frozen=True)
class CodecConfig:
    """The codec and how it is computed.

    variant: a name of `codec.variants`. dtype: compute type, float32 or bfloat16. remat: what
    the layers keep for the backward pass (none, dots, full). The rest: see `QuantizerConfig`.
    """

    variant: str = "hcodec_48k"
    dtype: str = "float32"
    remat: str = "none"
    rotation_trick: bool = True
    quantizer_dropout: bool = False
    revive_below: Amount = 0.0


@dataclasses.dataclass(frozen=True)
class FeatureConfig:
    """Where SSL features come from.

    recipe: a name of `ssl.features`. weights: the Hugging Face folder or hub name of its model
    (empty: the recipe's own). model: written by training, which model that was (hub name and checksum).
    """

    recipe: str = "mel"
    weights: str = ""
    model: str = ""


@dataclasses.dataclass(frozen=True)
class LossConfig:
    """Weights of the generator's objective, and the scales of its spectral terms.

    A weight of 0 leaves its term out of the computation. perceptual_from: the step from which
    the perceptual term counts.
    """

    mel: Amount = 15.0
    stft: Amount = 1.0
    ssl: Amount = 5.0
    commitment: Amount = 0.25
    adversarial: Amount = 1.0
    feature_matching: Amount = 2.0
    perceptual: Amount = 0.0
    perceptual_from: Count = 400_000
    mel_windows: tuple[Size, ...] = MEL_WINDOWS
    mel_bands: tuple[Size, ...] = MEL_BANDS
    stft_windows: tuple[Size, ...] = (2048, 512)

    def fault(self) -> str:
        """What does not fit together; empty if all does."""
        windows, bands = len(self.mel_windows), len(self.mel_bands)
        return f"mel_windows has {windows} entries and mel_bands {bands}: give as many" if windows != bands else ""


@dataclasses.dataclass(frozen=True)
class DiscriminatorsConfig:
    """The discriminators. from_step: the first step in which they learn and judge.

    crop_seconds: how much of each crop they see, from a random place (0: all of it).
    bands: edges of the spectral discriminator's bands, as shares of the frequency axis.
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
    """AdamW. schedule: constant, cosine, or exponential (times `decay` a step), after a warm-up (linear or cosine).

    min_ratio: the schedule's floor as a share of `lr`. clip: largest global norm of a gradient (0: no clipping).
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
    """One kind of audio. paths: folders, globs, .scp lists, tfds:NAME/CONFIG:SPLIT, prepared:FOLDER or
    embedded:KIND, by commas.
    """

    paths: str = ""
    weight: Amount = 1.0


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Audio for training.

    batch_size: examples a step over all hosts. crop_seconds: rounded up to whole code frames.
    peak: random gain brings each crop's peak into this range. heldout: share of the files kept
    out of training (at least one a domain). workers: processes that decode (0: threads of this
    one). strict: an unreadable file is an error instead of being skipped and counted.
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
    """Devices along each mesh axis; -1 (at most once) takes what is left."""

    data: int = -1
    fsdp: int = 1
    tensor: int = 1


@dataclasses.dataclass(frozen=True)
class LoopConfig:
    """Counts in steps; 0 switches a habit off. keep: newest checkpoints kept (0: all). sample_seconds: length of held-out clips.

    bad_steps: so many steps in a row whose losses or gradients are not finite are skipped; one more ends the run.
    allow_changes: let a resumed run go on with other data, features or losses than it began with.
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
    """steps: windows to record, first and last step of each, such as 10-14,500-504 (empty: none)."""

    steps: str = ""


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """What every experiment has. program: what is trained, a name of `EXPERIMENTS`.

    ema_decay: of the averaged weights (0: none are kept). init_from: a checkpoint whose model a
    fresh run starts with (fine-tuning).
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
    features: FeatureConfig = FeatureConfig()
    losses: LossConfig = LossConfig()
    discriminators: DiscriminatorsConfig = DiscriminatorsConfig()
    discriminator_optim: OptimConfig = OptimConfig()
    data: DataConfig = DataConfig()

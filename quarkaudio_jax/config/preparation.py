"""Configuration of `prepare`."""

import dataclasses
from typing import Any

from quarkaudio_jax.config.features import FeatureConfig, TextConfig
from quarkaudio_jax.config.simulation import SimulationConfig
from quarkaudio_jax.config.values import Count, Positive, Seed, Size
from quarkaudio_jax.tokens.tasks import TASKS


@dataclasses.dataclass(frozen=True)
class SourcesConfig:
    """Audio sources of the simulation, written as for codec training (`data.sources.open_source`).

    embedded:KIND/train and embedded:KIND/test share no voice and no sentence. noise: empty means events and music.
    rirs: recorded room impulse responses, used instead of simulated rooms.
    """

    speech: str = "embedded:speech"
    events: str = "embedded:events"
    music: str = "embedded:music"
    noise: str = ""
    rirs: str = ""
    tfds_dir: str = ""


_PerTask: Any = dataclasses.make_dataclass("_PerTask", [(name, Count, 0) for name in TASKS], frozen=True)


@dataclasses.dataclass(frozen=True)
class TaskExamples(_PerTask):
    """Number of examples to prepare of each task of `TASKS` and, for codec training, of clips of each domain."""

    codec_speech: Count = 0
    codec_music: Count = 0
    codec_events: Count = 0


@dataclasses.dataclass(frozen=True)
class PrepareConfig:
    """The output of `prepare`.

    codec: checkpoint of the codec that encodes the targets; codec_features: weights of its SSL model (see `load_codec`).
    Neither is needed for the domains of codec training. features: SSL features stored for source and reference, of width
    `feature_width` if the recipe has no width of its own, as `dtype` (float16 or bfloat16); text: features of the text.
    shard: examples per file. batch_size: examples per batch of the SSL model and the codec. workers: processes that
    simulate (0: `threads` of this one). sample_rate, clip_seconds: of the audio of codec training; longer clips are cut.

    num_codebooks: of each of the codec's streams, the first that are stored (0: all); a language model over fewer learns and
    runs faster.

    draws: mixtures of each target, one after the other, for restoration, extraction and separation (LauraTSE,
    arXiv:2504.07402, mixes anew at every draw); a target that stays the same is encoded once.
    """

    seed: Seed = 0
    codec: str = ""
    codec_features: str = ""
    num_codebooks: Count = 0
    features: FeatureConfig = dataclasses.field(default_factory=FeatureConfig)
    feature_width: Size = 768
    text: TextConfig = dataclasses.field(default_factory=TextConfig)
    dtype: str = "float16"
    examples: TaskExamples = TaskExamples()
    sources: SourcesConfig = SourcesConfig()
    simulation: SimulationConfig = dataclasses.field(default_factory=SimulationConfig)
    sample_rate: Size = 48000
    clip_seconds: Positive = 20.0
    draws: Size = 1
    shard: Size = 256
    batch_size: Size = 8
    workers: Count = 0
    threads: Count = 2

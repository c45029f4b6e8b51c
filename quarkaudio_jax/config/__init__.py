"""Configuration: frozen dataclasses, each the only home of its defaults.

A config file changes fields of `to_config_dict(CodecTrainConfig())` and returns the ConfigDict; `from_config_dict` turns
it back into dataclasses and refuses unknown fields by name.
"""

from quarkaudio_jax.config.build import (
    EXPERIMENTS,
    ConfigError,
    ExperimentConfig,
    field_names,
    from_config_dict,
    nearest_name,
    normalize_arguments,
    to_config_dict,
    to_dict,
)
from quarkaudio_jax.config.features import FeatureConfig, TextConfig
from quarkaudio_jax.config.lm import (
    DatasetInfo,
    LMDataConfig,
    LMModelConfig,
    LMTrainConfig,
    TaskWeights,
    UniseTrainConfig,
)
from quarkaudio_jax.config.preparation import PrepareConfig, SourcesConfig, TaskExamples
from quarkaudio_jax.config.simulation import (
    AudioEditConfig,
    ConversionConfig,
    DegradeConfig,
    LassConfig,
    SimulationConfig,
    SpeechEditConfig,
    TalkersConfig,
)
from quarkaudio_jax.config.train import (
    CodecConfig,
    CodecTrainConfig,
    DataConfig,
    DiscriminatorsConfig,
    DomainConfig,
    LoopConfig,
    LossConfig,
    MeshConfig,
    OptimConfig,
    ProfileConfig,
    TrainConfig,
)

__all__ = [
    "EXPERIMENTS",
    "AudioEditConfig",
    "CodecConfig",
    "CodecTrainConfig",
    "ConfigError",
    "ConversionConfig",
    "DataConfig",
    "DatasetInfo",
    "DegradeConfig",
    "DiscriminatorsConfig",
    "DomainConfig",
    "ExperimentConfig",
    "FeatureConfig",
    "LMDataConfig",
    "LMModelConfig",
    "LMTrainConfig",
    "LassConfig",
    "LoopConfig",
    "LossConfig",
    "MeshConfig",
    "OptimConfig",
    "PrepareConfig",
    "ProfileConfig",
    "SimulationConfig",
    "SourcesConfig",
    "SpeechEditConfig",
    "TalkersConfig",
    "TaskExamples",
    "TaskWeights",
    "TextConfig",
    "TrainConfig",
    "UniseTrainConfig",
    "field_names",
    "from_config_dict",
    "nearest_name",
    "normalize_arguments",
    "to_config_dict",
    "to_dict",
]

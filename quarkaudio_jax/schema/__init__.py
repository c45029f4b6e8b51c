"""What can be configured: frozen dataclasses, each the only home of its defaults.

A config file starts from `to_config_dict(CodecTrainConfig())`, changes what it wants and returns
the ConfigDict; `from_config_dict` turns it back, refusing unknown fields by name.
"""

from quarkaudio_jax.schema.build import (
    EXPERIMENTS,
    ConfigError,
    field_names,
    from_config_dict,
    nearest_name,
    to_config_dict,
    to_dict,
)
from quarkaudio_jax.schema.lm import LMModelConfig, LMTrainConfig
from quarkaudio_jax.schema.prepare import (
    AudioEditConfig,
    ConversionConfig,
    DegradeConfig,
    LassConfig,
    PoolsConfig,
    PrepareConfig,
    PreparedConfig,
    PreparedFacts,
    SimulationConfig,
    SpeechEditConfig,
    TalkersConfig,
    TaskExamples,
    TaskWeights,
    TextConfig,
)
from quarkaudio_jax.schema.train import (
    AdversaryConfig,
    CodecConfig,
    CodecTrainConfig,
    DataConfig,
    DomainConfig,
    FeatureConfig,
    LoopConfig,
    LossConfig,
    MeshConfig,
    OptimConfig,
    ProfileConfig,
    TrainConfig,
)

__all__ = [
    "EXPERIMENTS",
    "AdversaryConfig",
    "AudioEditConfig",
    "CodecConfig",
    "CodecTrainConfig",
    "ConfigError",
    "ConversionConfig",
    "DataConfig",
    "DegradeConfig",
    "DomainConfig",
    "FeatureConfig",
    "LMModelConfig",
    "LMTrainConfig",
    "LassConfig",
    "LoopConfig",
    "LossConfig",
    "MeshConfig",
    "OptimConfig",
    "PoolsConfig",
    "PrepareConfig",
    "PreparedConfig",
    "PreparedFacts",
    "ProfileConfig",
    "SimulationConfig",
    "SpeechEditConfig",
    "TalkersConfig",
    "TaskExamples",
    "TaskWeights",
    "TextConfig",
    "TrainConfig",
    "field_names",
    "from_config_dict",
    "nearest_name",
    "to_config_dict",
    "to_dict",
]

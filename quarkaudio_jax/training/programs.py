"""The training program of each kind of experiment."""

from typing import Any

from quarkaudio_jax.config import CodecTrainConfig, ExperimentConfig, LMTrainConfig, UniseTrainConfig
from quarkaudio_jax.training.codec_program import CodecProgram
from quarkaudio_jax.training.lm_program import LMProgram
from quarkaudio_jax.training.unise_program import UniseProgram

PROGRAMS: dict[type, Any] = {CodecTrainConfig: CodecProgram, LMTrainConfig: LMProgram, UniseTrainConfig: UniseProgram}


def make_program(cfg: ExperimentConfig) -> CodecProgram | LMProgram:
    """The program of an experiment, with what it reads of its data."""
    return PROGRAMS[type(cfg)].configured(cfg)


def build_program(cfg: ExperimentConfig) -> CodecProgram | LMProgram:
    """The program of a complete configuration, without reading data or weights."""
    return PROGRAMS[type(cfg)](cfg)

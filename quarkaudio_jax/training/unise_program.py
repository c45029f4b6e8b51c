"""The training program of UniSE, on data that `prepare` made with BiCodec."""

import functools
from typing import Any

import jax

from quarkaudio_jax.config import ConfigError, LMModelConfig
from quarkaudio_jax.data.prepared import SequenceLayout
from quarkaudio_jax.lm.inputs import LMConfig
from quarkaudio_jax.lm.unise import Unise, init_unise
from quarkaudio_jax.lm.variants import configured_unise
from quarkaudio_jax.nn.dtypes import DTYPES
from quarkaudio_jax.tokens.unise import CODEC, UNISE_TASKS, answer_of_record
from quarkaudio_jax.training.lm_program import LMProgram
from quarkaudio_jax.weights.models import LMModel
from quarkaudio_jax.weights.saved_unise import read_initial_unise

UNUSED = (
    "backbone",
    "codebook_weights",
    "condition_dropout",
    "condition_stack",
    "aligned_rate",
    "bidirectional_prefix",
    "encoder_layers",
    "ar_codebooks",
    "loss_pieces",
)
"""Fields of `config.lm` that UniSE has no use for."""


class UniseProgram(LMProgram):
    """The `Program` of UniSE: the language model's, with one codebook, the ids of `tokens.unise`."""

    def _set_up(self) -> None:
        cfg, plain = self.cfg, LMModelConfig()
        for name in UNUSED:
            if (value := getattr(cfg.lm, name)) != getattr(plain, name):
                raise ConfigError(f"config.lm.{name} is {value!r}, but UniSE has no such part: leave it out")
        if cfg.dataset.codec != CODEC:
            raise ConfigError(
                f"{cfg.data.folder} has codes of {cfg.dataset.codec}; UniSE needs data of `prepare` with BiCodec, "
                "--config=configs/prepare.py:unise"
            )
        if unknown := set(cfg.dataset.tasks) - set(UNISE_TASKS):
            names = ", ".join(f"config.data.weights.{task}" for task in sorted(unknown))
            raise ConfigError(f"UniSE has no task {', '.join(sorted(unknown))}: set {names} to 0")
        unise = configured_unise(cfg)
        self.lm_cfg = LMConfig(unise.backbone, (unise.vocabulary,), unise.feature_dim)
        dtype = DTYPES[cfg.lm.dtype]
        self.model = Unise(unise, dtype, remat=cfg.lm.remat, unroll=cfg.lm.unroll)
        self.layout = SequenceLayout(0, codes_of=functools.partial(answer_of_record, unise.global_size))

    def _init_params(self, key: jax.Array) -> Any:
        return init_unise(self.model, key)

    def initial_model(self, abstract_model: LMModel) -> LMModel:
        """See `Program.initial_model`; also of UniSE's published weight file."""
        return read_initial_unise(self.cfg.init_from, self.model.cfg, abstract_model)

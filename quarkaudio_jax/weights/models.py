"""The variables of models as trained and saved: parameters, codebooks and averages."""

from typing import Any

import flax.struct
import jax

from quarkaudio_jax.codec.hcodec import HCodec, init_variables
from quarkaudio_jax.codec.variants import get_variant
from quarkaudio_jax.config import CodecTrainConfig, LMTrainConfig, UniseTrainConfig
from quarkaudio_jax.lm.model import LanguageModel, init_params
from quarkaudio_jax.lm.unise import Unise, init_unise
from quarkaudio_jax.lm.variants import configured_lm, configured_unise


class CodecModel(flax.struct.PyTreeNode):
    """The variables of a codec; ema: exponential moving average of `params`, or None."""

    params: Any
    codebooks: Any
    ema: Any


class LMModel(flax.struct.PyTreeNode):
    """The parameters of a language model; ema: their exponential moving average, or None."""

    params: Any
    ema: Any


def eval_params(model: CodecModel | LMModel) -> Any:
    """Parameters for evaluation and inference: the moving average if there is one."""
    return model.params if model.ema is None else model.ema


def abstract_codec(cfg: CodecTrainConfig) -> CodecModel:
    """Shapes of a codec's variables, boxed with logical axis names."""
    codec = HCodec(get_variant(cfg.codec.variant))
    variables = jax.eval_shape(lambda key: init_variables(codec, key), jax.random.key(0))
    return CodecModel(variables["params"], variables["codebooks"], variables["params"] if cfg.ema_decay > 0 else None)


def abstract_lm(cfg: LMTrainConfig) -> LMModel:
    """Shapes of the parameters of a language model or of UniSE, boxed with logical axis names."""

    def init(key: jax.Array) -> Any:
        if isinstance(cfg, UniseTrainConfig):
            return init_unise(Unise(configured_unise(cfg)), key)
        return init_params(LanguageModel(configured_lm(cfg)), key)

    params = jax.eval_shape(init, jax.random.key(0))
    return LMModel(params, params if cfg.ema_decay > 0 else None)

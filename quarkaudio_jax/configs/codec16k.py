"""H-Codec 1.0 at 16 kHz, 25 Hz frames, on HuBERT features.

    python -m quarkaudio_jax.train --config=configs/codec16k.py --workdir=runs/codec16k

Variants, after the colon:

    large  the official size, 137 M parameters (the default). Not yet run.
    tiny   for a laptop's CPU, on the `mel` stand-in features; two steps in the tests.

HuBERT: --config.features.weights=FOLDER with bosonai/hubert_base; by default from the Hugging Face cache. Fine-tuning:
--config.init_from=CHECKPOINT, for example of `convert import`.
Your own audio: see configs/codec48k.py.
"""

from quarkaudio_jax.config import CodecTrainConfig, to_config_dict

from .codec48k import tiny_training


def get_config(variant: str = "large"):
    """The experiment of that variant."""
    config = to_config_dict(CodecTrainConfig())
    config.codec.quantizer_dropout = True
    if variant == "large":
        config.codec.variant = "hcodec_16k"
        config.codec.dtype = "bfloat16"
        config.features.recipe = "hubert"
        config.data.batch_size = 64
        config.data.workers = 8
    elif variant == "tiny":
        tiny_training(config)
        config.codec.variant = "hcodec_16k_tiny"
    else:
        raise ValueError(f"configs/codec16k.py has no variant {variant!r}; choose large or tiny")
    return config

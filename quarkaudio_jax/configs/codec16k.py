"""H-Codec 1.0 at 16 kHz, 25 Hz frames, on HuBERT features.

    python -m quarkaudio_jax.train --config=configs/codec16k.py --workdir=runs/codec16k

Variants, after the colon:

    large  the official size, 137 M parameters (the default). Not yet run.
    small  4 M parameters, speech at 4 kbit/s, on the `mel` stand-in features; for CPUs: without discriminators. 5000 steps
           (launch/train_builtin.sh; 68 min on two busy cores) are the built-in codec: STOI 0.826, PESQ 1.21, mel
           distance 1.46 on real speech (docs/training.md).
    tiny   for a laptop's CPU, on the `mel` stand-in features; two steps in the tests.

HuBERT: --config.features.weights=FOLDER with bosonai/hubert_base; by default from the Hugging Face cache. Fine-tuning:
--config.init_from=CHECKPOINT, for example of `convert import`.
Your own audio: see configs/codec48k.py.
"""

from quarkaudio_jax.config import CodecTrainConfig, to_config_dict

from .codec48k import tiny_training


def small_training(config) -> None:
    """Sets the built-in codec: reconstruction losses alone, small batches of short crops."""
    config.codec.variant = "hcodec_16k_small"
    config.codec.quantizer_dropout = False
    config.codec.revive_below = 0.03
    config.data.batch_size = 8
    config.data.crop_seconds = 1.28
    config.data.threads = 2
    config.optim.lr = 1e-3
    config.optim.warmup_steps = 200
    config.optim.schedule = "cosine"
    config.optim.weight_decay = 0.0
    config.losses.ssl = 1.0
    config.losses.stft = 2.0
    config.losses.adversarial = 0.0
    config.losses.feature_matching = 0.0
    config.losses.mel_windows = (32, 128, 512, 2048)
    config.losses.mel_bands = (5, 20, 80, 160)
    config.losses.stft_windows = (1024, 256)
    config.ema_decay = 0.998
    config.loop.steps = 5000
    config.loop.log_every = 20
    config.loop.eval_every = 250
    config.loop.checkpoint_every = 200


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
    elif variant == "small":
        small_training(config)
    elif variant == "tiny":
        tiny_training(config)
        config.codec.variant = "hcodec_16k_tiny"
    else:
        raise ValueError(f"configs/codec16k.py has no variant {variant!r}; choose large, small or tiny")
    return config

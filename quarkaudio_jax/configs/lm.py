"""The QuarkAudio language model on prepared examples of all tasks.

    python -m quarkaudio_jax.train --config=configs/lm.py:small --workdir=runs/lm --config.data.folder=data/lm

Variants, after the colon (layers x width; see lm/variants.py):

    tiny     4 x 192, for a laptop's CPU; results in docs/benchmarks.md.
    restore  4 x 192 with what helps a model with little data: restoration over quarkaudio/speech16k; 0.35 s a
             step on two cores. This is quarkaudio/restore16k (docs/training.md).
    small    12 x 512, the size of UniSE (the default). Not yet run to its end.
    base     12 x 768. Not yet run.
    large    24 x 896, the size of Qwen2.5-0.5B, whose layers can initialize it: --config.lm.backbone=FOLDER. Not yet run;
             by the TPU compiler's estimate 5.2 GiB per chip and 0.77 s per step on v5e:4x4 (docs/performance.md).
    1b5      28 x 1536, the size of Qwen2.5-1.5B. Not yet run.

The data comes from `prepare` (configs/prepare.py). Sampling weights of the tasks: --config.data.weights.lass=2.
The schedule is UniSE's. Hardware beyond small: a TPU slice.
"""

from quarkaudio_jax.config import LMTrainConfig, to_config_dict


def get_config(variant: str = "small"):
    """The experiment of that variant."""
    config = to_config_dict(LMTrainConfig())
    config.lm.size = variant
    if variant == "tiny":
        config.data.batch_size = 8
        config.data.length = 512
        config.optim.lr = 1e-3
        config.optim.warmup_steps = 100
        config.loop.steps = 20_000
        config.loop.log_every = 20
        config.loop.eval_every = 500
        config.loop.checkpoint_every = 500
    elif variant == "restore":
        config.lm.size = "tiny"
        config.lm.unroll = True
        config.lm.dropout = config.lm.attention_dropout = 0.1
        config.lm.condition_stack = 2
        config.lm.aligned_rate = 1.0
        config.lm.bidirectional_prefix = True
        config.lm.encoder_layers = 2
        config.lm.loss_pieces = 4
        config.data.batch_size = 8
        config.data.length = 224
        config.ema_decay = 0.998
        config.optim.lr = 1.5e-3
        config.optim.b2 = 0.98
        config.optim.schedule = "cosine"
        config.optim.warmup_steps = 200
        config.loop.steps = 7_000
        config.loop.log_every = 20
        config.loop.eval_every = 250
        config.loop.checkpoint_every = 250
    elif variant in ("small", "base"):
        config.lm.dtype = "bfloat16"
        config.data.batch_size = 64
        config.data.workers = 4
    elif variant in ("large", "1b5"):
        config.lm.dtype = "bfloat16"
        config.lm.remat = "attention"
        config.data.batch_size = 256
        config.data.workers = 8
        config.mesh.fsdp = -1
        config.mesh.data = 1
    else:
        raise ValueError(f"configs/lm.py has no variant {variant!r}; choose tiny, restore, small, base, large or 1b5")
    return config

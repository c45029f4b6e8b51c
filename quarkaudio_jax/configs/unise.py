"""UniSE, the published task model, on data that `prepare` made with BiCodec (configs/prepare.py:unise).

    python -m quarkaudio_jax.train --config=configs/unise.py --workdir=runs/unise --config.data.folder=data/unise

Variants, after the colon:

    full  12 x 512, the published size (the default). Its published checkpoint has 109,367 steps; a million examples an
          epoch, 21 epochs, so 192 examples a step. The published schedule, attention dropout 0.1, label smoothing 0.1.
          Not yet run to its end.
    tiny  4 x 192, for a laptop's CPU.

Fine-tuning of the published weights: --config.init_from=unise.ckpt --config.optim.lr=1e-4 --config.optim.warmup_steps=200
The data's settings differ from the published ones where docs/choices.md says so. Hardware beyond tiny: a TPU slice.
"""

from quarkaudio_jax.config import UniseTrainConfig, to_config_dict


def get_config(variant: str = "full"):
    """The experiment of that variant."""
    config = to_config_dict(UniseTrainConfig())
    config.data.length = 800  # the longest sequence of 5 s with an enrollment of 5 s has 787
    if variant == "full":
        config.lm.size = "small"
        config.lm.dtype = "bfloat16"
        config.data.batch_size = 192
        config.data.workers = 8
        config.loop.steps = 110_000
    elif variant == "tiny":
        config.lm.size = "tiny"
        config.data.batch_size = 8
        config.optim.warmup_steps = 100
        config.loop.steps = 20_000
        config.loop.log_every = 20
        config.loop.eval_every = 500
        config.loop.checkpoint_every = 500
    else:
        raise ValueError(f"configs/unise.py has no variant {variant!r}; choose full or tiny")
    return config

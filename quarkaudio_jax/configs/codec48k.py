"""H-Codec 2.0 at 48 kHz, 12.5 Hz frames, from audio files or the embedded corpus.

    python -m quarkaudio_jax.train --config=configs/codec48k.py:tiny --workdir=runs/tiny

Variants, after the colon:

    large  the official size, 1.24 G parameters (the default). Hardware: a TPU pod slice. Not yet run; by the TPU
           compiler's estimate 13 of 15.75 GiB per chip and 0.57 s per step on v5e:4x4 (docs/performance.md).
    base   78 M parameters, for one accelerator. Only eight steps on a CPU so far (docs/benchmarks.md).
    tiny   3.4 M parameters, for a laptop's CPU; results in docs/benchmarks.md.

Phases are faded out where the spectrum is empty, so that codes do not depend on rounding (docs/choices.md). The
published weights were trained without fading: to fine-tune them with --config.init_from, add
--config.codec.variant=hcodec_48k. Runs of versions without fading need hcodec_48k, hcodec_48k_base or hcodec_48k_tiny.

Your own audio: --config.data.speech.paths=/my/folder (folders, globs, .scp lists, TFDS sets, separated by commas), and
--config.data.music.paths= --config.data.events.paths= to leave those out.
"""

from quarkaudio_jax.config import CodecTrainConfig, to_config_dict


def tiny_training(config) -> None:
    """Sets small batches, crops, discriminators and losses, for a laptop's CPU."""
    config.data.batch_size = 4
    config.data.crop_seconds = 1.5
    config.optim.lr = 1e-3
    config.optim.warmup_steps = 50
    config.discriminator_optim.lr = 5e-4
    config.discriminator_optim.warmup_steps = 50
    config.discriminators.crop_seconds = 0.5
    config.discriminators.periods = (3,)
    config.discriminators.period_channels = (8, 16, 32)
    config.discriminators.fft_sizes = (512,)
    config.discriminators.bands = (0.0, 0.2, 1.0)
    config.discriminators.spectral_channels = 4
    config.losses.mel_windows = (128, 512, 2048)
    config.losses.mel_bands = (20, 40, 80)
    config.losses.stft_windows = (1024,)
    config.loop.steps = 20_000
    config.loop.log_every = 20
    config.loop.eval_every = 500
    config.loop.checkpoint_every = 500


def get_config(variant: str = "large"):
    """The experiment of that variant."""
    config = to_config_dict(CodecTrainConfig())
    if variant == "large":
        config.codec.variant = "hcodec_48k_faded"
        config.codec.dtype = "bfloat16"
        config.codec.remat = "full"
        config.data.batch_size = 128
        config.data.workers = 8
        config.mesh.fsdp = -1
        config.mesh.data = 1
        config.losses.perceptual = 1.0
        config.ema_decay = 0.999
    elif variant == "base":
        config.codec.variant = "hcodec_48k_base_faded"
        config.codec.dtype = "bfloat16"
        config.data.batch_size = 16
        config.data.workers = 8
        config.loop.steps = 400_000
    elif variant == "tiny":
        tiny_training(config)
        config.codec.variant = "hcodec_48k_tiny_faded"
    else:
        raise ValueError(f"configs/codec48k.py has no variant {variant!r}; choose large, base or tiny")
    return config

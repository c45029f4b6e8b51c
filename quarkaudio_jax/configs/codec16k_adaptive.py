"""H-Codec 1.5 at 16 kHz, adaptive frame rate of at most 25 Hz, on wav2vec 2.0 (xlsr-53) features.

    python -m quarkaudio_jax.train --config=configs/codec16k_adaptive.py --workdir=runs/adaptive

Variants, after the colon:

    large  the official size, 678 M parameters (the default). Not yet run.
    tiny   for a laptop's CPU, on the `mel` stand-in features; two steps in the tests.

Each item of a batch is grouped at a threshold drawn between 0.7 and 1.0 (the variant's
`train_thresholds`). Weights of the SSL model and fine-tuning: see configs/codec16k.py.
"""

from . import codec16k


def get_config(variant: str = "large"):
    """The experiment of that variant."""
    if variant not in ("large", "tiny"):
        raise ValueError(f"configs/codec16k_adaptive.py has no variant {variant!r}; choose large or tiny")
    config = codec16k.get_config(variant)
    if variant == "large":
        config.codec.variant = "hcodec_16k_adaptive"
        config.codec.remat = "full"
        config.features.recipe = "wav2vec2"
        config.mesh.fsdp = -1
        config.mesh.data = 1
    else:
        config.codec.variant = "hcodec_16k_adaptive_tiny"
    return config

"""HCodec-Spatial at 16 kHz, 25 Hz frames: stereo, or mono to stereo by position; wav2vec 2.0 (xlsr-53) features.

    python -m quarkaudio_jax.train --config=configs/codec16k_stereo.py --workdir=runs/stereo

Variants, after the colon:

    large             the official size, 242 M parameters, 4 + 4 + 2 codebooks (the default). Not yet run.
    mono2stereo       267 M parameters, 4 + 4 + 4 codebooks and the mapping of mono to stereo. Not yet run.
    tiny              for a laptop's CPU, on the `mel` stand-in features.
    mono2stereo_tiny  the same with the mapping.

Stereo files are used as they are; mono files are heard from a random position each time they are read
(`data.simulation.head`), which is also what the mapping is trained on. How the published weights were trained is not
public. Weights of the SSL model and fine-tuning: see configs/codec16k.py.
"""

from . import codec16k

VARIANTS = {
    "large": ("large", "hcodec_16k_stereo"),
    "mono2stereo": ("large", "hcodec_16k_mono2stereo"),
    "tiny": ("tiny", "hcodec_16k_stereo_tiny"),
    "mono2stereo_tiny": ("tiny", "hcodec_16k_mono2stereo_tiny"),
}
"""Variant -> (variant of codec16k.py, codec)."""


def get_config(variant: str = "large"):
    """The experiment of that variant."""
    if variant not in VARIANTS:
        raise ValueError(f"configs/codec16k_stereo.py has no variant {variant!r}; choose {', '.join(VARIANTS)}")
    size, codec = VARIANTS[variant]
    config = codec16k.get_config(size)
    config.codec.variant = codec
    if size == "large":
        config.features.recipe = "wav2vec2"
        config.data.batch_size = 32
    return config

"""Training data for the language model: examples of every task with SSL features and codes.

    python -m quarkaudio_jax.prepare --config=configs/prepare.py:tiny --config.codec=runs/first --output=data/tiny

Variants, after the colon:

    full     a million examples of 5 s from your own audio (the default). Hardware: many hosts. Not yet run.
    tiny     64 examples of every task from the embedded corpus, mel features, for a laptop.
    restore  8000 examples of restoration of 4 s, four mixtures of a target, mel features and
             1 of the codec's 4 kbit/s, for configs/lm.py:restore.
    unise    a million examples of UniSE's tasks, with BiCodec's tokens and WavLM's features, in segments of 5 s:
             --config.codec=Spark-TTS-0.5B, the folder with BiCodec and wav2vec2-large-xlsr-53. Not yet run.
    codec    audio with HuBERT features, for training codecs (no codec is needed).

Your own audio: --config.sources.speech=speech.jsonl --config.sources.events=events.jsonl (see `quarkaudio manifest`).
Listen first: python -m quarkaudio_jax.simulate --config=configs/prepare.py --task=restoration --output=listen
"""

from quarkaudio_jax.config import PrepareConfig, to_config_dict
from quarkaudio_jax.tokens.tasks import TASKS
from quarkaudio_jax.tokens.unise import UNISE_TASKS


def get_config(variant: str = "full"):
    """Returns the configuration of a variant."""
    config = to_config_dict(PrepareConfig())
    if variant == "full":
        config.features.recipe = "wavlm"
        config.workers = 8
        for task in TASKS:
            config.examples[task] = 125_000
    elif variant == "tiny":
        config.features.recipe = "mel"
        config.feature_width = 96
        config.simulation.seconds = 2.0
        config.simulation.talkers.enrollment = (1.0, 2.0)
        config.simulation.conversion.reference = (1.0, 2.0)
        config.shard = 32
        for task in TASKS:
            config.examples[task] = 64
    elif variant == "restore":
        config.codec = "quarkaudio/speech16k"
        config.num_codebooks = 2
        config.features.recipe = "mel"
        config.feature_width = 96
        config.simulation.seconds = 4.0
        config.draws = 4
        config.shard = 80
        config.examples.restoration = 8000
    elif variant == "unise":
        config.features.recipe = "wavlm"
        config.simulation.talkers.enrollment = (5.0, 5.0)
        config.simulation.final_peak = (0.1, 0.99)
        config.workers = 8
        for task in UNISE_TASKS:
            config.examples[task] = 333_333
    elif variant == "codec":
        config.features.recipe = "hubert"
        config.examples.codec_speech = 20_000
        config.examples.codec_music = 10_000
        config.examples.codec_events = 10_000
    else:
        raise ValueError(f"configs/prepare.py has no variant {variant!r}; choose full, tiny, restore, unise or codec")
    return config

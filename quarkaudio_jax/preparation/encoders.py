"""What `prepare` computes of simulated examples: SSL features, features of texts, and codes."""

from collections.abc import Sequence

import numpy as np

from quarkaudio_jax.config import PrepareConfig
from quarkaudio_jax.inference.features import FeatureEncoder
from quarkaudio_jax.inference.targets import load_targets
from quarkaudio_jax.weights.ssl import load_extractor
from quarkaudio_jax.weights.text import load_text_extractor


class Encoders:
    """SSL model, text encoder and, if there are tasks, the targets' codec, in batches of fixed shapes."""

    def __init__(self, cfg: PrepareConfig, with_codec: bool):
        named = (cfg.codec, cfg.codec_features, cfg.batch_size, cfg.simulation.seconds, cfg.num_codebooks or None)
        self.targets = load_targets(*named) if with_codec else None
        self.text = load_text_extractor(cfg.text.recipe, cfg.text.weights)
        extractor = load_extractor(cfg.features.recipe, cfg.features.weights)
        width = extractor.cfg.dim if extractor.cfg is not None else cfg.feature_width
        self.features = FeatureEncoder(extractor, width, cfg.batch_size)

    def codes(self, waves: Sequence[np.ndarray]) -> list[dict[str, np.ndarray]]:
        """The codes of each wave, in the dtypes of prepared data; equal waves are encoded once."""
        assert self.targets is not None, "made with with_codec=False"
        places: dict[bytes, int] = {}
        which = [places.setdefault(wave.tobytes(), len(places)) for wave in waves]
        found = self.targets([waves[which.index(place)] for place in range(len(places))])
        return [found[place] for place in which]

"""Configuration of the SSL and text features."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class FeatureConfig:
    """SSL features.

    recipe: a name of `ssl.features`. weights: Hugging Face folder or hub name of its model (empty: the recipe's own).
    model: hub name and checksum of the model in use, recorded by training.
    """

    recipe: str = "mel"
    weights: str = ""
    model: str = ""


@dataclasses.dataclass(frozen=True)
class TextConfig:
    """Text features.

    recipe: a name of `text.features`. weights: Hugging Face folder or hub name of its model (empty: the recipe's own).
    """

    recipe: str = "bytes"
    weights: str = ""

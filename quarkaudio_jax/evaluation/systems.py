"""Systems to evaluate: a codec, a language model with its codec, or files made elsewhere."""

import collections
import itertools
import pathlib
from collections.abc import Iterable, Sequence

import numpy as np

from quarkaudio_jax.evaluation.datasets import Item
from quarkaudio_jax.io import audio
from quarkaudio_jax.io.audio import AudioError, by_name, read_channels, read_mono
from quarkaudio_jax.metrics.reconstruction import si_sdr


class CodecSystem:
    """A codec that reconstructs the source of an item."""

    def __init__(self, codec):
        self._codec, self.rate, self.channels = codec, codec.sample_rate, codec.channels

    def __call__(self, item: Item) -> list[np.ndarray]:
        """The outputs (S,), of a stereo codec (S, 2), one for each target."""
        return [self.reconstruct(item.source)]

    def reconstruct(self, path: pathlib.Path) -> np.ndarray:
        """Encode and decode a recording."""
        return self._codec.reconstruct(read_channels(path, self.channels, self.rate)[0])


class TaskSystem:
    """A language model that runs a task; its codec's reconstruction of a target is the upper bound."""

    channels = 1

    def __init__(self, model, task: str, seed: int = 0):
        self._model, self._task, self._seed = model, task, seed
        self.rate = model.sample_rate

    def __call__(self, item: Item) -> list[np.ndarray]:
        """The outputs (S,), one for each target; two speakers for separation."""
        wave, _ = read_mono(item.source, self.rate)
        if self._task == "separation":
            return self._model.separate(wave, seed=self._seed)
        voice = None if item.voice is None else read_mono(item.voice, self.rate)
        return [self._model(self._task, wave, text=item.prompt, reference=voice, seed=self._seed)]

    def reconstruct(self, path: pathlib.Path) -> np.ndarray:
        """Encode and decode a recording with the codec alone."""
        return self._model.codec.reconstruct(read_mono(path, self.rate)[0])


def _stem(name: str) -> str:
    """The name of an item without an audio extension."""
    plain = pathlib.PurePath(name)
    return str(plain.with_suffix("")) if plain.suffix.lower() in audio.EXTENSIONS else name


class FileSystem:
    """Outputs made elsewhere: FOLDER/NAME.EXTENSION, or FOLDER/NAME.1.EXTENSION and so on for several outputs."""

    reconstruct = None
    channels = 1

    def __init__(self, folder: pathlib.Path, outputs: int, items: Sequence[str] = ()):
        """items: names of all items; those that differ in their extensions only need outputs that keep it."""
        self._folder, self._outputs = folder, outputs
        self._found = by_name(folder)
        self._stems = collections.Counter(_stem(name) for name in items)
        self.rate = 0

    def __call__(self, item: Item) -> list[np.ndarray]:
        """The outputs (S,), all at the sample rate of the first, which sets `rate`."""
        stems = [item.name] if self._stems[_stem(item.name)] > 1 else [item.name, _stem(item.name)]
        for stem in stems:
            names = [stem] if self._outputs == 1 else [f"{stem}.{i + 1}" for i in range(self._outputs)]
            if all(name in self._found for name in names):
                break
        else:
            missing = next(name for name in names if name not in self._found)
            raise AudioError(f"{missing}: no file of that name in {self._folder}")
        first, self.rate = read_mono(self._found[names[0]])
        return [first, *(read_mono(self._found[name], self.rate)[0] for name in names[1:])]


def in_order(outputs: Sequence[np.ndarray], targets: Sequence[np.ndarray], rate: int) -> list[np.ndarray]:
    """The outputs in the order with the highest total SI-SDR against the targets."""

    def total(order: Iterable[np.ndarray]) -> float:
        pairs = ((t[: len(o)], o[: len(t)]) for t, o in zip(targets, order, strict=True))
        return float(np.nansum([si_sdr(t, o, rate) for t, o in pairs]))

    return list(max(itertools.permutations(outputs), key=total))

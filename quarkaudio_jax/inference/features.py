"""SSL features of many waves, in batches of few shapes so that few programs are compiled."""

import collections
from collections.abc import Iterator, Sequence

import jax
import numpy as np

from quarkaudio_jax.data.crops import GRID_HZ
from quarkaudio_jax.errors import UserError
from quarkaudio_jax.ssl.features import Extractor
from quarkaudio_jax.types import ceil_div, round_up


class FeatureEncoder:
    """Computes the SSL features of waves of any length. width: dimension of the features."""

    def __init__(self, extractor: Extractor, width: int, batch: int):
        if extractor.stored:
            raise UserError(f"config.features.recipe is {extractor.name!r}, which can't be computed; name a model")
        self.width, self._batch = width, batch
        self._params = jax.device_put(extractor.params)
        self._extract = jax.jit(
            lambda params, wave, rate, lengths: extractor(params, wave, rate, _hop(rate), width, lengths_B=lengths),
            static_argnums=2,
        )

    def __call__(self, waves: Sequence[np.ndarray], rate: int) -> list[np.ndarray]:
        """(T, width) float32 of each wave, 50 frames a second; T = 0 for waves shorter than a frame."""
        hop = _hop(rate)
        out = [np.zeros((0, self.width), np.float32)] * len(waves)
        aligned = {i: w[: len(w) // hop * hop] for i, w in enumerate(waves) if len(w) >= hop}
        keys = list(aligned)
        for which, batch, lengths in batches(list(aligned.values()), 25 * hop, self._batch):
            found = np.asarray(self._extract(self._params, batch, rate, lengths))
            for row, index in enumerate(which):
                out[keys[index]] = found[row, : lengths[row] // hop]
        return out


def batches(waves: Sequence[np.ndarray], unit: int, size: int) -> Iterator[tuple[list[int], np.ndarray, np.ndarray]]:
    """Yields (indices, (B, S), lengths) with B = size, of waves of similar lengths."""
    groups = collections.defaultdict(list)
    for index, wave in enumerate(waves):
        groups[_rounded(ceil_div(len(wave), unit))].append(index)
    for units, members in sorted(groups.items()):
        for begin in range(0, len(members), size):
            which = members[begin : begin + size]
            batch = np.zeros((size, units * unit), np.float32)
            lengths = np.full(size, len(waves[which[-1]]), np.int32)
            for row, index in enumerate(which):
                batch[row, : len(waves[index])] = waves[index]
                lengths[row] = len(waves[index])
            yield which, batch, lengths


def _rounded(units: int) -> int:
    """Rounds up to one of four lengths an octave: few programs, and little padding."""
    step = 1 << max(units.bit_length() - 3, 0)
    return round_up(units, step)


def _hop(rate: int) -> int:
    """Samples of a feature frame at `rate`."""
    return rate // GRID_HZ

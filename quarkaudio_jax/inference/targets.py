"""The codes of prepared targets: those of an H-Codec, or BiCodec's tokens for UniSE."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from quarkaudio_jax.errors import UserError
from quarkaudio_jax.inference.bicodec import load_bicodec
from quarkaudio_jax.inference.codec import load_codec
from quarkaudio_jax.inference.features import batches
from quarkaudio_jax.inference.unise import reference_segment
from quarkaudio_jax.io.transforms import wrap_pad
from quarkaudio_jax.weights.repository import locate
from quarkaudio_jax.weights.saved_bicodec import bicodec_folder


class CodecTargets:
    """Codes of an H-Codec for one channel.

    name, fingerprint, sample_rate: of the codec. codebooks: sizes of each stream's stored codebooks. max_duration: see
    `DatasetInfo`. batch: waves at a time. num_codebooks: see `Codec.encode`.
    """

    def __init__(
        self, source: str | os.PathLike, features: str | os.PathLike, batch: int, num_codebooks: int | None = None
    ):
        self._codec, self._batch = load_codec(source, features), batch
        codec = self._codec
        codec.require_mono("language models are over the codes of mono codecs")
        self.name, self.fingerprint, self.sample_rate = codec.name, codec.fingerprint(), codec.sample_rate
        self._num_codebooks = num_codebooks
        sizes = zip(codec.codebook_size, codec.kept_codebooks(num_codebooks), strict=True)
        self.codebooks = tuple((size,) * count for size, count in sizes)
        aggregation = codec.cfg.aggregation
        self.max_duration = aggregation.max_group if aggregation is not None and codec.is_adaptive else 0

    def fit(self, example: dict[str, Any]) -> dict[str, Any]:
        """The example as it is: sequences may have any length."""
        return example

    def __call__(self, waves: Sequence[np.ndarray]) -> list[dict[str, np.ndarray]]:
        """The codes of each wave: acoustic (T, K) and semantic (T, K), uint16, and durations, uint8."""
        out: list[dict[str, np.ndarray]] = [{}] * len(waves)
        for which, batch, lengths in batches(waves, self.sample_rate // 2, self._batch):
            codes = self._codec.encode(batch, lengths=lengths, num_codebooks=self._num_codebooks)
            streams = {"acoustic": codes.acoustic_BxTxK, "semantic": codes.semantic_BxTxK}
            streams = {name: np.asarray(c) for name, c in streams.items()}
            assert codes.lengths_B is not None
            durations = None if codes.durations_BxT is None else np.asarray(codes.durations_BxT)
            for row, index in enumerate(which):
                count = int(codes.lengths_B[row])
                out[index] = {name: c[row, :count].astype(np.uint16) for name, c in streams.items()}
                out[index]["durations"] = (
                    np.zeros(0, np.uint8) if durations is None else durations[row, :count].astype(np.uint8)
                )
        return out


class BiCodecTargets:
    """BiCodec's tokens: global ones as `acoustic` (N, 1), semantic ones as `semantic` (T, 1).

    seconds: of the segments, to which shorter recordings are repeated as in the published pipeline. The other attributes
    are those of `CodecTargets`.
    """

    max_duration = 0

    def __init__(self, source: str | os.PathLike, features: str | os.PathLike, batch: int, seconds: float):
        self._codec, self._batch, self._seconds = load_bicodec(source, features), batch, seconds
        codec = self._codec
        self.name, self.fingerprint, self.sample_rate = codec.name, codec.fingerprint(), codec.sample_rate
        self.codebooks = tuple((size,) for size in codec.codebook_size)

    def fit(self, example: dict[str, Any]) -> dict[str, Any]:
        """The example in whole segments, its reference at the level of inference."""
        count = round(self._seconds * self.sample_rate)
        fitted = {name: wrap_pad(example[name], count) for name in ("source", "target")}
        if len(example["reference"]):
            fitted["reference"] = reference_segment(example["reference"], self.sample_rate, self._seconds)
        return {**example, **fitted}

    def __call__(self, waves: Sequence[np.ndarray]) -> list[dict[str, np.ndarray]]:
        """The tokens of each wave, uint16; durations is empty."""
        out: list[dict[str, np.ndarray]] = [{}] * len(waves)
        for which, batch, lengths in batches(waves, self.sample_rate // 2, self._batch):
            tokens = self._codec.encode(batch, lengths=lengths)
            for row, index in enumerate(which):
                semantic = np.asarray(tokens.semantic_BxT)[row, : int(tokens.lengths_B[row])]
                out[index] = {
                    "acoustic": np.asarray(tokens.globals_BxN)[row, :, None].astype(np.uint16),
                    "semantic": semantic[:, None].astype(np.uint16),
                    "durations": np.zeros(0, np.uint8),
                }
        return out


def load_targets(
    source: str | os.PathLike, features: str | os.PathLike, batch: int, seconds: float, num_codebooks: int | None = None
) -> CodecTargets | BiCodecTargets:
    """The targets of a codec: BiCodec's if `source` is its folder, those of an H-Codec otherwise.

    num_codebooks: see `Codec.encode`; UserError for BiCodec, whose streams have one.
    """
    if bicodec_folder(locate(source)) is None:
        return CodecTargets(source, features, batch, num_codebooks)
    if num_codebooks is not None:
        raise UserError(f"{source} is BiCodec, whose streams have one codebook each: leave config.num_codebooks at 0")
    return BiCodecTargets(source, features, batch, seconds)

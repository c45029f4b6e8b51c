"""The utterances of a manifest as an audio source."""

import dataclasses
import functools
import pathlib
from collections.abc import Sequence

import numpy as np

from quarkaudio_jax.data.clip import Clip
from quarkaudio_jax.data.crops import Crop, cut
from quarkaudio_jax.data.files import read_clip, read_crop
from quarkaudio_jax.data.manifest import Manifest
from quarkaudio_jax.data.source import Source
from quarkaudio_jax.data.synthetic.generated import generated_prefix, open_generated
from quarkaudio_jax.data.tfds_source import TfdsSource
from quarkaudio_jax.data.utterance import Utterance
from quarkaudio_jax.io import audio


class ManifestSource(Source):
    """The utterances of a manifest: segments of files, records of TFDS sets and clips of the embedded corpus."""

    def __init__(self, path: pathlib.Path, tfds_dir: str = ""):
        self._manifest, self._tfds_dir = Manifest(path), tfds_dir

    def __len__(self) -> int:
        return len(self._manifest)

    def name(self, index: int) -> str:
        """See `Source.name`: the utterance's id."""
        return self._manifest.ids[index]

    def speakers(self) -> Sequence[str]:
        """See `Source.speakers`."""
        return self._manifest.speakers

    def read(self, index: int, seconds: float | None, position: float) -> Crop:
        """See `Source.read`."""
        utterance = self._manifest[index]
        name = self._manifest.resolve(utterance)
        if name.startswith("tfds:"):
            samples, rate = self._record(name, utterance)
            return cut(samples, rate, seconds, position)
        if prefix := generated_prefix(name):
            kind, number = _numbered(name, prefix)
            return open_generated(f"{prefix}{kind}").read(number, seconds, position)
        _, rate, _ = audio.info(name)
        count = round(utterance.duration * rate) if utterance.duration else None
        return read_crop(name, round(utterance.start * rate), count, seconds, position)

    def clip(self, index: int, rate: int) -> Clip:
        """See `Source.clip`."""
        utterance = self._manifest[index]
        name = self._manifest.resolve(utterance)
        if name.startswith("tfds:"):
            return Clip.resampled(utterance, *self._record(name, utterance), rate)
        if prefix := generated_prefix(name):
            kind, number = _numbered(name, prefix)
            return open_generated(f"{prefix}{kind}").clip(number, rate)
        return read_clip(name, utterance, rate)

    def utterance(self, index: int) -> Utterance:
        """See `Source.utterance`; its audio as this process can open it. The audio itself is not checked."""
        utterance = self._manifest[index]
        return dataclasses.replace(utterance, audio=self._manifest.resolve(utterance))

    def _record(self, name: str, utterance: Utterance) -> tuple[np.ndarray, int]:
        """(samples (S, C), rate in Hz) of an utterance in a TFDS set."""
        spec, number = _numbered(name, "tfds:")
        samples, rate, _ = _tfds(spec, self._tfds_dir).record(number)
        begin = round(utterance.start * rate)
        samples = samples[begin : begin + round(utterance.duration * rate) or None]
        if not len(samples):
            raise audio.AudioError(f"{name}: no samples at {utterance.start} s")
        return samples, rate


def _numbered(name: str, prefix: str) -> tuple[str, int]:
    """(NAME, NUMBER) of PREFIX NAME#NUMBER."""
    source, _, number = name.removeprefix(prefix).partition("#")
    if not number.isdecimal() or len(number) > 18:
        raise audio.AudioError(f"{name}: not {prefix}NAME#NUMBER")
    return source, int(number)


@functools.lru_cache(maxsize=16)
def _tfds(spec: str, data_dir: str) -> TfdsSource:
    return TfdsSource(spec, data_dir)

"""Audio that `prepare` stored, as a source."""

import dataclasses
import json

import numpy as np

from quarkaudio_jax.data.clip import Clip
from quarkaudio_jax.data.crops import GRID_HZ, Crop, SourceError, cut
from quarkaudio_jax.data.records import Records
from quarkaudio_jax.data.source import Source
from quarkaudio_jax.data.utterance import DOMAINS, Utterance


class PreparedSource(Source):
    """Audio with features from a folder that `prepare` wrote, such as data/codec_speech."""

    def __init__(self, folder: str):
        self._records = Records(folder)

    def __len__(self) -> int:
        return len(self._records)

    def name(self, index: int) -> str:
        """See `Source.name`."""
        return f"prepared:{self._records.part}/{index}"

    def _record(self, index: int) -> dict:
        record = self._records[index]
        if "wave" not in record:
            raise SourceError(f"{self._records.folder} holds examples of a task, no audio for codec training")
        return {**record, "wave": record["wave"].astype(np.float32)[:, None] / 32767}

    def read(self, index: int, seconds: float | None, position: float) -> Crop:
        """See `Source.read`; with features."""
        record = self._record(index)
        crop = cut(record["wave"], record["rate"], seconds, position)
        frame = round(crop.start * GRID_HZ)
        stop = None if seconds is None else frame + int(np.ceil(seconds * GRID_HZ))
        return dataclasses.replace(crop, features_TxD=record["features"][frame:stop])

    def clip(self, index: int, rate: int) -> Clip:
        """See `Source.clip`."""
        record = self._record(index)
        return Clip.resampled(self._utterance(index, record), record["wave"], record["rate"], rate)

    def utterance(self, index: int) -> Utterance:
        """See `Source.utterance`; without word times, which are not stored."""
        return self._utterance(index, self._record(index))

    def _utterance(self, index: int, record: dict) -> Utterance:
        meta = json.loads(record["meta"])
        domain = self._records.part.removeprefix("codec_")
        return Utterance(
            id=meta.get("id", self.name(index)),
            audio=self.name(index),
            domain=domain if domain in DOMAINS else "speech",
            duration=len(record["wave"]) / record["rate"],
            speaker=meta.get("speaker", ""),
            transcript=meta.get("transcript", ""),
            caption=meta.get("caption", ""),
        )

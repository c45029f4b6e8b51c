"""Audio datasets of TFDS, prepared as ArrayRecord, read without TensorFlow.

TFDS's Audio feature needs TensorFlow as soon as it is built. So features.json is read with every Audio feature replaced
by the plain tensor that it is stored as, and TFDS decodes the records with that.
"""

import io
import json
import pathlib
from typing import Any

import numpy as np

from quarkaudio_jax.data.clip import Clip
from quarkaudio_jax.data.crops import Crop, SourceError, cut
from quarkaudio_jax.data.source import Source
from quarkaudio_jax.data.utterance import Utterance
from quarkaudio_jax.io.audio import AudioError

_TENSOR = "tensorflow_datasets.core.features.tensor_feature.Tensor"


class TfdsSource(Source):
    """The clips of a split. spec: NAME[/CONFIG[/VERSION]][:SPLIT] (train) below the TFDS folder `data_dir`.

    Speaker and transcript (caption, of other domains than speech) come from the fields speaker_id and text,
    text_normalized or text_original, as LibriSpeech and LibriTTS have them.
    """

    def __init__(self, spec: str, data_dir: str, domain: str = "speech"):
        import tensorflow_datasets as tfds
        from array_record.python.array_record_data_source import ArrayRecordDataSource

        name, _, split = spec.partition(":")
        root = pathlib.Path(data_dir or tfds.core.constants.DATA_DIR).expanduser()
        folder = _latest(root / name)
        shards = sorted(folder.glob(f"*-{split or 'train'}.array_record*")) if folder else []
        if folder is None or not shards:
            raise SourceError(
                f"tfds:{spec}: no ArrayRecord files of that set and split in {root / name}; prepare it there "
                "(tfds build --file_format=array_record), or set tfds_dir (config.data.tfds_dir, "
                "config.sources.tfds_dir or --tfds-dir)"
            )
        self._spec, self._domain = spec, domain
        self._key, self._rate, self._features = _features(folder, spec)
        self._records = ArrayRecordDataSource([str(p) for p in shards])

    def __len__(self) -> int:
        return len(self._records)

    def name(self, index: int) -> str:
        """See `Source.name`."""
        return f"tfds:{self._spec}/{index}"

    def record(self, index: int) -> tuple[np.ndarray, int, dict]:
        """Reads (samples (S, C) float32, rate in Hz, all fields) of a clip; AudioError if it can't be used."""
        record = self._features.deserialize_example_np(self._records[index])
        samples, rate = record[self._key], self._rate
        if isinstance(samples, bytes):
            samples, rate = _decode(samples, self.name(index))
        if not rate:
            raise AudioError(f"{self.name(index)}: the set does not state its sample rate")
        samples = np.asarray(samples)
        if np.issubdtype(samples.dtype, np.integer):
            samples = samples.astype(np.float32) / 32768
        samples = samples.astype(np.float32).reshape(len(samples), -1)
        if not len(samples) or not np.isfinite(samples).all():
            raise AudioError(f"{self.name(index)}: the record is empty, NaN or infinite")
        return samples, rate, record

    def read(self, index: int, seconds: float | None, position: float) -> Crop:
        """See `Source.read`."""
        samples, rate, _ = self.record(index)
        return cut(samples, rate, seconds, position)

    def clip(self, index: int, rate: int) -> Clip:
        """See `Source.clip`."""
        samples, stored, record = self.record(index)
        return Clip.resampled(self._utterance(index, len(samples) / stored, record), samples, stored, rate)

    def utterance(self, index: int) -> Utterance:
        """See `Source.utterance`."""
        samples, rate, record = self.record(index)
        return self._utterance(index, len(samples) / rate, record)

    def _utterance(self, index: int, seconds: float, record: dict) -> Utterance:
        text = next((_text(record[n]) for n in ("text_normalized", "text", "text_original") if n in record), "")
        speech = self._domain == "speech"
        return Utterance(
            id=_text(record.get("id", index)),
            audio=f"tfds:{self._spec}#{index}",
            domain=self._domain,
            duration=round(seconds, 6),
            speaker=_text(record["speaker_id"]) if "speaker_id" in record else "",
            transcript=text if speech else "",
            caption="" if speech else text,
        )


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _latest(folder: pathlib.Path) -> pathlib.Path | None:
    """The folder itself if it is a version, else that of its newest version."""
    if (folder / "features.json").is_file():
        return folder
    versions = [p.parent for p in folder.glob("*/features.json") if p.parent.name.replace(".", "").isdigit()]
    return max(versions, key=lambda p: [int(n) for n in p.name.split(".")], default=None)


def _features(folder: pathlib.Path, spec: str):
    """(name of the audio feature, its sample rate or 0, TFDS features that decode a record)."""
    import tensorflow_datasets as tfds

    description = json.loads((folder / "features.json").read_text())
    fields = description.get("featuresDict", {}).get("features", {})
    found = [name for name, field in fields.items() if field["pythonClassName"].endswith(".Audio")]
    if not found:
        raise SourceError(f"tfds:{spec} has no Audio feature; it has {', '.join(fields)}")
    rate = 0
    for name in found:
        stored = fields[name]["audio"]
        rate = rate or int(stored.get("sampleRate", 0))
        lazy = stored.get("lazyDecode", False)
        tensor = {
            "shape": {} if lazy else stored["shape"],
            "dtype": "string" if lazy else stored.get("dtype", "int64"),
            "encoding": stored.get("encoding", "none"),
        }
        fields[name] = {"pythonClassName": _TENSOR, "tensor": tensor}
    return found[0], rate, tfds.features.FeaturesDict.from_json(description)


def _decode(data: bytes, name: str) -> tuple[np.ndarray, int]:
    import soundfile

    try:
        return soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise AudioError(f"{name}: not readable as audio ({error.error_string})") from error

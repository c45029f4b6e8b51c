"""Sets as TFDS stores them. Its Audio feature can only be built with TensorFlow, so it is written as the
tensor that it is stored as, and features.json then says Audio, as TFDS would."""

import io
import json

import numpy as np
import soundfile
import tensorflow_datasets as tfds

AUDIO = "tensorflow_datasets.core.features.audio_feature.Audio"


def write_speech_set(folder, name: str, count: int, lazy: bool = False, texts=("text",)) -> None:
    """`count` clips of 1 s and a few samples at 16 kHz, with the fields of LibriSpeech. lazy: stored as FLAC.

    texts: names of the fields that hold the transcript (LibriTTS has text_original and text_normalized).
    """

    def encoded(samples):
        if not lazy:
            return samples
        file = io.BytesIO()
        soundfile.write(file, samples.astype(np.int16), 16000, format="FLAC")
        return file.getvalue()

    kind = tfds.features.Tensor(shape=() if lazy else (None,), dtype=np.str_ if lazy else np.int64)
    strings = {field: tfds.features.Text() for field in ("id", *texts)}
    numbers = {field: tfds.features.Tensor(shape=(), dtype=np.int64) for field in ("speaker_id", "chapter_id")}

    class Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            features = tfds.features.FeaturesDict({"speech": kind, **strings, **numbers})
            return tfds.core.DatasetInfo(builder=self, features=features)

        def _split_generators(self, _):
            return {"train": self._generate_examples()}

        def _generate_examples(self):
            for i in range(count):
                samples = np.full(16000 + i, 1000 * i, np.int64)
                said = {field: f"{field.removeprefix('text_').upper()} {i}" for field in texts}
                numbers = {"speaker_id": 7 + i % 2, "chapter_id": 1}
                yield i, {"speech": encoded(samples), "id": str(i), **said, **numbers}

    Builder.name = name
    Builder(data_dir=folder, file_format="array_record").download_and_prepare()
    path = folder / name / "1.0.0" / "features.json"
    description = json.loads(path.read_text())
    description["featuresDict"]["features"]["speech"] = {
        "pythonClassName": AUDIO,
        "audio": {"shape": {"dimensions": ["-1"]}, "dtype": "int64", "sampleRate": "16000", "lazyDecode": lazy},
    }
    path.write_text(json.dumps(description))

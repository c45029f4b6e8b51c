"""Prepared data on disk: ArrayRecord files that TFDS can open, written shard by shard, read without TensorFlow.

    OUTPUT/<part>/1.0.0/<part>-train.array_record-00000-of-00010, features.json, dataset_info.json

A part is a task of the language model or a domain of codec training. Arrays are stored as raw bytes of their type
(`encoding="bytes"` in TFDS), their shapes except for the first axis in features.json.
"""

import bisect
import collections
import functools
import itertools
import json
import os
import pathlib
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from quarkaudio_jax.data.crops import SourceError
from quarkaudio_jax.errors import is_exhausted
from quarkaudio_jax.io import atomic
from quarkaudio_jax.io.audio import AudioError
from quarkaudio_jax.tokens.sequence import FEATURE_DTYPES

VERSION = "1.0.0"
OPTIONS = "group_size:1,zstd:1"
"""Options of ArrayRecord: records are compressed one by one, for random access."""


class RecordError(AudioError):
    """A prepared file that is missing, truncated or corrupt; the message names it and the record."""


def task_features(width: int, dtype: str, codebooks: tuple[int, int], text_width: int):
    """TFDS features of an example of a task.

    source, reference: SSL features (T, width), T = 0 for no reference. acoustic, semantic: codes of the target (T, K).
    durations (T,): frames per code, empty for a codec with a fixed rate. text_features (T, text_width). meta: JSON.
    """
    from tensorflow_datasets import features as f

    def array(*shape, kind):
        return f.Tensor(shape=(None, *shape), dtype=kind, encoding="bytes")

    return f.FeaturesDict(
        {
            "id": f.Text(),
            "task": f.Text(),
            "text": f.Text(),
            "text_features": array(max(text_width, 1), kind=FEATURE_DTYPES[dtype]),
            "source": array(width, kind=FEATURE_DTYPES[dtype]),
            "reference": array(width, kind=FEATURE_DTYPES[dtype]),
            "acoustic": array(codebooks[0], kind=np.uint16),
            "semantic": array(codebooks[1], kind=np.uint16),
            "durations": array(kind=np.uint8),
            "meta": f.Text(),
        }
    )


def audio_features(width: int, dtype: str):
    """TFDS features of a clip for codec training: wave (S,) int16 and features (T, width), one per 20 ms."""
    from tensorflow_datasets import features as f

    return f.FeaturesDict(
        {
            "id": f.Text(),
            "wave": f.Tensor(shape=(None,), dtype=np.int16, encoding="bytes"),
            "rate": f.Scalar(np.int32),
            "features": f.Tensor(shape=(None, width), dtype=FEATURE_DTYPES[dtype], encoding="bytes"),
            "meta": f.Text(),
        }
    )


def shard_path(root: pathlib.Path, part: str, number: int, count: int) -> pathlib.Path:
    """Path of a shard of a part."""
    return root / part / VERSION / f"{part}-train.array_record-{number:05d}-of-{count:05d}"


class ShardWriter:
    """Writes one file of records, which gets its name when it is finished. bytes: size of the finished file."""

    def __init__(self, path: pathlib.Path, features: Any):
        from array_record.python.array_record_module import ArrayRecordWriter
        from tensorflow_datasets.core.example_serializer import ExampleSerializer

        self.path, self.count, self.bytes = path, 0, 0
        self._features = features
        self._serializer = ExampleSerializer(features.get_serialized_info())
        self._temporary = atomic.temporary_path(path)
        self._writer = ArrayRecordWriter(str(self._temporary), OPTIONS)

    def write(self, example: Mapping[str, Any]) -> None:
        """Appends an example."""
        proto = self._serializer.get_tf_example(self._features.encode_example(dict(example)))
        data = proto.SerializeToString(deterministic=True)  # the order of TFDS differs between processes
        self._writer.write(data)
        self.count += 1

    def finish(self) -> None:
        """Closes the file, verifies that it is complete on disk, and gives it its name."""
        from array_record.python.array_record_module import ArrayRecordReader

        self._writer.close()
        with open(self._temporary, "rb+") as file:
            os.fsync(file.fileno())
        reader = ArrayRecordReader(str(self._temporary))  # raises if a full disk truncated the file
        found = reader.num_records()
        reader.close()
        if found != self.count:
            raise OSError(f"{found} of {self.count} records reached the disk")
        self.bytes = self._temporary.stat().st_size
        os.replace(self._temporary, self.path)

    def discard(self) -> None:
        """Removes the unfinished file."""
        self._temporary.unlink(missing_ok=True)


def write_metadata(
    root: pathlib.Path, part: str, features: Any, lengths: Sequence[int], sizes: int, about: str
) -> None:
    """Writes features.json and dataset_info.json, so that `tfds.builder_from_directory` opens the part."""
    import tensorflow_datasets as tfds

    folder = root / part / VERSION
    template = tfds.core.ShardedFileTemplate(
        data_dir=str(folder), dataset_name=part, split="train", filetype_suffix="array_record"
    )
    split = tfds.core.SplitInfo(name="train", shard_lengths=list(lengths), num_bytes=sizes, filename_template=template)
    tfds.folder_dataset.write_metadata(
        data_dir=str(folder), features=features, split_infos=[split], description=about, check_data=False
    )


class Readers:
    """Cache of the `limit` most recently used open shards, thread-safe; forked processes open their own."""

    def __init__(self, limit: int):
        self._limit, self._lock, self._pid = limit, threading.Lock(), os.getpid()
        self._open: collections.OrderedDict[str, Any] = collections.OrderedDict()

    def __len__(self) -> int:
        return len(self._open)

    def read(self, path: str, index: int) -> bytes:
        """Reads record `index` of a shard; raises what ArrayRecord raises, or OSError without descriptors or memory."""
        with self._lock:
            if self._pid != os.getpid():
                self._pid, self._open = os.getpid(), collections.OrderedDict()
            if path not in self._open:
                self._open[path] = self._opened(path)
                if len(self._open) > self._limit:
                    self._open.popitem(last=False)[1].__exit__(None, None, None)
            self._open.move_to_end(path)
            return self._open[path][index]

    @staticmethod
    def _opened(path: str) -> Any:
        from array_record.python.array_record_data_source import ArrayRecordDataSource

        with open(path, "rb"):  # raises an OSError with the reason if it can't be opened
            pass
        return ArrayRecordDataSource(path)


_READERS = Readers(64)


class Records:
    """The records of one prepared part, by index; picklable. RecordError: a file is missing or corrupt."""

    def __init__(self, folder: str | os.PathLike):
        import tensorflow_datasets as tfds

        self.folder = pathlib.Path(folder)
        self.part = self.folder.name
        versioned = self.folder / VERSION
        try:
            info = json.loads((versioned / "dataset_info.json").read_text())
            self._features = tfds.features.FeaturesDict.from_json(json.loads((versioned / "features.json").read_text()))
            self._fields = {name: _field(feature) for name, feature in self._features.items()}
            lengths = [int(n) for n in info["splits"][0]["shardLengths"]]
        except (OSError, ValueError, KeyError, IndexError) as error:
            raise SourceError(f"{self.folder}: not finished by prepare, or not made by it ({error})") from error
        self._paths = [str(shard_path(self.folder.parent, self.part, i, len(lengths))) for i in range(len(lengths))]
        for path in self._paths:
            if not os.path.exists(path):
                raise RecordError(f"{path}: missing; run prepare again with the same configuration")
        self._ends = list(itertools.accumulate(lengths))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def width(self, field: str) -> int:
        """Size of the last axis of a field."""
        return self._features[field].shape[-1]

    def locate(self, index: int) -> tuple[int, int]:
        """(shard, index in it) of a record."""
        if not 0 <= index < len(self):
            raise IndexError(f"{self.folder} has {len(self)} records, not a record {index}")
        shard = bisect.bisect_right(self._ends, index)
        return shard, index - (self._ends[shard - 1] if shard else 0)

    def raw(self, index: int) -> bytes:
        """The stored bytes of a record."""
        shard, inner = self.locate(index)
        try:
            return _READERS.read(self._paths[shard], inner)
        except Exception as error:  # ArrayRecord raises several kinds
            if is_exhausted(error):
                raise
            raise RecordError(f"{self._paths[shard]}, record {inner}: can't be read ({_first_line(error)})") from error

    def __getitem__(self, index: int) -> dict[str, Any]:
        """The fields of a record, texts as str."""
        data = self.raw(index)
        try:
            return self._decoded(data)
        except Exception as error:  # protobuf and NumPy each have their own
            shard, inner = self.locate(index)
            message = f"{self._paths[shard]}, record {inner}: is corrupt ({_first_line(error)})"
            raise RecordError(message) from error

    def _decoded(self, data: bytes) -> dict[str, Any]:
        """Decodes as TFDS's `deserialize_example_np` does, without copying arrays and several times faster."""
        stored = _example_class().FromString(data).features.feature
        out: dict[str, Any] = {}
        for name, (kind, shape) in self._fields.items():
            if name not in stored:
                raise ValueError(f"field {name} is missing")
            if kind == "text":
                out[name] = stored[name].bytes_list.value[0].decode()
            elif kind == "number":
                out[name] = stored[name].int64_list.value[0]
            else:
                out[name] = np.frombuffer(stored[name].bytes_list.value[0], kind).reshape(-1, *shape)
        return out


@functools.cache
def _example_class():
    from tensorflow_datasets.proto import tf_example_pb2

    return tf_example_pb2.Example


def _field(feature: Any) -> tuple[Any, tuple[int, ...]]:
    """(type of an array, "text" or "number"; shape after the first axis)."""
    if np.dtype(feature.np_dtype) == np.object_ or feature.np_dtype is np.str_:
        return "text", ()
    if feature.shape == ():
        return "number", ()
    return np.dtype(feature.np_dtype), feature.shape[1:]


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def parts_of(root: str | os.PathLike) -> list[str]:
    """The finished parts of an output folder of `prepare`."""
    return sorted(p.parent.parent.name for p in pathlib.Path(root).glob(f"*/{VERSION}/dataset_info.json"))

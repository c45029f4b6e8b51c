"""Weight files: PyTorch's zip and its old format, Lightning checkpoints, safetensors in one file and in several."""

import functools
import io
import json
import pathlib
import random
import re
import struct
import zipfile

import numpy as np
import safetensors.numpy
import torch

from quarkaudio_jax.weights import files
from tests.fuzz.mutations import damaged, edited, json_bytes

INDEX = "model.safetensors.index.json"


@functools.cache
def tensors() -> dict[str, np.ndarray]:
    """A few weights."""
    rng = np.random.default_rng(0)
    shapes = {"a.weight": (4, 3), "a.bias": (4,), "b.weight_g": (2, 1, 1), "b.weight_v": (2, 3, 5), "scale": ()}
    return {name: np.asarray(rng.standard_normal(shape), np.float32) for name, shape in shapes.items()}


@functools.cache
def good() -> dict[str, bytes]:
    """{name: bytes} of one file of each kind; pickles hold nothing but tensors."""
    weights = {name: torch.from_numpy(value.copy()) for name, value in tensors().items()}
    views = {"a.weight": torch.arange(12.0).view(4, 3)}
    views["a.bias"] = views["a.weight"][0]
    half = {f"generator.{name}": value.bfloat16() for name, value in weights.items()}
    lightning = {"state_dict": half, "epoch": 3, "hyper_parameters": {"lr": 1e-4, "betas": (0.9, 0.99)}}
    return {
        "a.pt": _saved(weights),
        "old.pt": _numbered(_saved(views, _use_new_zipfile_serialization=False)),
        "a.ckpt": _saved(lightning),
        "a.safetensors": safetensors.numpy.save(tensors(), {"format": "pt"}),
    }


def _saved(value, **options) -> bytes:
    memory = io.BytesIO()
    torch.save(value, memory, **options)
    return memory.getvalue()


def _numbered(data: bytes) -> bytes:
    """The old format with a number in place of the address that names its storage, the same in every process."""
    return re.sub(rb"\d{13,}", lambda address: b"1".zfill(len(address[0])), data)


@functools.cache
def shards() -> dict[str, bytes]:
    """A model in two files, with its index first."""
    names = list(tensors())
    halves = {"model-00001-of-00002.safetensors": names[:2], "model-00002-of-00002.safetensors": names[2:]}
    index = {
        "metadata": {"total_size": sum(t.nbytes for t in tensors().values())},
        "weight_map": {name: file for file, part in halves.items() for name in part},
    }
    saved = {file: safetensors.numpy.save({n: tensors()[n] for n in part}) for file, part in halves.items()}
    return {INDEX: json.dumps(index).encode(), **saved}


def make(rng: random.Random) -> dict[str, bytes]:
    """A file, or an index with its shards, one of them mutated."""
    if rng.random() < 0.25:
        return sharded(rng)
    name = rng.choice(list(good()))
    data = good()[name]
    if name == "a.safetensors":
        return {name: tensors_file(rng, data)}
    if name != "old.pt" and rng.random() < 0.6:
        return {name: rezipped(rng, data)}
    return {name: damaged(rng, data, good()[rng.choice(list(good()))])}


def sharded(rng: random.Random) -> dict[str, bytes]:
    """A model in two files; the index or a shard is mutated, or a shard is missing."""
    out = dict(shards())
    name = rng.choice(list(out))
    if name == INDEX:
        out[name] = json_bytes(rng, edited(rng, json.loads(out[name])))
    elif rng.random() < 0.1:
        del out[name]
    else:
        out[name] = tensors_file(rng, out[name])
    return out


def tensors_file(rng: random.Random, data: bytes) -> bytes:
    """A .safetensors file with damaged bytes, or with another header in front of its data."""
    if rng.random() < 0.4:
        return damaged(rng, data)
    (length,) = struct.unpack_from("<Q", data)
    header = json_bytes(rng, edited(rng, json.loads(data[8 : 8 + length])))
    return struct.pack("<Q", len(header)) + header + data[8 + length :]


def rezipped(rng: random.Random, data: bytes) -> bytes:
    """A PyTorch file in which one of the files inside is mutated, its checksum right, or missing."""
    memory, source = io.BytesIO(), zipfile.ZipFile(io.BytesIO(data))
    names = source.namelist()
    chosen = next(n for n in names if n.endswith("data.pkl")) if rng.random() < 0.6 else rng.choice(names)
    with zipfile.ZipFile(memory, "w") as target:
        for name in names:
            inner = source.read(name)
            if name == chosen:
                if rng.random() < 0.1:
                    continue
                inner = damaged(rng, inner)
            target.writestr(zipfile.ZipInfo(name), inner)
    return memory.getvalue()


def read(path: pathlib.Path) -> None:
    """Every tensor; numbers, not objects."""
    for name, tensor in files.open_tensors(path).items():
        array = np.asarray(tensor)
        assert isinstance(name, str) and array.dtype.kind in "biufc" and array.shape == tuple(tensor.shape)


READERS = (read,)

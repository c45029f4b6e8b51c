"""Identity and provenance of weights: a checksum, and about.json in the folder of a converted checkpoint."""

import datetime
import functools
import hashlib
import json
import os
import pathlib
import zlib
from typing import Any

import jax
import numpy as np

from quarkaudio_jax.io import atomic

NAME = "about.json"
NO_LICENSE = "not stated"


def sha256(path: str | os.PathLike) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def checksum(variables: Any) -> int:
    """CRC-32 of all arrays of a tree, in the order of their names."""
    leaves = map(np.ascontiguousarray, jax.tree.leaves(variables))
    return functools.reduce(lambda crc, x: zlib.crc32(x.reshape(-1).view(np.uint8).data, crc), leaves, 0)


def write_record(folder: str | os.PathLike, weights: str | os.PathLike, variant: str, source: str, license: str) -> str:
    """Writes about.json; returns its contents as one line."""
    record = {
        "variant": variant,
        "source": source or str(weights),
        "file": pathlib.Path(weights).name,
        "sha256": sha256(weights),
        "license": license,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }
    atomic.write_text(pathlib.Path(folder) / NAME, json.dumps(record, indent=1) + "\n")
    return ", ".join(f"{key} {value}" for key, value in record.items())

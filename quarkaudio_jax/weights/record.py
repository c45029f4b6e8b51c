"""Provenance of a converted checkpoint: about.json in its folder."""

import datetime
import hashlib
import json
import os
import pathlib

from quarkaudio_jax.io import atomic

NAME = "about.json"
NO_LICENSE = "not stated"


def sha256(path: str | os.PathLike) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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

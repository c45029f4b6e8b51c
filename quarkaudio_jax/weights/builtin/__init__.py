"""The models that come with the package: a folder of `pretrained` each, made by launch/train_builtin.sh."""

import os
import pathlib

FOLDER = pathlib.Path(__file__).parent

DEFAULT_CODEC = "quarkaudio/speech16k"
"""Codec of the verbs where no --checkpoint is given."""

TASK_MODELS = {"restore": "quarkaudio/restore16k"}
"""Verb -> task model where no --checkpoint is given."""

BUILTIN = {name: FOLDER / name.partition("/")[2] for name in (DEFAULT_CODEC, *TASK_MODELS.values())}
"""Name -> folder. A local path of that name, if there is one, comes first; a hub repository of that name never."""


def find_builtin(source: str | os.PathLike) -> pathlib.Path | None:
    """The folder of a built-in model; None if it is another name, or a path that exists."""
    name = os.fspath(source)
    return None if name not in BUILTIN or pathlib.Path(name).exists() else BUILTIN[name]

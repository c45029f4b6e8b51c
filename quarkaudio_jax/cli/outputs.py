"""Input and output files of a verb: sources are never overwritten, existing outputs only with --overwrite."""

import argparse
import collections
import logging
import os
import pathlib
from collections.abc import Callable, Iterable, Sequence

from quarkaudio_jax.errors import UserError

log = logging.getLogger(__name__)

Pair = tuple[pathlib.Path, pathlib.Path]
"""A source and its target."""


def collect_inputs(
    inputs: Sequence[str], find: Callable[[pathlib.Path], list[pathlib.Path]], output: str, suffix: str
) -> list[Pair]:
    """(source, target) of every file; subfolders of input folders are kept.

    Files with the same stem keep their suffixes: song.flac.qka, song.mp3.qka. UserError if two targets are still equal.
    """
    found: dict[pathlib.Path, tuple[pathlib.Path, pathlib.Path]] = {}
    for name in inputs:
        root = pathlib.Path(name)
        if not os.path.exists(name):
            raise UserError(f"{name}: no such file or folder")
        for source in find(root) if root.is_dir() else [root]:
            inner = source.relative_to(root) if root.is_dir() else pathlib.Path(source.name)
            found.setdefault(pathlib.Path(os.path.abspath(source)), (source, inner))
    pairs = list(found.values())
    short = [inner.with_suffix(suffix) for _, inner in pairs]
    targets = list(short)
    while clash := _twice(targets):
        again = [i for i, target in enumerate(targets) if target in clash and target == short[i]]
        longer = {i: pairs[i][1].with_name(pairs[i][1].name + suffix) for i in again}
        if all(longer[i] == targets[i] for i in again):
            both = [str(source) for (source, _), target in zip(pairs, targets, strict=True) if target in clash][:2]
            raise UserError(f"{both[0]} and {both[1]} would both be written to {clash.pop()}; rename one")
        for i, target in longer.items():
            targets[i] = target
    return [(source, pathlib.Path(output) / target) for (source, _), target in zip(pairs, targets, strict=True)]


def _twice(targets: Iterable[pathlib.Path]) -> set[pathlib.Path]:
    return {target for target, count in collections.Counter(targets).items() if count > 1}


def remaining(
    files: Sequence[Pair],
    args: argparse.Namespace,
    written_for: Callable[[pathlib.Path], Sequence[pathlib.Path]] = lambda target: [target],
    read: Sequence[str] = (),
) -> list[Pair]:
    """The pairs whose target has to be written, given --overwrite and --skip-existing.

    written_for: the files written for a target. read: other files that are read. UserError if a target exists and
    neither option is given, or if it is a file that is read, under whatever name.
    """
    require_folder(args.output)
    inputs: list[str | os.PathLike] = [source for source, _ in files]
    sources = {_identity(source): source for source in [*inputs, *filter(None, read)]}
    sources.pop(None, None)
    left, there = [], []
    for source, target in files:
        written = written_for(target)
        for one in written:
            if (identity := _identity(one)) is not None and identity in sources:
                raise UserError(f"{one} is a source, {sources[identity]}: choose another --output")
        exist = [one for one in written if os.path.lexists(one)]
        there += exist
        if not (args.skip_existing and len(exist) == len(written)):
            left.append((source, target))
    if args.skip_existing:
        if len(left) < len(files):
            log.info("%d of %d files exist already", len(files) - len(left), len(files))
    elif there and not args.overwrite:
        more = f" (and {len(there) - 1} more)" if len(there) > 1 else ""
        raise UserError(f"{there[0]} exists already{more}: --skip-existing resumes, --overwrite replaces")
    return left


def _identity(name: str | os.PathLike) -> tuple[int, int] | None:
    """Device and inode of a file, equal for all its names; None if there is none."""
    try:
        stat = os.stat(name)
    except OSError:
        return None
    return stat.st_dev, stat.st_ino


def require_folder(output: str | os.PathLike, option: str = "--output") -> None:
    """UserError if the name is taken by a file."""
    if os.path.lexists(output) and not os.path.isdir(output):
        raise UserError(f"{option}={os.fspath(output)} is a file, but should be a folder")


def require_free(
    output: str | os.PathLike, overwrite: bool, option: str = "--output", read: Sequence[str | os.PathLike] = ()
) -> None:
    """UserError if the file exists and may not be overwritten, or is one of those that are read."""
    if (identity := _identity(output)) is not None and identity in {_identity(one) for one in read}:
        raise UserError(f"{option}={os.fspath(output)} is one of the inputs: choose another name")
    if os.path.isdir(output):
        raise UserError(f"{option}={os.fspath(output)} is a folder, but should be a file")
    if os.path.lexists(output) and not overwrite:
        raise UserError(f"{os.fspath(output)} exists already: --overwrite replaces it")


def require_empty(folder: str | os.PathLike, overwrite: bool = False, option: str = "--output") -> None:
    """UserError if the folder has contents and may not be overwritten, or if it is a file."""
    require_folder(folder, option)
    if os.path.isdir(folder) and os.listdir(folder) and not overwrite:
        raise UserError(f"{option}={os.fspath(folder)} is not empty; name a new folder, or give --overwrite")

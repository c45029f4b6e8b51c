"""Which files a verb reads and which it writes: nothing is written over its source, or over what is there unasked."""

import argparse
import logging
import os
import pathlib
from collections.abc import Callable, Iterable, Sequence

from quarkaudio_jax.errors import UserError

log = logging.getLogger(__name__)

Pair = tuple[pathlib.Path, pathlib.Path]
"""A source and its target."""


def path(text: str) -> str:
    """An argument that names a file or a folder, perhaps on a hub: `~` at its start is the user's folder."""
    return os.path.expanduser(text)


def add_overwrite(parser: argparse.ArgumentParser, skip: bool = False) -> None:
    """Adds --overwrite and, for verbs that go from file to file, --skip-existing."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--overwrite", action="store_true", help="write over what is there already")
    if skip:
        group.add_argument(
            "--skip-existing", action="store_true", help="leave out what is there already: go on where a run stopped"
        )


def collect_inputs(
    inputs: Sequence[str], find: Callable[[pathlib.Path], list[pathlib.Path]], output: str, suffix: str
) -> list[Pair]:
    """(source, target) of every file; below a folder the sub-folders are kept.

    Files of one stem keep their suffixes: song.flac.qka, song.mp3.qka. UserError if a target comes up twice even so.
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
    seen: set[pathlib.Path] = set()
    return {target for target in targets if target in seen or seen.add(target)}


def still_to_do(
    files: Sequence[Pair],
    args: argparse.Namespace,
    made: Callable[[pathlib.Path], Sequence[pathlib.Path]] = lambda target: [target],
    read: Sequence[str] = (),
) -> list[Pair]:
    """The pairs whose target is to be written, by --overwrite and --skip-existing.

    UserError if one is there and neither is given, or if it is one of the sources, or of what else is read, by any
    name. made: the files that are written for a target.
    """
    require_folder(args.output)
    sources = {_identity(source): source for source in [*(source for source, _ in files), *filter(None, read)]}
    sources.pop(None, None)
    left, there = [], []
    for source, target in files:
        written = made(target)
        for one in written:
            if (identity := _identity(one)) is not None and identity in sources:
                raise UserError(f"{one} is a source, {sources[identity]}: choose another --output")
        exist = [one for one in written if os.path.lexists(one)]
        there += exist
        if not (args.skip_existing and len(exist) == len(written)):
            left.append((source, target))
    if args.skip_existing:
        if len(left) < len(files):
            log.info("%d of %d files are there already", len(files) - len(left), len(files))
    elif there and not args.overwrite:
        more = f" (and {len(there) - 1} more)" if len(there) > 1 else ""
        raise UserError(
            f"{there[0]} exists already{more}: --skip-existing goes on with what is missing, --overwrite replaces"
        )
    return left


def _identity(name: str | os.PathLike) -> tuple[int, int] | None:
    """What two names of one file have in common."""
    try:
        stat = os.stat(name)
    except OSError:
        return None
    return stat.st_dev, stat.st_ino


def require_folder(output: str | os.PathLike, option: str = "--output") -> None:
    """UserError if something that is no folder has the name."""
    if os.path.lexists(output) and not os.path.isdir(output):
        raise UserError(f"{option}={os.fspath(output)} is a file, but should be a folder")


def require_free(
    output: str | os.PathLike, overwrite: bool, option: str = "--output", read: Sequence[str | os.PathLike] = ()
) -> None:
    """UserError if a file is there and may not be overwritten, or is one of those that are read."""
    if (identity := _identity(output)) is not None and identity in {_identity(one) for one in read}:
        raise UserError(f"{option}={os.fspath(output)} is what is read: choose another name")
    if os.path.isdir(output):
        raise UserError(f"{option}={os.fspath(output)} is a folder, but should be a file")
    if os.path.lexists(output) and not overwrite:
        raise UserError(f"{os.fspath(output)} exists already: --overwrite replaces it")


def require_empty(folder: str | os.PathLike, overwrite: bool = False, option: str = "--output") -> None:
    """UserError if a folder holds something and may not be overwritten, or if a file has its name."""
    require_folder(folder, option)
    if os.path.isdir(folder) and os.listdir(folder) and not overwrite:
        raise UserError(f"{option}={os.fspath(folder)} is not empty; name a new folder, or give --overwrite")

"""Parsing of text lists of files, and of comma-separated lists of sources."""

import os
import pathlib
from collections.abc import Iterator

from quarkaudio_jax.data.crops import SourceError


def list_lines(path: str | os.PathLike) -> Iterator[tuple[int, str]]:
    """Yields (number, text) of the lines of a UTF-8 list, without empty lines and comments (#). SourceError: a bad line."""
    try:
        data = pathlib.Path(path).read_bytes()
    except OSError as error:
        raise SourceError(f"{path}: {error.strerror}") from error
    for number, raw in enumerate(data.removeprefix(b"\xef\xbb\xbf").splitlines(), start=1):
        try:
            line = raw.decode("utf-8").strip()
        except UnicodeDecodeError as error:
            raise SourceError(
                f"{path}, line {number}: not UTF-8 ({error.reason}); if it is Latin-1: iconv -f latin1 -t utf-8"
            ) from error
        if "\0" in line:
            raise SourceError(f"{path}, line {number}: holds a NUL byte; is it a list, as UTF-8?")
        if line and not line.startswith("#"):
            yield number, line


def split_specs(specs: str) -> list[str]:
    """Splits a comma-separated list of sources, but not inside the paths of existing files."""
    pieces, out, begin = specs.split(","), [], 0
    while begin < len(pieces):
        for end in range(len(pieces), begin, -1):
            spec = ",".join(pieces[begin:end]).strip()
            if end == begin + 1 or (spec and os.path.exists(os.path.expanduser(spec))):
                break
        if spec:
            out.append(spec)
        begin = end
    return out

"""`quarkaudio <verb> ...`, and what the verbs share: logging and one clear line for an error."""

import contextlib
import io
import logging
import os
import pathlib
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from quarkaudio_jax.errors import QuarkAudioError, UserError, is_exhausted, named, system_errors
from quarkaudio_jax.report.progress import progress

EXTRAS = {
    "array_record": "data",
    "grain": "data",
    "huggingface_hub": "hub",
    "jiwer": "metrics",
    "librosa": "data",
    "matplotlib": "evaluate",
    "PIL": "evaluate",
    "pystoi": "evaluate",
    "tensorboardX": "train",
    "tensorflow_datasets": "data",
}
"""Module -> the smallest extra of pyproject.toml that brings it; what not every verb needs."""


def set_up_logging() -> None:
    """Lines with a time on stderr; other packages only from warnings on. Any file name can be printed."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("quarkaudio_jax").setLevel(logging.INFO)
    logging.getLogger("__main__").setLevel(logging.INFO)
    with contextlib.suppress(ImportError):
        from absl import logging as absl_logging

        absl_logging.set_verbosity(absl_logging.WARNING)
        absl_logging.use_absl_handler = lambda: None


def set_up_compile_cache() -> None:
    """Keeps compiled programs in JAX_COMPILATION_CACHE_DIR, by default ~/.cache/quarkaudio_jax."""
    import jax

    if not jax.config.jax_compilation_cache_dir:
        jax.config.update("jax_compilation_cache_dir", str(pathlib.Path.home() / ".cache" / "quarkaudio_jax"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


def set_up() -> None:
    """Logging and the compile cache."""
    set_up_logging()
    set_up_compile_cache()


def share(text: str) -> tuple[int, int]:
    """(i, n) of --share=i/n, the i-th of n processes, counted from 1; UserError otherwise."""
    index, slash, count = text.partition("/")
    if slash and index.isdecimal() and count.isdecimal() and 1 <= int(index) <= int(count):
        return int(index), int(count)
    raise UserError(f"--share={text} is not i/n with i from 1 to n, such as 1/4")


@contextlib.contextmanager
def report_errors() -> Iterator[None]:
    """Ends the process with one line, no traceback, for errors that the user can act on."""
    try:
        with system_errors():
            yield
    except QuarkAudioError as error:
        if isinstance(error.__cause__, BrokenPipeError):  # whoever reads the output has had enough, `| head` say
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise SystemExit(1) from error
        raise SystemExit(f"error: {error}") from error
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in EXTRAS:
            raise
        raise SystemExit(
            f"error: this needs the package {package}: pip install 'quarkaudio_jax[{EXTRAS[package]}]', or [all]"
        ) from error


def each(files: Sequence[tuple[Any, Any]], one: Callable[[Any, Any], str]) -> None:
    """Calls one(source, target) for every file and prints its line; SystemExit lists those that failed.

    Where space, descriptors or memory run out the rest is not tried.
    """
    failed: list[str] = []
    for count, (source, target) in enumerate(progress(files, len(files))):
        try:
            with system_errors(target):
                print(one(source, target))
        except QuarkAudioError as error:
            failed.append(named(source, error))
            if is_exhausted(error):
                failed[-1] += f"; stopped after {count} of {len(files)} files, go on with --skip-existing"
                break
    end_with(failed)


def end_with(failed: Sequence[str]) -> None:
    """SystemExit with a line for each of the failures, if there are any."""
    if failed:
        raise SystemExit("\n".join(f"error: {line}" for line in failed))

"""What the verbs share: logging, the compilation cache, errors as one line, loops over files."""

import contextlib
import io
import logging
import os
import pathlib
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from quarkaudio_jax.cli.options import UsageError, exit_with_usage_error
from quarkaudio_jax.errors import QuarkAudioError, is_exhausted, named, system_errors
from quarkaudio_jax.report.progress import LogHandler, progress, show

log = logging.getLogger(__name__)

EXTRAS = {
    "array_record": "data",
    "grain": "data",
    "huggingface_hub": "hub",
    "jiwer": "metrics",
    "librosa": "data",
    "matplotlib": "evaluate",
    "optax": "train",
    "PIL": "evaluate",
    "pystoi": "evaluate",
    "scipy": "evaluate",
    "tensorboardX": "train",
    "tensorflow_datasets": "data",
}
"""Optional module -> the smallest extra of pyproject.toml that installs it."""


def set_up_logging() -> None:
    """Logs to stderr with the time of day; other packages from warnings on. Undecodable file names are escaped."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    handler = LogHandler()
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

    if not jax.config.jax_compilation_cache_dir:  # type: ignore[attr-defined]  # defined at run time
        jax.config.update("jax_compilation_cache_dir", str(pathlib.Path.home() / ".cache" / "quarkaudio_jax"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


def set_up() -> None:
    """Sets up logging and the compilation cache."""
    set_up_logging()
    set_up_compile_cache()


@contextlib.contextmanager
def report_errors() -> Iterator[None]:
    """Ends the process with one line, no traceback, for errors that the user can act on.

    The exit status is 2 for a wrong command line (UsageError) and 1 for everything else.
    """
    try:
        with system_errors():
            yield
    except UsageError as error:
        exit_with_usage_error(error)
    except QuarkAudioError as error:
        if isinstance(error.__cause__, BrokenPipeError):  # the reader of a pipe has gone, such as `| head`
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


def codec_source(checkpoint: str) -> str:
    """The codec of --checkpoint; without one the built-in codec, which is logged."""
    if checkpoint:
        return checkpoint
    from quarkaudio_jax.weights.builtin import DEFAULT_CODEC

    log.info("no --checkpoint: the built-in codec %s (16 kHz, for speech)", DEFAULT_CODEC)
    return DEFAULT_CODEC


def process_files(files: Sequence[tuple[Any, Any]], process: Callable[[Any, Any], str]) -> None:
    """Calls process(source, target) for every file and prints the line it returns; SystemExit lists the failures.

    Stops early where disk space, file descriptors or memory run out.
    """
    failed: list[str] = []
    for count, (source, target) in enumerate(progress(files, len(files))):
        try:
            with system_errors(target):
                show(process(source, target))
        except QuarkAudioError as error:
            failed.append(named(source, error))
            if is_exhausted(error):
                failed[-1] += f"; stopped after {count} of {len(files)} files, resume with --skip-existing"
                break
    exit_if_failed(failed)


def exit_if_failed(failed: Sequence[str]) -> None:
    """Raises SystemExit with a line for each failure, if there are any."""
    if failed:
        raise SystemExit("\n".join(f"error: {line}" for line in failed))


def track_reads(read: Callable[[int, int], Any], num_windows: int) -> Callable[[int, int], Any]:
    """read(start, stop) with a progress bar; called once for each of `num_windows` windows."""
    windows = progress(range(num_windows), num_windows, "windows")

    def tracked(start: int, stop: int) -> Any:
        next(windows, None)
        return read(start, stop)

    return tracked

"""`quarkaudio <verb> ...`, and what the verbs share: logging and one clear line for an error."""

import contextlib
import importlib
import logging
import os
import pathlib
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from quarkaudio_jax.errors import QuarkAudioError, UserError

VERBS = {
    "train": "train a codec or a language model",
    "encode": "audio to token files",
    "decode": "token files to audio",
    "evaluate": "measure codecs and language models, over a folder or a benchmark",
    "curves": "rate against distortion of codecs, as a picture",
    "compare": "recordings side by side on a page to listen to",
    "convert": "weights from and to PyTorch",
    "manifest": "lists of audio, with what is known of it",
    "simulate": "examples of a task to listen to",
    "prepare": "training data with features and codes worked out",
    "compile": "what a configuration needs of a TPU slice, without one",
}

TASK_VERBS = {
    "restore": "clean speech out of a bad recording",
    "extract": "one of two talkers, by a sample of a voice",
    "separate": "two talkers, each for itself",
    "convert-voice": "the same words in another voice",
    "query": "the sound that a text describes",
    "edit": "words of speech or sounds of a scene changed as instructed",
}
"""What a language model is asked for; all of them are `generate`."""


def set_up_logging() -> None:
    """Lines with a time on stderr; other packages only from warnings on."""
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


def read_config(argv: Sequence[str], cls: type, about: str, define: Callable[[Any], None]) -> tuple[Any, Any]:
    """(configuration `cls`, the other flags) of a verb that takes --config=FILE:VARIANT and --config.field=value.

    define: adds the verb's own flags to the absl FlagValues it is given. Flags are the verb's
    own, so that several verbs can run in one process. SystemExit for unknown flags and fields.
    """
    from absl import flags
    from ml_collections import config_flags

    from quarkaudio_jax.schema import from_config_dict, spelled_out

    argv = spelled_out(argv, cls)
    values = flags.FlagValues()
    config_flags.DEFINE_config_file(
        "config",
        None,
        "Experiment, with a variant after a colon.",
        lock_config=True,
        flag_values=values,
        sys_argv=list(argv),
    )
    define(values)
    if set(argv[1:]) & {"--help", "-h", "--helpshort", "--helpfull"}:
        print(f"{about}\n\nflags:\n{values.get_help()}\nand --config.FIELD=VALUE for every field of the configuration")
        raise SystemExit(0)
    sys.path.append(os.getcwd())  # so that config files can import each other, also from a console script
    check_fields(argv[1:], cls)
    try:
        rest = values(list(argv))[1:]
        config = values.config
        if config is not None:
            config.items()  # a file that could not be loaded says so only now
    except (flags.Error, OSError, ValueError) as error:  # of a config file, the last line says what is wrong
        raise SystemExit("error: " + str(error).strip().splitlines()[-1].strip()) from error
    if rest:
        raise SystemExit(f"error: {rest[0]!r} is not a flag; flags start with --")
    if config is None:
        raise SystemExit("error: --config is missing, for example --config=configs/codec48k.py:tiny")
    return from_config_dict(config, cls), values


def check_fields(arguments: Sequence[str], cls: type) -> None:
    """SystemExit naming the nearest field when --config.x.y names none."""
    from quarkaudio_jax.schema import field_names, nearest_name

    known = field_names(cls)
    groups = {name.rsplit(".", i)[0] for name in known for i in range(1, name.count(".") + 1)}
    for argument in arguments:
        name = argument.lstrip("-").partition("=")[0]
        if argument.startswith("-") and name.startswith("config."):
            plain = name.removeprefix("config.")
            if not {plain, plain.removeprefix("no")} & (set(known) | groups):
                raise SystemExit(f"--config.{plain} does not exist; {nearest_name(plain, known)}")


@contextlib.contextmanager
def report_errors() -> Iterator[None]:
    """Ends the process with one line, no traceback, for errors that the user can act on."""
    try:
        yield
    except QuarkAudioError as error:
        raise SystemExit(f"error: {error}") from error


def collect_inputs(
    inputs: Sequence[str], find: Callable[[pathlib.Path], list[pathlib.Path]], output: str, suffix: str
) -> list[tuple[pathlib.Path, pathlib.Path]]:
    """(source, target) of every file; below a folder the sub-folders are kept. UserError if a target comes up twice."""
    out: dict[pathlib.Path, pathlib.Path] = {}
    for name in inputs:
        path = pathlib.Path(name)
        if not path.exists():
            raise UserError(f"{name}: no such file or folder")
        for source in find(path) if path.is_dir() else [path]:
            inner = source.relative_to(path) if path.is_dir() else pathlib.Path(source.name)
            target = pathlib.Path(output) / inner.with_suffix(suffix)
            if target in out:
                raise UserError(f"{out[target]} and {source} would both be written to {target}; rename one")
            out[target] = source
    return [(source, target) for target, source in out.items()]


def progress(items: Iterable[Any], total: int, what: str = "") -> Iterator[Any]:
    """Yields `total` items, with a line on a terminal that says how far it is and how long it still takes."""
    from quarkaudio_jax.training.metrics import duration

    start, shown = time.perf_counter(), sys.stderr.isatty() and total > 1
    for i, item in enumerate(items):
        yield item
        if shown:
            left = (time.perf_counter() - start) / (i + 1) * (total - i - 1)
            print(f"\r{what}{i + 1}/{total}, {duration(left)} left   ", end="", file=sys.stderr, flush=True)
    if shown:
        print(file=sys.stderr)


def each(files: Sequence[tuple[Any, Any]], one: Callable[[Any, Any], str]) -> None:
    """Calls one(source, target) for every file and prints its line; SystemExit lists those that failed."""
    failed = []
    for source, target in progress(files, len(files)):
        try:
            print(one(source, target))
        except QuarkAudioError as error:
            failed.append(str(error))
    if failed:
        raise SystemExit("\n".join(f"error: {line}" for line in failed))


def main() -> None:
    """Runs a verb."""
    verbs = VERBS | TASK_VERBS
    if len(sys.argv) < 2 or sys.argv[1] not in verbs:
        print("usage: quarkaudio <verb> [options]\n")
        for verb, about in verbs.items():
            print(f"  {verb:13} {about}")
        print("\n`quarkaudio <verb> --help` lists its options.")
        raise SystemExit(0 if sys.argv[1:] in ([], ["--help"], ["-h"]) else 2)
    verb = sys.argv[1]
    if verb in TASK_VERBS:
        importlib.import_module("quarkaudio_jax.generate").main(["quarkaudio", *sys.argv[1:]])
        return
    importlib.import_module(f"quarkaudio_jax.{verb}").main([f"quarkaudio {verb}", *sys.argv[2:]])

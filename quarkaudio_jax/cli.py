"""`quarkaudio <verb> ...`, and what the verbs share: logging and one clear line for an error."""

import contextlib
import importlib
import io
import logging
import os
import pathlib
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import quarkaudio_jax
from quarkaudio_jax.errors import QuarkAudioError, UserError, is_exhausted, system_errors

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


def read_config(argv: Sequence[str], cls: type, about: str, define: Callable[[Any], None]) -> tuple[Any, Any]:
    """(configuration `cls`, the other flags) of a verb that takes --config=FILE:VARIANT and --config.field=value.

    define: adds the verb's own flags to the absl FlagValues it is given. Flags are the verb's
    own, so that several verbs can run in one process. `~` at the start of a value is the user's
    folder. SystemExit for unknown flags and fields, and for files that are no configuration.
    """
    with report_errors():
        return _read_config(argv, cls, about, define)


def _read_config(argv: Sequence[str], cls: type, about: str, define: Callable[[Any], None]) -> tuple[Any, Any]:
    from absl import flags
    from ml_collections import config_flags

    from quarkaudio_jax.schema import from_config_dict, spelled_out
    from quarkaudio_jax.schema.files import expanded, load_config, packaged_names, require_kind

    values = flags.FlagValues()
    define(values)
    if set(argv[1:]) & {"--help", "-h", "--helpshort", "--helpfull"}:
        print(
            f"{about}\n\nflags:\n{values.get_help()}\n\n  --config=NAME[:VARIANT]: the experiment, one of "
            f"{', '.join(packaged_names())}; or its file, or the config.json of a run\n"
            "and --config.FIELD=VALUE for every field of the configuration"
        )
        raise SystemExit(0)
    name, arguments = _config_named(argv)
    config = load_config(name) if name is not None else None
    kind = cls if config is None else require_kind(config, cls, name)
    check_fields(arguments[1:], kind)
    arguments = spelled_out(arguments, kind)
    try:
        if config is not None:
            config_flags.DEFINE_config_dict("config", config, flag_values=values, sys_argv=arguments)
        rest = values(arguments)[1:]
    except (KeyError, AttributeError) as error:
        raise UserError(f"{name} lacks a field that is set: {str(error).strip()}") from error
    except (flags.Error, ValueError) as error:
        missing = [flag for flag in values if values[flag].value is None and f"--{flag}=None" in str(error)]
        reason = f"--{missing[0]} is missing" if missing else str(error).strip().splitlines()[-1].strip()
        raise UserError(reason) from error
    if rest:
        raise UserError(f"{rest[0]!r} is not a flag; flags start with --")
    if config is None:
        raise UserError("--config is missing, for example --config=codec48k:tiny")
    for flag in values:
        if isinstance(values[flag].value, str):
            values[flag].value = os.path.expanduser(values[flag].value)
    return expanded(from_config_dict(values.config, cls)), values


def _config_named(argv: Sequence[str]) -> tuple[str | None, list[str]]:
    """(what the last --config says, the other arguments)."""
    name, rest, arguments = None, [], iter(argv)
    for argument in arguments:
        plain, equals, value = argument.partition("=")
        if plain not in ("--config", "-config"):
            rest.append(argument)
        elif (name := value if equals else next(arguments, "")) == "":
            raise UserError("--config names nothing; for example --config=codec48k:tiny")
    return name, rest


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
                raise SystemExit(f"error: --config.{plain} does not exist; {nearest_name(plain, known)}")


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


def named(source: Any, error: Exception) -> str:
    """What went wrong with a file, its name in front unless the error has it."""
    return str(error) if str(source) in str(error) else f"{source}: {error}"


def end_with(failed: Sequence[str]) -> None:
    """SystemExit with a line for each of the failures, if there are any."""
    if failed:
        raise SystemExit("\n".join(f"error: {line}" for line in failed))


def main() -> None:
    """Runs a verb."""
    verbs = VERBS | TASK_VERBS
    if sys.argv[1:] == ["--version"]:
        print(f"quarkaudio_jax {quarkaudio_jax.__version__}")
        return
    if len(sys.argv) < 2 or sys.argv[1] not in verbs:
        print("usage: quarkaudio <verb> [options]")
        for title, group in (("codecs, data and training", VERBS), ("tasks of a language model", TASK_VERBS)):
            print(f"\n{title}:")
            for verb, about in group.items():
                print(f"  {verb:13} {about}")
        print("\n`quarkaudio <verb> --help` lists its options; `quarkaudio --version` says which version this is.")
        raise SystemExit(0 if sys.argv[1:] in ([], ["--help"], ["-h"]) else 2)
    verb, rest = sys.argv[1], sys.argv[2:]
    if verb in TASK_VERBS:
        importlib.import_module("quarkaudio_jax.generate").main(["quarkaudio", verb, *rest])
    else:
        importlib.import_module(f"quarkaudio_jax.{verb}").main([f"quarkaudio {verb}", *rest])

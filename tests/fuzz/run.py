"""Runs fuzz cases in a child process, and replays one.

    python -m tests.fuzz.run audio 123               case 123 of tests/fuzz/audio.py in this process, with its traceback
    python -m tests.fuzz.run audio path/to/a.wav     the same of a file that was kept
    python -m tests.fuzz.run audio 0 10000           many cases, as the tests run them

A case must end in a result or in QuarkAudioError, within LIMIT seconds and MEMORY bytes more than the process had.
"""

import collections
import dataclasses
import faulthandler
import importlib
import json
import logging
import os
import pathlib
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from types import ModuleType

ROOT = pathlib.Path(__file__).parents[2]
LIMIT = 20.0
MEMORY = 4 * 2**30
KINDS = ("audio", "tokens", "weights", "manifests", "lists", "configs")


@dataclasses.dataclass(frozen=True)
class Failure:
    """A case that ended otherwise. where: the last line of the package that it went through, or how the process died."""

    number: int
    error: str
    where: str
    kept: pathlib.Path


def module(kind: str) -> ModuleType:
    """The module of a kind: `make(rng)` gives a case's files, the one to open first; READERS open it."""
    return importlib.import_module(f"tests.fuzz.{kind}")


def write_case(kind: str, number: int, folder: pathlib.Path) -> pathlib.Path:
    """Writes the files of a case into a new folder; returns the one to open."""
    folder.mkdir(parents=True)
    files = module(kind).make(random.Random(f"{kind}/{number}"))
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder / next(iter(files))


def attempt(kind: str, path: pathlib.Path) -> str:
    """'read' if a reader of the kind took the file, else 'refused'; other errors go through."""
    from quarkaudio_jax.errors import QuarkAudioError

    outcome = "refused"
    for reader in module(kind).READERS:
        try:
            reader(path)
            outcome = "read"
        except QuarkAudioError:
            continue
    return outcome


def child(kind: str, first: int, last: int, folder: pathlib.Path, limit: float) -> None:
    """Cases `first` to `last`; appends the number of each to `progress` when it begins, and how it ends."""
    logging.disable()
    warnings.simplefilter("ignore")
    module(kind).make(random.Random(0))  # imports, and what is made once
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY,) * 2)
    with open(folder / "progress", "a", buffering=1) as progress:
        for number in range(first, last):
            path = write_case(kind, number, folder / str(number))
            print(json.dumps([number]), file=progress)
            faulthandler.dump_traceback_later(limit, exit=True)
            start = time.monotonic()
            try:
                outcome, where = attempt(kind, path), ""
            except Exception as error:
                outcome, where = f"{type(error).__name__}: {str(error)[:200]}", _where(error)
            faulthandler.cancel_dump_traceback_later()
            if not where:
                shutil.rmtree(path.parent)
            print(json.dumps([number, outcome, where, time.monotonic() - start]), file=progress)


def _where(error: BaseException) -> str:
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f"{os.sep}quarkaudio_jax{os.sep}" in f.filename]
    frames = frames or traceback.extract_tb(error.__traceback__)
    return f"{pathlib.Path(frames[-1].filename).name}:{frames[-1].lineno} {frames[-1].name}"


def run(
    kind: str, first: int, last: int, folder: pathlib.Path, limit: float = LIMIT
) -> tuple[collections.Counter, list[Failure]]:
    """(how many were read and refused, the failures) of cases `first` to `last`; what failed is kept below `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    outcomes, failures = collections.Counter(), []
    env = {**os.environ, "JAX_PLATFORMS": "cpu", "OMP_NUM_THREADS": "1", "PYTHONFAULTHANDLER": "1"}
    while first < last:
        command = [sys.executable, "-m", "tests.fuzz.run", kind, str(first), str(last), str(folder), str(limit)]
        done = subprocess.run(command, cwd=ROOT, env=env, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        lines = [json.loads(line) for line in (folder / "progress").read_text().splitlines()]
        for number, outcome, where, _ in (line for line in lines if line[1:] and line[0] >= first):
            outcomes["failed" if where else outcome] += 1
            if where:
                failures.append(Failure(number, outcome, where, folder / str(number)))
            first = number + 1
        if first < last:  # the process died in the middle of a case
            if done.returncode == 0 or lines[-1] != [first]:
                raise RuntimeError(f"the fuzzer itself failed: {done.stderr[-2000:]}")
            how = f"no end after {limit:g} s" if "Timeout" in done.stderr else f"the process died ({done.returncode})"
            failures.append(Failure(first, how, _last_frame(done.stderr), folder / str(first)))
            outcomes["failed"] += 1
            first += 1
    return outcomes, failures


def _last_frame(text: str) -> str:
    """Of what faulthandler wrote, the package's innermost line."""
    frames = [line.strip() for line in text.splitlines() if line.strip().startswith("File ")]
    return next((f for f in frames if "quarkaudio_jax" in f), frames[0] if frames else text.strip()[-200:])


def told(kind: str, failures: list[Failure]) -> str:
    """The failures by kind of error and place, with a command that replays the first of each."""
    groups = collections.defaultdict(list)
    for failure in failures:
        groups[failure.error.partition(":")[0], failure.where].append(failure)
    return "\n".join(
        f"{len(group)} x {group[0].error} in {where}\n    python -m tests.fuzz.run {kind} {group[0].number}"
        f"    (kept in {group[0].kept})"
        for (_, where), group in sorted(groups.items(), key=lambda item: -len(item[1]))
    )


def main(kind: str, *rest: str) -> None:
    """See the module."""
    if len(rest) == 4:
        child(kind, int(rest[0]), int(rest[1]), pathlib.Path(rest[2]), float(rest[3]))
    elif len(rest) == 2:
        outcomes, failures = run(kind, int(rest[0]), int(rest[1]), pathlib.Path(tempfile.mkdtemp(prefix=f"{kind}-")))
        print(dict(outcomes), told(kind, failures), sep="\n")
        raise SystemExit(bool(failures))
    else:
        path = pathlib.Path(rest[0])
        if rest[0].isdigit():
            path = write_case(kind, int(rest[0]), pathlib.Path(tempfile.mkdtemp()) / rest[0])
        print(path)
        print(attempt(kind, path))


if __name__ == "__main__":
    main(*sys.argv[1:])

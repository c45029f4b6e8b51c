"""Speed of `prepare`: audio-seconds a second by stage, with one and two processes, and time lost by a kill.

python -m benchmarks.prepare_speed --codec=runs/first

Every run starts with compiled programs in the cache. Two processes share the cores of this machine.
"""

import argparse
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from benchmarks.common import machine


def start(codec: str, output: pathlib.Path, count: int) -> subprocess.Popen:
    """One process of a preparation of `count` examples of three tasks, 5 s each at most."""
    fields = {"examples.restoration": count, "examples.extraction": count, "examples.audio_editing": count, "shard": 32}
    fields |= {"simulation.seconds": 5.0, "simulation.talkers.enrollment": "(3.0,5.0)"}
    for task in ("reverse_extraction", "separation", "conversion", "lass", "speech_editing"):
        fields[f"examples.{task}"] = 0
    command = [sys.executable, "-m", "quarkaudio_jax.prepare", "--config=configs/prepare.py:tiny"]
    command += [f"--config.codec={codec}", f"--output={output}", *(f"--config.{k}={v}" for k, v in fields.items())]
    return subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)


def finished(processes: list[subprocess.Popen]) -> tuple[float, list[str]]:
    """(seconds until the last has ended, their logs)."""
    begun = time.perf_counter()
    logs = [p.communicate()[1] for p in processes]
    if any(p.returncode for p in processes):
        raise SystemExit("\n".join(logs))
    return time.perf_counter() - begun, logs


def stages(log: str) -> tuple[float, dict[str, float]]:
    """(audio seconds, seconds by stage) that a process reports."""
    line = next(line for line in log.splitlines() if " s of audio in " in line)
    audio = float(re.search(r"(\d+) s of audio", line).group(1))
    return audio, {name: float(value) for name, value in re.findall(r"(\w+) ([\d.]+) s[,)]", line.split("(", 1)[1])}


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--codec", required=True)
    parser.add_argument("--count", type=int, default=128, help="examples of each of three tasks")
    args = parser.parse_args()
    print(machine())
    folder = pathlib.Path(tempfile.mkdtemp())
    finished([start(args.codec, folder / "warm", 4)])
    alone, logs = finished([start(args.codec, folder / "one", args.count)])
    audio, by_stage = stages(logs[0])
    size = sum(p.stat().st_size for p in (folder / "one").rglob("*array_record*"))
    print(
        f"one process: {audio:.0f} s of audio in {alone:.1f} s with start, {size / audio:.0f} bytes a second of audio"
    )
    for name, seconds in by_stage.items():
        print(f"  {name:10} {seconds:6.1f} s, {audio / seconds:8.1f} audio s/s")
    both, logs = finished([start(args.codec, folder / "two", args.count) for _ in range(2)])
    parts = [stages(log)[0] for log in logs if " s of audio in " in log]
    print(f"two processes: {sum(parts):.0f} s of audio in {both:.1f} s with start ({alone / both:.2f} x one)")
    process = start(args.codec, folder / "killed", args.count)
    begun = time.perf_counter()
    time.sleep(alone / 2)
    process.send_signal(signal.SIGKILL)
    process.wait()
    spent = time.perf_counter() - begun
    rest, _ = finished([start(args.codec, folder / "killed", args.count)])
    print(
        f"killed after {spent:.1f} s and started again: {spent + rest:.1f} s in all, {spent + rest - alone:.1f} s lost"
    )
    shutil.rmtree(folder)


if __name__ == "__main__":
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(pathlib.Path.home() / ".cache" / "quarkaudio_jax"))
    main()

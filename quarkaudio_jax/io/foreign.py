"""Decoding by ffmpeg of formats that libsndfile does not know."""

import atexit
import collections
import errno
import os
import pathlib
import shutil
import subprocess
import tempfile

EXTENSIONS = (
    *(".m4a", ".m4b", ".aac", ".mp4", ".mov", ".3gp", ".webm", ".mkv", ".mka", ".wma", ".asf", ".amr", ".awb"),
    *(".ac3", ".eac3", ".dts", ".ape", ".wv", ".tta", ".mpc", ".spx", ".ra", ".dsf", ".alac"),
)

KEPT = 4
"""Decoded files that a process keeps; for random access in training, convert such files beforehand."""

_cache: collections.OrderedDict[tuple[str, int, int], pathlib.Path] = collections.OrderedDict()
_folder: dict[int, str] = {}


class ForeignError(ValueError):
    """The reason why a file can't be decoded, without its name."""


def available() -> bool:
    """Whether ffmpeg is installed."""
    return shutil.which("ffmpeg") is not None


def decoded(path: str, mtime_ns: int, size: int) -> str:
    """Decodes the first audio stream of a file to a temporary float32 wav file, removed at the end of the process."""
    key = (path, mtime_ns, size)
    if key in _cache and _cache[key].exists():
        _cache.move_to_end(key)
        return str(_cache[key])
    if not available():
        raise ForeignError(
            "this format is read through ffmpeg, which is not installed; install it, or convert the file"
        )
    target = pathlib.Path(_temporary_folder(), f"{len(os.listdir(_temporary_folder()))}-{abs(hash(key))}.wav")
    command = ["ffmpeg", "-nostdin", "-v", "error", "-xerror", "-i", f"file:{path}", "-map", "0:a:0"]
    command += ["-c:a", "pcm_f32le", "-rf64", "auto", "-bitexact", "-y", str(target)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    if done.returncode:
        target.unlink(missing_ok=True)
        if b"No space left" in done.stderr:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise ForeignError(f"not readable as audio (ffmpeg: {lines[-1] if lines else 'no reason given'})")
    _cache[key] = target
    while len(_cache) > KEPT:
        _cache.popitem(last=False)[1].unlink(missing_ok=True)
    return str(target)


def _temporary_folder() -> str:
    """The folder of this process, created on first use (forked processes create their own)."""
    pid = os.getpid()
    if pid not in _folder:
        _folder.clear()
        _cache.clear()
        _folder[pid] = tempfile.mkdtemp(prefix="quarkaudio-")
        atexit.register(_remove, pid)
    return _folder[pid]


def _remove(pid: int) -> None:
    if pid == os.getpid():
        shutil.rmtree(_folder.get(pid, ""), ignore_errors=True)

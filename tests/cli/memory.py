"""The memory that the verbs take for long files."""

import pathlib
import subprocess
import sys

import pytest


def round_trip_peak(source: pathlib.Path, checkpoint: pathlib.Path, output: pathlib.Path) -> int:
    """Encodes a file into its own folder and decodes it into `output` in a process of its own: its peak memory in KiB."""
    if not pathlib.Path("/proc/self/status").exists():
        pytest.skip("peak memory is read from /proc, which this system does not have")
    code = (
        "import re\nfrom quarkaudio_jax.cli import encode, decode\n"
        f"encode.main(['e', {str(source)!r}, '--checkpoint', {str(checkpoint)!r}, '--output', {str(source.parent)!r}])\n"
        f"decode.main(['d', {str(source.with_suffix('.qka'))!r}, '--checkpoint', {str(checkpoint)!r}, "
        f"'--output', {str(output)!r}])\n"
        "print('PEAK', re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    return int(out.split("PEAK")[1])

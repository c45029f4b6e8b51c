"""What a verb imports before it works: help and lists come at once."""

import subprocess
import sys

import pytest

from quarkaudio_jax.cli import TASK_VERBS, VERBS
from tests.conftest import ROOT

HEAVY = (
    "jax",
    "flax",
    "orbax",
    "grain",
    "scipy",
    "tensorflow_datasets",
    "tensorflow",
    "librosa",
    "torch",
    "matplotlib",
)

CODE = f"""
import sys
sys.argv = ["quarkaudio", *sys.argv[1:]]
try:
    from quarkaudio_jax.cli import main
    main()
except SystemExit as end:
    assert not end.code, end.code
print("HEAVY", [name for name in {HEAVY} if name in sys.modules])
"""


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["evaluate", "--list"], *([verb, "--help"] for verb in VERBS | TASK_VERBS)],
    ids=" ".join,
)
def test_nothing_heavy_is_imported(arguments):
    done = subprocess.run([sys.executable, "-c", CODE, *arguments], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    *said, heavy = done.stdout.splitlines()
    assert heavy == "HEAVY []" and len(said) > 3


def test_nor_by_the_package_itself():
    code = f"import sys, quarkaudio_jax; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"

"""What a verb imports before it works: help and lists come at once."""

import subprocess
import sys
import tomllib

import pytest

import quarkaudio_jax
from quarkaudio_jax.cli.common import EXTRAS, report_errors
from quarkaudio_jax.cli.main import TASK_VERBS, VERBS, main
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
    from quarkaudio_jax.cli.main import main
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


def test_the_public_names_are_listed_and_load():
    assert set(quarkaudio_jax.__all__) == set(quarkaudio_jax._LIBRARY) <= set(dir(quarkaudio_jax))
    for name in quarkaudio_jax.__all__:
        assert getattr(quarkaudio_jax, name).__name__ == name


def test_the_version(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["quarkaudio", "--version"])
    main()
    assert capsys.readouterr().out == f"quarkaudio_jax {quarkaudio_jax.__version__}\n"


@pytest.mark.parametrize("module", EXTRAS)
def test_a_missing_package_names_the_extra_that_has_it(module):
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    package = {"PIL": "pillow"}.get(module, module).replace("_", "-")
    brought = [line.partition(">")[0].replace("_", "-") for line in extras[EXTRAS[module]]]
    assert package in brought
    with (
        pytest.raises(SystemExit, match=f"needs the package {module}: .*quarkaudio_jax.{EXTRAS[module]}"),
        report_errors(),
    ):
        raise ModuleNotFoundError(name=f"{module}.inner")


def test_another_missing_module_is_a_fault_of_ours():
    with pytest.raises(ModuleNotFoundError), report_errors():
        raise ModuleNotFoundError(name="quarkaudio_jax.gone")


OPTIONAL = (
    *("array_record", "grain", "librosa", "matplotlib", "optax.contrib", "pandas", "PIL", "tensorboardX"),
    *("tensorflow", "tensorflow_datasets", "torch"),
)
"""What training, data or evaluation need, and inference does not."""


def imported_by(code):
    """Which of OPTIONAL some code imports."""
    code += f"; import sys; print([name for name in {OPTIONAL} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_codec_runs_on_the_core_packages(trained):
    code = "import numpy as np, quarkaudio_jax.inference.task_model; from quarkaudio_jax import load_codec"
    assert imported_by(f"{code}; load_codec({str(trained)!r}).reconstruct(np.ones(4000, np.float32))") == "[]\n"


@pytest.mark.slow
def test_a_task_model_runs_on_the_core_packages(trained, trained_lm):
    load = f"model = load_task_model({str(trained_lm)!r}, {str(trained)!r}, batch=1)"
    code = f"import numpy as np; from quarkaudio_jax import load_task_model; {load}"
    assert imported_by(f"{code}; model('restoration', np.ones(4000, np.float32))") == "[]\n"

"""With JAX's 64-bit types switched on everything computes in the 32 bits that it names."""

import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from tests import x64


@pytest.mark.slow
def test_x64_changes_no_result(tmp_path):
    root = pathlib.Path(__file__).parents[1]
    out = tmp_path / "out.npz"
    command = [sys.executable, "-m", "tests.x64", str(out)]
    env = {**os.environ, "JAX_ENABLE_X64": "1", "PYTHONPATH": str(root)}
    done = subprocess.run(command, cwd=root, env=env, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    with np.load(out) as found:
        for name, want in x64.results().items():
            assert found[name].dtype == want.dtype, name
            if want.dtype == np.float32:
                np.testing.assert_allclose(found[name], want, rtol=0, atol=1e-6, err_msg=name)
            else:
                np.testing.assert_array_equal(found[name], want, err_msg=name)

"""Eight virtual devices give the losses of one, for every kind of mesh; quantiser statistics are global."""

import functools
import json
import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.slow


@functools.cache
def losses(mesh: str):
    env = dict(os.environ, XLA_FLAGS="--xla_force_host_platform_device_count=8", JAX_PLATFORMS="cpu")
    done = subprocess.run(
        [sys.executable, "-m", "tests.multidevice.losses", mesh], capture_output=True, text=True, cwd=ROOT, env=env
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("mesh", ["8,1,1", "1,8,1", "2,2,2"])
def test_losses_equal_one_device(mesh):
    one, many = losses("1,1,1"), losses(mesh)
    assert many["devices"] == 8
    assert many["sharded"] == 0 if mesh == "8,1,1" else many["sharded"] == 1
    for step, (a, b) in enumerate(zip(one["metrics"], many["metrics"], strict=True)):
        for name in a:
            assert b[name] == pytest.approx(a[name], rel=3e-4, abs=1e-6), (step, name)

"""Eight virtual devices give what one gives, for every program and kind of mesh; quantizer statistics are global."""

import functools

import pytest

from tests import multidevice

pytestmark = pytest.mark.slow

losses = functools.cache(functools.partial(multidevice.run, "losses"))


@pytest.mark.parametrize(
    "mesh, program",
    [(m, p) for p in ("codec", "lm") for m in ("8,1,1", "1,8,1", "1,1,8", "2,2,2")] + [("2,2,2", "options")],
)
def test_losses_equal_one_device(program, mesh):
    one, many = losses(program, "1,1,1"), losses(program, mesh)
    assert many["devices"] == 8
    least = 0.6 if (program, mesh) == ("lm", "1,1,8") else 0.9  # tables and heads are split over fsdp alone
    assert many["sharded"] == 0 if mesh == "8,1,1" else many["sharded"] > least
    for step, (a, b) in enumerate(zip(one["metrics"], many["metrics"], strict=True)):
        for name in a:
            assert b[name] == pytest.approx(a[name], rel=3e-4, abs=1e-6), (step, name)
    assert many["codes"] == one["codes"]

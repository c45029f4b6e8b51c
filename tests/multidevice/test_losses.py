"""Eight virtual devices give the losses of one, for every kind of mesh; quantiser statistics are global."""

import functools

import pytest

from tests import multidevice

pytestmark = pytest.mark.slow

losses = functools.cache(multidevice.train)


@pytest.mark.parametrize("mesh", ["8,1,1", "1,8,1", "1,1,8", "2,2,2"])
def test_losses_equal_one_device(mesh):
    one, many = losses("1,1,1"), losses(mesh)
    assert many["devices"] == 8
    assert many["sharded"] == 0 if mesh == "8,1,1" else many["sharded"] > 0.9
    for step, (a, b) in enumerate(zip(one["metrics"], many["metrics"], strict=True)):
        for name in a:
            assert b[name] == pytest.approx(a[name], rel=3e-4, abs=1e-6), (step, name)

"""A checkpoint goes on on another mesh than it was saved on."""

import shutil

import pytest

from tests import multidevice

pytestmark = pytest.mark.slow


def test_every_mesh_gets_the_same_parameters(trained_lm, tmp_path):
    """Saved by one device; batches of 2 allow at most two ways of data and fsdp."""
    workdir = shutil.copytree(trained_lm, tmp_path / "lm")
    one = multidevice.run("restored", str(workdir), "1,1,1")
    assert one["step"] == 4 and one["split"] == 0
    for mesh in ("2,1,1", "1,2,4"):
        found = multidevice.run("restored", str(workdir), mesh)
        assert found["digest"] == one["digest"]
        assert found["split"] > 0.9 if mesh == "1,2,4" else found["split"] == 0

"""Mesh sizes and shardings."""

import collections

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, PartitionSpec

from quarkaudio_jax.compile_report.chips import topology_devices
from quarkaudio_jax.config import from_config_dict
from quarkaudio_jax.sharding.mesh import AXES, batch_share, make_mesh, state_shardings
from quarkaudio_jax.sharding.partition import fitted
from quarkaudio_jax.training.codec_program import CodecProgram
from tests.conftest import small_config


def abstract_mesh(**sizes):
    class Fake:
        shape = sizes

    return Fake


@pytest.mark.parametrize(
    "sizes, message",
    [
        (dict(data=2, fsdp=1, tensor=1), "does not fill the 1 devices"),
        (dict(data=-1, fsdp=-1, tensor=1), "at most one is -1"),
        (dict(data=0, fsdp=1, tensor=1), "at least 1"),
    ],
)
def test_wrong_sizes_are_named(sizes, message):
    with pytest.raises(ValueError, match=message):
        make_mesh(sizes, jax.devices()[:1])


def test_minus_one_takes_the_rest():
    assert dict(make_mesh(dict(data=-1, fsdp=1, tensor=1), jax.devices()[:1]).shape) == dict(data=1, fsdp=1, tensor=1)


def test_axes_that_do_not_divide_stay_whole():
    mesh = abstract_mesh(data=1, fsdp=4, tensor=2)
    assert fitted(PartitionSpec("fsdp", "tensor"), (8, 6), mesh) == PartitionSpec("fsdp", "tensor")
    assert fitted(PartitionSpec("fsdp", "tensor"), (6, 7), mesh) == PartitionSpec(None, None)


def test_every_parameter_of_the_codec_has_names():
    """The large matrices are split; only vectors and the codebooks stay whole."""
    boxed = jax.eval_shape(CodecProgram(from_config_dict(small_config())).init)
    mesh = make_mesh(dict(data=1, fsdp=1, tensor=1), jax.devices()[:1])
    assert jax.tree.structure(state_shardings(boxed, mesh)).num_leaves == len(jax.tree.leaves(boxed))
    import flax.linen as nn

    specs = nn.logical_to_mesh(
        nn.get_partition_spec(boxed.model.params), (("embed", "fsdp"), ("mlp", "tensor"), ("heads", "tensor"))
    )
    shapes = nn.meta.unbox(boxed.model.params)
    flat = zip(
        jax.tree.leaves(shapes), jax.tree.leaves(specs, is_leaf=lambda s: isinstance(s, PartitionSpec)), strict=True
    )
    for shape, spec in flat:
        if jnp.prod(jnp.asarray(shape.shape)) > 20_000:
            assert any(spec), (shape, spec)


class TestWiring:
    """On TPU slices as their compiler describes them."""

    @pytest.fixture(autouse=True)
    def compiler(self):
        pytest.importorskip("libtpu", reason="the package libtpu is missing")

    def test_slices_hold_replicas(self):
        devices = topology_devices("v5e:2x4", 2)
        mesh = make_mesh(dict(data=4, fsdp=-1, tensor=1), devices)
        assert [{d.slice_index for d in row.flat} for row in mesh.devices] == [{0}, {0}, {1}, {1}]
        with pytest.raises(
            ValueError, match=r"data=1, fsdp=16.* over 2 slices: config.mesh.data must be a multiple of 2"
        ):
            make_mesh(dict(data=1, fsdp=16, tensor=1), devices)

    @pytest.mark.parametrize("tensor, shares", [(1, 4), (2, None), (4, None), (8, 2), (16, 1)])
    def test_every_owner_of_a_row_reads_it(self, tensor, shares):
        mesh = make_mesh(dict(data=-1, fsdp=1, tensor=tensor), topology_devices("v5e:4x4"))
        rows = mesh.devices.reshape(16 // tensor, tensor)
        found = {host: batch_share(mesh, host) for host in {d.process_index for d in rows.flat}}
        (count,) = {count for _, count in found.values()}
        assert shares in (None, count)
        readers = [{found[device.process_index][0] for device in owners} for owners in rows]
        assert all(len(read) == 1 for read in readers)
        counts = collections.Counter(share for (share,) in readers)
        assert counts == dict.fromkeys(range(count), len(rows) // count)

    def test_rows_that_hosts_share_in_part_are_refused(self):
        devices = sorted(topology_devices("v5e:4x4"), key=lambda device: device.process_index)
        order = [*devices[:3], devices[4], devices[3], *devices[5:]]
        mesh = Mesh(np.array(order).reshape(4, 1, 4), AXES)
        with pytest.raises(ValueError, match=r"share some rows of a batch and not others \(host 0 \[0, 1\]; host 1"):
            batch_share(mesh, 0)

    def test_neighbors_on_an_axis_are_wired(self):
        mesh = make_mesh(dict(data=1, fsdp=8, tensor=2), topology_devices("v5e:4x4"))
        for pair in mesh.devices.reshape(8, 2):
            one, other = (device.coords for device in pair)
            assert sum(abs(a - b) for a, b in zip(one, other, strict=True)) == 1

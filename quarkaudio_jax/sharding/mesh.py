"""The device mesh, and the table from logical axes to mesh axes."""

import functools
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from quarkaudio_jax.errors import UserError
from quarkaudio_jax.sharding.partition import fitted, placement

AXES = ("data", "fsdp", "tensor")

RULES = (
    ("batch", ("data", "fsdp")),
    ("embed", "fsdp"),
    ("mlp", "tensor"),
    ("heads", "tensor"),
    ("vocab", None),
    ("codebook", None),
    ("norm", None),
    ("kernel", None),
    ("layers", None),
)
"""Logical axis -> mesh axes. Batches are sharded over data and fsdp, parameters over fsdp and tensor."""


def make_mesh(sizes: dict[str, int], devices: Sequence[Any] | None = None) -> Mesh:
    """A mesh with axes data, fsdp, tensor; one size may be -1 for the remaining devices.

    On TPUs, neighbors on an axis are physically connected, and only `data` crosses slices over the data center's network.
    UserError names the sizes if they do not match the devices.
    """
    devices = jax.devices() if devices is None else list(devices)
    shape = [sizes[axis] for axis in AXES]
    described = ", ".join(f"{axis}={size}" for axis, size in zip(AXES, shape, strict=True))
    if shape.count(-1) > 1 or any(size < 1 and size != -1 for size in shape):
        raise UserError(f"mesh {described}: sizes are at least 1, and at most one is -1")
    known = int(np.prod([size for size in shape if size != -1]))
    if -1 in shape and len(devices) % known == 0:
        shape[shape.index(-1)] = len(devices) // known
    if int(np.prod(shape)) != len(devices):
        raise UserError(f"mesh {described} does not fill the {len(devices)} devices at hand; change config.mesh")
    return Mesh(_arranged(shape, devices, described), AXES)


def _arranged(shape: list[int], devices: list[Any], described: str) -> np.ndarray:
    """Devices in the mesh's shape, according to the physical topology."""
    if devices[0].platform != "tpu":
        return np.asarray(devices).reshape(shape)
    slices = len({getattr(device, "slice_index", 0) for device in devices})
    if slices == 1:
        return mesh_utils.create_device_mesh(shape, devices, allow_split_physical_axes=True)
    if shape[0] % slices:
        raise UserError(f"mesh {described} over {slices} slices: config.mesh.data must be a multiple of {slices}")
    within = [shape[0] // slices, *shape[1:]]
    return mesh_utils.create_hybrid_device_mesh(within, [slices, 1, 1], devices, allow_split_physical_axes=True)


def num_batch_shards(mesh: Mesh) -> int:
    """Number of shards of a batch."""
    return mesh.shape["data"] * mesh.shape["fsdp"]


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Sharding of the leading axis over data and fsdp."""
    return NamedSharding(mesh, PartitionSpec(("data", "fsdp")))


def replicated(mesh: Mesh) -> NamedSharding:
    """Sharding that replicates on all devices."""
    return NamedSharding(mesh, PartitionSpec())


def on_mesh(fn: Callable, mesh: Mesh) -> Callable:
    """Wraps `fn` so that its layers' arrays are sharded over `mesh` by `RULES` when it is traced."""

    @functools.wraps(fn)
    def placed(*args):
        with placement(mesh, RULES):
            return fn(*args)

    return placed


def state_shardings(abstract_state: Any, mesh: Mesh) -> Any:
    """Shardings of an abstract state whose parameters have logical axis names, in its unboxed structure.

    A dimension that its mesh axes do not divide is not sharded.
    """
    specs = nn.logical_to_mesh(nn.get_partition_spec(abstract_state), RULES)
    shapes = nn.meta.unbox(abstract_state)
    return jax.tree.map(
        lambda leaf, spec: NamedSharding(mesh, fitted(spec, leaf.shape, mesh)),
        shapes,
        specs,
        is_leaf=lambda x: isinstance(x, PartitionSpec),
    )


@functools.lru_cache
def batch_share(mesh: Mesh, host: int | None = None) -> tuple[int, int]:
    """(index of the part of each batch that a host reads, number of parts).

    Hosts connected by the tensor axis read the same part. ValueError if hosts would have only some of their rows in
    common. host: default this one.
    """
    host = jax.process_index() if host is None else host
    rows: dict[int, set[int]] = {}
    for row, devices in enumerate(mesh.devices.reshape(num_batch_shards(mesh), -1)):
        for device in devices:
            rows.setdefault(device.process_index, set()).add(row)
    shares = sorted({tuple(sorted(found)) for found in rows.values()})
    if len({len(share) for share in shares}) > 1 or sum(map(len, shares)) != num_batch_shards(mesh):
        described = "; ".join(f"host {h} {sorted(found)}" for h, found in sorted(rows.items()))
        raise ValueError(
            f"this mesh has hosts share some rows of a batch and not others ({described}): choose config.mesh.tensor so that "
            "it divides the devices of a host, or is a multiple of them"
        )
    return shares.index(tuple(sorted(rows[host]))), len(shares)


def check_equal_shares(names: Sequence[str], share: int, shares: int) -> None:
    """Raises UserError if hosts that read the same part of a batch got different examples; called by all hosts.

    names: the examples of this host. share, shares: of `batch_share`.
    """
    if shares == jax.process_count():
        return
    from jax.experimental import multihost_utils

    digest = zlib.crc32("\n".join(names).encode())
    gathered = multihost_utils.process_allgather(np.asarray([share, digest % 2**31], np.int32)).tolist()
    if len(set(map(tuple, gathered))) > shares:
        raise UserError(
            "hosts that the mesh's tensor axis joins read different examples, so one of them could not read a file that "
            f"another could: {', '.join(names)}. Start again from the last checkpoint with config.data.strict=True"
        )


def global_batch(batch: dict[str, np.ndarray], mesh: Mesh) -> dict[str, jax.Array]:
    """Global arrays of a batch from each host's part of it."""
    sharding, (_, shares) = batch_sharding(mesh), batch_share(mesh)
    return {
        name: jax.make_array_from_process_local_data(sharding, value, (len(value) * shares, *value.shape[1:]))
        for name, value in batch.items()
    }

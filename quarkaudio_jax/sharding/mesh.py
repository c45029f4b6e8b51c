"""The device mesh, and the one table from logical axes to mesh axes."""

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
"""Logical axis -> mesh axis. Batches are split over data and fsdp; parameters over fsdp and tensor."""


def make_mesh(sizes: dict[str, int], devices: Sequence[Any] | None = None) -> Mesh:
    """A mesh with axes data, fsdp, tensor; one size may be -1 and takes the devices left.

    On TPUs neighbors on an axis are neighbors on the chip's links, and where there are several slices `data` alone
    crosses from one to another, over the data center's network. Raises ValueError naming the sizes when they do not
    fill the devices, or can't be split so.
    """
    devices = jax.devices() if devices is None else list(devices)
    shape = [sizes[axis] for axis in AXES]
    wanted = ", ".join(f"{axis}={size}" for axis, size in zip(AXES, shape, strict=True))
    if shape.count(-1) > 1 or any(size < 1 and size != -1 for size in shape):
        raise UserError(f"mesh {wanted}: sizes are at least 1, and at most one is -1")
    known = int(np.prod([size for size in shape if size != -1]))
    if -1 in shape and len(devices) % known == 0:
        shape[shape.index(-1)] = len(devices) // known
    if int(np.prod(shape)) != len(devices):
        raise UserError(f"mesh {wanted} does not fill the {len(devices)} devices at hand; change config.mesh")
    return Mesh(_arranged(shape, devices, wanted), AXES)


def _arranged(shape: list[int], devices: list[Any], wanted: str) -> np.ndarray:
    """Devices in the mesh's shape, by how they are wired."""
    if devices[0].platform != "tpu":
        return np.asarray(devices).reshape(shape)
    slices = len({getattr(device, "slice_index", 0) for device in devices})
    if slices == 1:
        return mesh_utils.create_device_mesh(shape, devices, allow_split_physical_axes=True)
    if shape[0] % slices:
        raise UserError(f"mesh {wanted} over {slices} slices: config.mesh.data must be a multiple of {slices}")
    within = [shape[0] // slices, *shape[1:]]
    return mesh_utils.create_hybrid_device_mesh(within, [slices, 1, 1], devices, allow_split_physical_axes=True)


def batch_ways(mesh: Mesh) -> int:
    """Into how many parts a batch is split."""
    return mesh.shape["data"] * mesh.shape["fsdp"]


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Leading axis split over the data and fsdp axes."""
    return NamedSharding(mesh, PartitionSpec(("data", "fsdp")))


def replicated(mesh: Mesh) -> NamedSharding:
    """The same on every device."""
    return NamedSharding(mesh, PartitionSpec())


def on_mesh(fn: Callable, mesh: Mesh) -> Callable:
    """`fn` to be traced with its layers' arrays placed on `mesh` by the rules table."""

    @functools.wraps(fn)
    def placed(*args):
        with placement(mesh, RULES):
            return fn(*args)

    return placed


def state_shardings(abstract_state: Any, mesh: Mesh) -> Any:
    """The sharding of each leaf of an abstract state whose parameters carry logical axis names.

    Returns a tree of the unboxed structure. A dimension that its mesh axes do not divide
    stays whole.
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
    """(which share of each batch this host reads, of how many). Hosts that the tensor axis joins read the same one.

    ValueError if hosts would have only some of their rows in common. host: default this one.
    """
    host = jax.process_index() if host is None else host
    rows: dict[int, set[int]] = {}
    for row, devices in enumerate(mesh.devices.reshape(batch_ways(mesh), -1)):
        for device in devices:
            rows.setdefault(device.process_index, set()).add(row)
    shares = sorted({tuple(sorted(found)) for found in rows.values()})
    if len({len(share) for share in shares}) > 1 or sum(map(len, shares)) != batch_ways(mesh):
        told = "; ".join(f"host {h} {sorted(found)}" for h, found in sorted(rows.items()))
        raise ValueError(
            f"this mesh has hosts share some rows of a batch and not others ({told}): choose config.mesh.tensor so that "
            "it divides the devices of a host, or is a multiple of them"
        )
    return shares.index(tuple(sorted(rows[host]))), len(shares)


def check_equal_shares(names: Sequence[str], share: int, shares: int) -> None:
    """UserError if hosts that read the same share of a batch did not get the same examples `names`; asked by all."""
    if shares == jax.process_count():
        return
    from jax.experimental import multihost_utils

    digest = zlib.crc32("\n".join(names).encode())
    told = multihost_utils.process_allgather(np.asarray([share, digest % 2**31], np.int32)).tolist()
    if len(set(map(tuple, told))) > shares:
        raise UserError(
            "hosts that the mesh's tensor axis joins read different examples, so one of them could not read a file that "
            f"another could: {', '.join(names)}. Start again from the last checkpoint with config.data.strict=True"
        )


def global_batch(batch: dict[str, np.ndarray], mesh: Mesh) -> dict[str, jax.Array]:
    """This host's share of a batch as arrays over the whole mesh."""
    sharding, (_, shares) = batch_sharding(mesh), batch_share(mesh)
    return {
        name: jax.make_array_from_process_local_data(sharding, value, (len(value) * shares, *value.shape[1:]))
        for name, value in batch.items()
    }

"""Where arrays lie on a mesh while a layer computes, in logical axis names.

Layers say what they mean ("batch", "mlp"); which mesh axes that is, is decided outside
(`sharding.mesh`), for the time of a trace. Without a mesh everything here does nothing.
"""

import contextlib
import contextvars
from collections.abc import Iterator, Sequence
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

_ACTIVE: contextvars.ContextVar[tuple[Mesh, Any] | None] = contextvars.ContextVar("mesh and rules", default=None)


@contextlib.contextmanager
def placement(mesh: Mesh, rules: Sequence[tuple[str, Any]]) -> Iterator[None]:
    """Within it, `constrain` and `gathered` place arrays on `mesh` by `rules` (logical axis -> mesh axes)."""
    token = _ACTIVE.set((mesh, rules))
    try:
        yield
    finally:
        _ACTIVE.reset(token)


def fitted(spec: PartitionSpec, shape: Sequence[int], mesh: Mesh) -> PartitionSpec:
    """Drops the mesh axes that do not divide the dimension they are to split."""
    out = []
    for dim, axes in zip(shape, tuple(spec) + (None,) * (len(shape) - len(spec)), strict=True):
        names = (axes,) if isinstance(axes, str) else tuple(axes or ())
        size = int(np.prod([mesh.shape[name] for name in names])) if names else 1
        out.append(axes if size > 1 and dim % size == 0 else None)
    return PartitionSpec(*out)


def constrain(x: jax.Array, *axes: str | None) -> jax.Array:
    """Lays `x` out by the logical names of its leading axes (the others stay whole)."""
    if (active := _ACTIVE.get()) is None:
        return x
    mesh, rules = active
    spec = fitted(nn.logical_to_mesh_axes(axes, rules), x.shape, mesh)
    return jax.lax.with_sharding_constraint(x, NamedSharding(mesh, spec))


def num_shards(axis: str, size: int) -> int:
    """Number of shards of a logical axis of that size under the active mesh; 1 without one."""
    if (active := _ACTIVE.get()) is None:
        return 1
    mesh, rules = active
    spec = fitted(nn.logical_to_mesh_axes((axis,), rules), (size,), mesh)
    names = spec[0] or ()
    return int(np.prod([mesh.shape[name] for name in ((names,) if isinstance(names, str) else names)]))


def platform() -> str:
    """Of the devices that arrays are placed on now ("cpu", "gpu", "tpu"); without a mesh, of the default ones."""
    active = _ACTIVE.get()
    return active[0].devices.flat[0].platform if active else jax.default_backend()


def gathered(kernel: jax.Array, axes: Sequence[str | None]) -> jax.Array:
    """A parameter as its layer uses it: no longer split over its "embed" axis, which is storage only (ZeRO-3).

    Left to itself XLA's partitioner may keep the contraction split instead; for a convolution
    split over input and output channels at once its gradient came out wrong (JAX 0.10).
    """
    return constrain(kernel, *(None if axis == "embed" else axis for axis in axes))

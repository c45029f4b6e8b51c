"""Sharding of arrays inside layers by logical axis names.

Layers use logical names ("batch", "mlp"); `placement` maps them to mesh axes during a trace. Without it these functions have
no effect.
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
    """Context in which `constrain` and `gathered` shard arrays over `mesh` by `rules` (logical axis -> mesh axes)."""
    token = _ACTIVE.set((mesh, rules))
    try:
        yield
    finally:
        _ACTIVE.reset(token)


def fitted(spec: PartitionSpec, shape: Sequence[int], mesh: Mesh) -> PartitionSpec:
    """Drops mesh axes that do not divide their dimension."""
    out = []
    for dim, axes in zip(shape, tuple(spec) + (None,) * (len(shape) - len(spec)), strict=True):
        names = (axes,) if isinstance(axes, str) else tuple(axes or ())
        size = int(np.prod([mesh.shape[name] for name in names])) if names else 1
        out.append(axes if size > 1 and dim % size == 0 else None)
    return PartitionSpec(*out)


def _mesh_axes(axes: Sequence[str | None], rules: Any) -> PartitionSpec:
    spec = nn.logical_to_mesh_axes(axes, rules)
    assert spec is not None  # None only for axes=None
    return spec


def constrain(x: jax.Array, *axes: str | None) -> jax.Array:
    """Constrains the sharding of `x` by the logical names of its leading axes; the others are not sharded."""
    if (active := _ACTIVE.get()) is None:
        return x
    mesh, rules = active
    spec = fitted(_mesh_axes(axes, rules), x.shape, mesh)
    return jax.lax.with_sharding_constraint(x, NamedSharding(mesh, spec))


def num_shards(axis: str, size: int) -> int:
    """Number of shards of a logical axis of that size under the active mesh; 1 without one."""
    if (active := _ACTIVE.get()) is None:
        return 1
    mesh, rules = active
    spec = fitted(_mesh_axes((axis,), rules), (size,), mesh)
    names = spec[0] or ()
    return int(np.prod([mesh.shape[name] for name in ((names,) if isinstance(names, str) else names)]))


def platform() -> str:
    """Platform ("cpu", "gpu", "tpu") of the active mesh's devices; without one, of the default devices."""
    active = _ACTIVE.get()
    return active[0].devices.flat[0].platform if active else jax.default_backend()


def gathered(kernel: jax.Array, axes: Sequence[str | None]) -> jax.Array:
    """Gathers a parameter over its "embed" axis, which is sharded for storage only (ZeRO-3).

    XLA's partitioner might otherwise shard the contraction; the gradient of a convolution sharded over both input and output
    channels was wrong (JAX 0.10).
    """
    return constrain(kernel, *(None if axis == "embed" else axis for axis in axes))

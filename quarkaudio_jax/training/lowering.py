"""Lowering of a program's training step on a mesh, from shapes alone."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax

from quarkaudio_jax.config import ConfigError, TrainConfig
from quarkaudio_jax.sharding.mesh import (
    batch_sharding,
    batch_share,
    make_mesh,
    num_batch_shards,
    on_mesh,
    replicated,
    state_shardings,
)
from quarkaudio_jax.training.guard import guarded
from quarkaudio_jax.training.program import Program


@dataclasses.dataclass(frozen=True)
class LoweredStep:
    """A training step ready to compile; shardings, abstract_state: of each leaf of the state."""

    shardings: Any
    abstract_state: Any
    lowered: jax.stages.Lowered


def configured_mesh(cfg: TrainConfig, devices: Sequence[Any] | None = None) -> jax.sharding.Mesh:
    """The mesh of `config.mesh` on all available devices, or on `devices`; ConfigError if it does not fit them."""
    try:
        mesh = make_mesh(dataclasses.asdict(cfg.mesh), devices)
        if devices is None:
            batch_share(mesh)
        return mesh
    except ValueError as error:
        raise ConfigError(str(error)) from error


def check_batch(size: int, mesh: jax.sharding.Mesh) -> None:
    """ConfigError unless the mesh divides the batch size."""
    if size % (ways := num_batch_shards(mesh)):
        raise ConfigError(
            f"config.data.batch_size is {size}, but the mesh splits batches {ways} ways (data x fsdp); choose a multiple"
        )


def lower_train_step(program: Program[Any], mesh: jax.sharding.Mesh) -> LoweredStep:
    """Lowers the step without allocating; the mesh may be of devices that do not exist."""
    size = program.cfg.data.batch_size
    check_batch(size, mesh)
    boxed = jax.eval_shape(program.init)
    boxed = boxed.replace(frozen=jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), program.frozen))
    shardings = state_shardings(boxed, mesh)
    abstract = jax.tree.map(_placed, nn.meta.unbox(boxed), shardings)
    batch = {name: _placed(s, batch_sharding(mesh)) for name, s in program.batch_spec(size).items()}
    train_step = on_mesh(guarded(program.train_step), mesh)
    step = jax.jit(train_step, donate_argnums=0, out_shardings=(shardings, replicated(mesh)))
    return LoweredStep(shardings, abstract, step.lower(abstract, batch))


def _placed(shape: Any, sharding: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape.shape, shape.dtype, sharding=sharding)

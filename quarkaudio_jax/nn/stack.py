"""A deep stack of equal layers: scanned for training, a loop for inference.

A scan stacks the parameters of all layers in one array each: compile time does not grow with depth, and layers can be
rematerialized one by one. A loop over separate arrays computes the same and is faster on CPU, where a scan first copies each
layer's slice.
"""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from quarkaudio_jax.errors import UserError
from quarkaudio_jax.nn.causal import CHECKPOINT_NAME
from quarkaudio_jax.nn.dropout import DROPOUT
from quarkaudio_jax.sharding.partition import platform

STACKED = "layers"

REMAT_POLICIES = {
    "none": None,
    "full": jax.checkpoint_policies.nothing_saveable,
    "dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
    "attention": jax.checkpoint_policies.save_only_these_names(CHECKPOINT_NAME),
    "dots+attention": jax.checkpoint_policies.save_from_both_policies(
        jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
        jax.checkpoint_policies.save_only_these_names(CHECKPOINT_NAME),
    ),
}
"""What a layer saves for the backward pass: everything, nothing, matrix products, outputs of causal attention, or both."""


class Stack(nn.Module):
    """Applies `length` copies of `layer`, a module class called as layer(**kwargs)(x, context[, state]).

    context: the same for every layer, for most a mask (B, T) or None. state: one per layer, such as its keys and values;
    layers and the stack then return (x, state). It is one tree of stacked arrays with scan, else a tuple of trees.

    Attributes:
        scan: stack the parameters and scan over them.
        remat: a name of `REMAT_POLICIES`.
        collect: return the outputs of all layers (length, B, T, D) instead of the last.
        unroll: unroll the scan: activations for the backward pass are not copied into arrays of all layers, but compile
            time grows with depth.
    """

    layer: type[nn.Module]
    kwargs: Mapping[str, Any]
    length: int
    scan: bool = True
    remat: str = "none"
    collect: bool = False
    unroll: bool = False

    @nn.compact
    def __call__(self, x_BxTxD: jax.Array, context: Any = None, state: Any = None) -> Any:
        if self.remat not in REMAT_POLICIES:
            raise UserError(f"remat {self.remat!r} is not one of {', '.join(REMAT_POLICIES)}")
        if not self.length:  # a scan over no layers would make arrays without elements, which no checkpoint holds
            return x_BxTxD if state is None else (x_BxTxD, state)
        return self._scanned(x_BxTxD, context, state) if self.scan else self._looped(x_BxTxD, context, state)

    def _looped(self, x: jax.Array, context: Any, state: Any) -> Any:
        outputs, states = [], []
        for i in range(self.length):
            layer = self.layer(**self.kwargs, name=f"{STACKED}_{i}")
            if state is None:
                x = layer(x, context)
            else:
                x, new_state = layer(x, context, state[i])
                states.append(new_state)
            outputs.append(x)
        if state is not None:
            return x, tuple(states)
        return jnp.stack(outputs) if self.collect else x

    def _scanned(self, x: jax.Array, context: Any, state: Any) -> Any:
        def step(module, x, context, state):
            if state is not None:
                return module(x, context, state)
            x = module(x, context)
            return x, x if self.collect else None

        if self.remat != "none":
            # Outside a loop XLA may merge the recomputation with the first computation (CSE), and so keep its results; the
            # TPU compiler does not, as its memory analysis shows.
            barriers = self.unroll and platform() != "tpu"
            step = nn.remat(step, policy=REMAT_POLICIES[self.remat], prevent_cse=barriers)
        scanned = nn.scan(
            step,
            variable_axes={"params": 0},
            split_rngs={"params": True, DROPOUT: True},
            in_axes=(nn.broadcast, 0),
            length=self.length,
            unroll=self.length if self.unroll else 1,
            metadata_params={nn.PARTITION_NAME: "layers"},
        )
        last, outputs = scanned(self.layer(**self.kwargs, name=STACKED), x, context, state)
        if state is not None:
            return last, outputs
        return outputs if self.collect else last


def unstack_params(params: Mapping[str, Any]) -> dict[str, Any]:
    """Splits every stacked subtree into separate layers, as a `Stack` with scan=False expects."""
    out = {}
    for name, value in params.items():
        if name == STACKED:
            depth = jax.tree.leaves(value)[0].shape[0]
            for i in range(depth):
                out[f"{STACKED}_{i}"] = jax.tree.map(lambda leaf, i=i: leaf[i], value)
        else:
            out[name] = unstack_params(value) if isinstance(value, Mapping) else value
    return out


def stack_params(params: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse of `unstack_params`."""
    prefix = f"{STACKED}_"
    layers = sorted((k for k in params if k.startswith(prefix)), key=lambda k: int(k[len(prefix) :]))
    out = {
        name: stack_params(value) if isinstance(value, Mapping) else value
        for name, value in params.items()
        if name not in layers
    }
    if layers:
        out[STACKED] = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(params[k] for k in layers))
    return out

"""A deep stack of equal layers: scanned for training, a plain loop for inference.

Scanned, the parameters of all layers lie stacked in one array each (compile time does not
grow with depth, and layers can be rematerialised one by one). A loop over separate arrays
computes the same and is faster on CPU, where a scan copies each layer's slice first.
"""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

STACKED = "layers"

REMAT_POLICIES = {
    "none": None,
    "full": jax.checkpoint_policies.nothing_saveable,
    "dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
}
"""What a layer keeps for the backward pass: everything, nothing, or the matrix products."""


class Stack(nn.Module):
    """Applies `length` copies of `layer`, a module class called as layer(**kwargs)(x, context).

    context: the same for every layer, for most a mask (B, T) or None. collect: return what
    every layer gave, (length, B, T, D), instead of what the last one gave.
    """

    layer: type[nn.Module]
    kwargs: Mapping[str, Any]
    length: int
    scan: bool = True
    remat: str = "none"
    collect: bool = False

    @nn.compact
    def __call__(self, x_BxTxD: jax.Array, context: Any = None) -> jax.Array:
        kwargs = dict(self.kwargs)
        if not self.scan:
            outputs = []
            for i in range(self.length):
                x_BxTxD = self.layer(**kwargs, name=f"{STACKED}_{i}")(x_BxTxD, context)
                outputs.append(x_BxTxD)
            return jnp.stack(outputs) if self.collect else x_BxTxD

        def step(module, x, context):
            x = module(x, context)
            return x, x if self.collect else None

        if self.remat not in REMAT_POLICIES:
            raise ValueError(f"remat {self.remat!r} is not one of {', '.join(REMAT_POLICIES)}")
        if self.remat != "none":
            step = nn.remat(step, policy=REMAT_POLICIES[self.remat], prevent_cse=False)
        scanned = nn.scan(
            step,
            variable_axes={"params": 0},
            split_rngs={"params": True},
            in_axes=nn.broadcast,
            length=self.length,
            metadata_params={nn.PARTITION_NAME: "layers"},
        )
        last, outputs = scanned(self.layer(**kwargs, name=STACKED), x_BxTxD, context)
        return outputs if self.collect else last


def unstack_params(params: Mapping[str, Any]) -> dict[str, Any]:
    """Splits every stacked subtree into the layout that a `Stack` with scan=False expects."""
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

"""ConvNeXt block over time (arXiv:2201.03545, in the 1-D form of Vocos, arXiv:2306.00814)."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from quarkaudio_jax.nn.conv import DepthwiseConv1d
from quarkaudio_jax.nn.init import logical
from quarkaudio_jax.nn.linear import Linear
from quarkaudio_jax.nn.norm import AdaLayerNorm, LayerNorm


class ConvNeXtBlock(nn.Module):
    """Depthwise convolution (kernel 7), LayerNorm, MLP with exact GELU, layer scale, residual. (B, T, D) -> same.

    context: a mask (B, T) or None; with `adaptive` (mask, condition (B, C)), from which the norm's scale and shift are
    computed.
    """

    hidden: int
    layer_scale: float
    causal: bool = False
    adaptive: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x_BxTxD: jax.Array, context: Any = None) -> jax.Array:
        dim = x_BxTxD.shape[-1]
        mask_BxT = context[0] if self.adaptive else context
        x = DepthwiseConv1d(7, self.causal, self.dtype, name="dwconv")(x_BxTxD, mask_BxT)
        if self.adaptive:
            x = AdaLayerNorm(dtype=self.dtype, name="norm")(x, context[1])
        else:
            x = LayerNorm(dtype=self.dtype, name="norm")(x)
        x = Linear(self.hidden, dtype=self.dtype, name="pwconv1")(x)
        x = nn.gelu(x, approximate=False)
        x = Linear(dim, dtype=self.dtype, axes=("mlp", "embed"), name="pwconv2")(x)
        gamma = self.param("gamma", logical(nn.initializers.constant(self.layer_scale), "norm"), (dim,))
        return x_BxTxD + x * gamma.astype(self.dtype)

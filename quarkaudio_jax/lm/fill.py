"""The second stage: one bidirectional pass predicts the codebooks that the autoregressive stage leaves out.

Its transformer sees the request and the first stage's codes of all frames at once (the encoder-only model of LauraTSE,
arXiv:2504.07402; VALL-E, arXiv:2301.02111, makes one pass per codebook). Within a frame the codebooks follow one another:
each is predicted from the frame's hidden state and the codes before it, by a small MLP and without another pass.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from quarkaudio_jax.lm.backbone import Backbone, BackboneConfig
from quarkaudio_jax.lm.objective import linear_loss_and_correct
from quarkaudio_jax.nn.init import logical
from quarkaudio_jax.nn.linear import Linear
from quarkaudio_jax.nn.norm import RMSNorm
from quarkaudio_jax.nn.transformer import SwiGLU
from quarkaudio_jax.sharding.partition import gathered


class FillModel(nn.Module):
    """Predicts R codebooks of each frame from embeddings.

    sizes: of the codebooks; remat, scan, unroll: see `nn.stack.Stack`.
    """

    cfg: BackboneConfig
    sizes: tuple[int, ...]
    dtype: Any = jnp.float32
    remat: str = "none"
    scan: bool = True
    unroll: bool = False

    def setup(self):
        """Creates the submodules and parameters."""
        cfg, count, ids = self.cfg, len(self.sizes), max(self.sizes)
        self.backbone = Backbone(cfg, self.dtype, self.remat, self.scan, self.unroll)
        axes = ("codebook", "vocab", "embed")
        self.words = self.param("words", logical(nn.initializers.normal(0.02), *axes), (count, ids, cfg.dim))
        self.norm = RMSNorm(cfg.eps, self.dtype)
        self.mlp = SwiGLU(cfg.dim, dtype=self.dtype, dropout=cfg.dropout)
        self.heads = Linear(count * ids, False, self.dtype, axes=("embed", "vocab"))

    def hidden(
        self, x_BxLxD: jax.Array, positions_BxL: jax.Array, segments_BxL: jax.Array, rope_BxL: jax.Array | None = None
    ) -> jax.Array:
        """Hidden states (B, L, D); attention is bidirectional within a segment."""
        reach = jnp.full(positions_BxL.shape, positions_BxL.shape[1] - 1)
        return self.backbone(x_BxLxD, positions_BxL, segments_BxL, reach_BxL=reach, rope_BxL=rope_BxL)[0]

    def init_heads(self, hidden_BxLxD: jax.Array) -> None:
        """Creates the parameters of what follows `hidden`."""
        self.heads(self._refined(hidden_BxLxD))

    def metrics(self, hidden_BxLxD: jax.Array, codes_BxLxR: jax.Array, smoothing: float) -> tuple[jax.Array, jax.Array]:
        """(loss, whether the most likely code is the right one), (B, L, R), each codebook given those before it."""
        found = []
        for r, kernel_DxV in enumerate(self._kernels()):
            state = self._refined(hidden_BxLxD)
            found.append(linear_loss_and_correct(state, kernel_DxV, codes_BxLxR[..., r], smoothing))
            hidden_BxLxD = hidden_BxLxD + self._embedded(r, codes_BxLxR[..., r])
        loss, correct = (jnp.stack(x, axis=-1) for x in zip(*found, strict=True))
        return loss, correct

    def greedy(self, hidden_BxLxD: jax.Array) -> jax.Array:
        """The most likely codes (B, L, R), each codebook given those before it."""
        found = []
        for r, (size, kernel_DxV) in enumerate(zip(self.sizes, self._kernels(), strict=True)):
            logits = self._refined(hidden_BxLxD) @ kernel_DxV
            found.append(logits[..., :size].argmax(-1).astype(jnp.int32))
            hidden_BxLxD = hidden_BxLxD + self._embedded(r, found[-1])
        return jnp.stack(found, axis=-1)

    def _kernels(self) -> list[jax.Array]:
        """The kernel (D, V) of each codebook's head."""
        return jnp.split(self.heads.kernel(), len(self.sizes), axis=1)

    def _refined(self, hidden_BxLxD: jax.Array) -> jax.Array:
        """What a head reads."""
        return hidden_BxLxD + self.mlp(self.norm(hidden_BxLxD))

    def _embedded(self, codebook: int, codes_BxL: jax.Array) -> jax.Array:
        """Embeddings (B, L, D) of a codebook's codes."""
        return gathered(self.words, ("codebook", "vocab", "embed"))[codebook][codes_BxL].astype(self.dtype)

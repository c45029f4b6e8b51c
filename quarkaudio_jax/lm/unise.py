"""UniSE's language model (alibaba/unified-audio), for its published checkpoints.

    [task] [enrollment start, enrollment] [mixture start, mixture] [global start, globals] [semantic start, semantics]

Globals (a fixed number) describe the voice, semantics (one per frame) the content; one vocabulary holds three special ids,
globals and semantics.
"""

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from quarkaudio_jax.lm.backbone import Backbone, BackboneConfig, Cache, empty_cache
from quarkaudio_jax.lm.objective import TokenMetrics, linear_loss_and_correct, smoothed_kl
from quarkaudio_jax.nn.init import logical
from quarkaudio_jax.nn.linear import Linear
from quarkaudio_jax.tokens.delay import shift_left
from quarkaudio_jax.tokens.sequence import Kind
from quarkaudio_jax.tokens.unise import GLOBAL_START, NUM_GLOBALS, SEMANTIC_END, SEMANTIC_START, SPECIAL


@dataclasses.dataclass(frozen=True)
class UniseConfig:
    """Configuration of `Unise`. global_size, semantic_size: codebook sizes. feature_dim: width of the SSL features."""

    backbone: BackboneConfig
    feature_dim: int
    global_size: int
    semantic_size: int
    num_tasks: int = 3

    @property
    def vocabulary(self) -> int:
        """Number of ids: special ids, globals, semantics."""
        return SPECIAL + self.global_size + self.semantic_size


LM_UNISE = UniseConfig(BackboneConfig(512, 12, 8, 8, 2048), 768, 4096, 8192)
"""The published size; features are the mean of all hidden states of WavLM base+."""


class Unise(nn.Module):
    """UniSE's language model; apply `logits`, `loss`, `metrics` or `generate`. remat, scan, unroll: see `nn.stack.Stack`."""

    cfg: UniseConfig
    dtype: Any = jnp.float32
    scan: bool = True
    remat: str = "none"
    unroll: bool = False

    def setup(self):
        """Creates the submodules and parameters."""
        cfg, dim = self.cfg, self.cfg.backbone.dim

        def table(name: str, rows: int) -> jax.Array:
            return self.param(name, logical(nn.initializers.normal(0.02), "vocab", "embed"), (rows, dim))

        self.tasks = table("tasks", cfg.num_tasks)
        self.enrolment_start, self.mixture_start = table("enrolment_start", 1), table("mixture_start", 1)
        self.words = table("words", cfg.vocabulary)
        self.adapter = Linear(dim, dtype=self.dtype)
        self.backbone = Backbone(cfg.backbone, self.dtype, self.remat, self.scan, self.unroll)
        self.head = Linear(cfg.vocabulary, False, self.dtype, axes=("embed", "vocab"))

    def prefix(self, task_B: jax.Array, mixture_BxTxD: jax.Array, enrolment_BxTxD: jax.Array | None) -> jax.Array:
        """Embedded condition (B, P, D). task_B: numbers of `tokens.unise.UNISE_TASKS`; features (B, T, feature_dim)."""
        batch, dim = len(task_B), self.cfg.backbone.dim
        parts = [self.tasks[task_B][:, None]]
        for start, features in ((self.enrolment_start, enrolment_BxTxD), (self.mixture_start, mixture_BxTxD)):
            if features is not None:
                parts += [jnp.broadcast_to(start[None], (batch, 1, dim)), self.adapter(features)]
        return jnp.concatenate(parts, axis=1)

    def logits(self, prefix_BxPxD: jax.Array, ids_BxL: jax.Array) -> jax.Array:
        """Logits (B, L, V) of the id after each of ids_BxL."""
        x = jnp.concatenate([prefix_BxPxD, self.words[ids_BxL]], axis=1)
        positions = jnp.broadcast_to(jnp.arange(x.shape[1]), x.shape[:2])
        hidden, _ = self.backbone(x, positions, jnp.ones(x.shape[:2], jnp.int32))
        return self.head(hidden[:, prefix_BxPxD.shape[1] :])

    def loss(
        self, prefix_BxPxD: jax.Array, globals_BxK: jax.Array, semantic_BxT: jax.Array, smoothing: float = 0.1
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """(loss, accuracy, logits (B, K + T + 2, V)); the loss is the mean KL from smoothed targets."""
        special = jnp.ones((len(globals_BxK), 1), globals_BxK.dtype)
        first, second = globals_BxK + SPECIAL, semantic_BxT + SPECIAL + self.cfg.global_size
        inputs = jnp.concatenate([GLOBAL_START * special, first, SEMANTIC_START * special, second], axis=1)
        targets = jnp.concatenate([first, SEMANTIC_START * special, second, SEMANTIC_END * special], axis=1)
        logits = self.logits(prefix_BxPxD, inputs)
        return smoothed_kl(logits, targets, smoothing).mean(), (logits.argmax(-1) == targets).mean(), logits

    def metrics(self, batch: dict[str, jax.Array], smoothing: float = 0.1) -> TokenMetrics:
        """Metrics of the predictions for a packed batch, whose codes (B, L, 1) are ids of `tokens.unise.answer_ids`."""
        kind, segment = batch["kind"], batch["segment"]
        features = self.adapter(batch["features"].astype(self.dtype))
        ids = jnp.where(kind == Kind.CODES, batch["codes"][..., 0], 0)
        parts = {
            Kind.TASK: self.tasks[jnp.where(kind == Kind.TASK, batch["value"], 0)],
            Kind.REFERENCE_START: self.enrolment_start,
            Kind.REFERENCE: features,
            Kind.SOURCE_START: self.mixture_start,
            Kind.SOURCE: features,
            Kind.CODES: self.words[ids],
        }
        x = sum(jnp.where((kind == which)[..., None], part, 0) for which, part in parts.items())
        hidden, _ = self.backbone(x, batch["position"], segment)
        predicted = (kind == Kind.CODES) & (shift_left(kind) == Kind.CODES) & (shift_left(segment) == segment)
        found = linear_loss_and_correct(hidden, self.head.kernel(), shift_left(ids), smoothing)
        loss, correct = (x[..., None] for x in found)
        return TokenMetrics(loss, correct, predicted[..., None])

    def step(self, x_BxLxD: jax.Array, start: jax.Array, cache: Cache) -> tuple[jax.Array, Cache]:
        """(hidden state (B, D) of the last of the next embeddings, cache); start: position of the first one."""
        positions = jnp.broadcast_to(start + jnp.arange(x_BxLxD.shape[1]), x_BxLxD.shape[:2])
        hidden, cache = self.backbone(x_BxLxD, positions, cache=cache)
        return hidden[:, -1], cache

    def generate(self, prefix_BxPxD: jax.Array, frames: int) -> tuple[jax.Array, jax.Array]:
        """Greedy generation of (globals (B, 32), semantics (B, frames)), without the end id."""
        batch, start = prefix_BxPxD.shape[:2]
        cache = empty_cache(self.cfg.backbone, batch, start + NUM_GLOBALS + frames + 2, self.dtype, self.scan)
        _, cache = self.step(prefix_BxPxD, jnp.int32(0), cache)
        semantic_base = SPECIAL + self.cfg.global_size

        def run(cache: Cache, first: int, begin: int, steps: int, bounds: tuple[int, int]):
            head_DxV = self.head.kernel()[:, bounds[0] : bounds[1]]

            def one(module, carry, index):
                ids, cache = carry
                hidden, cache = module.step(module.words[ids][:, None], begin + index, cache)
                best = bounds[0] + (hidden.astype(head_DxV.dtype) @ head_DxV).argmax(-1).astype(jnp.int32)
                return (best, cache), best

            scan = nn.scan(one, variable_broadcast="params", split_rngs={"params": False}, length=steps)
            (_, cache), ids = scan(self, (jnp.full(batch, first, jnp.int32), cache), jnp.arange(steps))
            return ids.T - bounds[0], cache

        # One more step than globals adds the last one to the cache; its output is dropped.
        global_ids, cache = run(cache, GLOBAL_START, start, NUM_GLOBALS + 1, (SPECIAL, semantic_base))
        begin = start + NUM_GLOBALS + 1
        semantics, _ = run(cache, SEMANTIC_START, begin, frames, (semantic_base, self.cfg.vocabulary))
        return global_ids[:, :NUM_GLOBALS], semantics


def init_unise(model: Unise, key: jax.Array) -> Any:
    """Random parameters, boxed with logical axis names."""
    features, ids = jnp.zeros((1, 2, model.cfg.feature_dim)), jnp.zeros((1, 2), jnp.int32)

    def every_part(module: Unise, features: jax.Array, ids: jax.Array) -> jax.Array:
        return module.logits(module.prefix(ids[:, 0], features, features), ids)

    return nn.init(every_part, model)(key, features, ids)["params"]

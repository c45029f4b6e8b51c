"""The QuarkAudio language model: packed sequences of conditions and codes to logits of the codes.

    [task] [text ...] [reference start] [reference ...] [source start] [source ...] [answer ...]

Conditions enter as vectors: the task and the starts from tables, text as bytes from a table or as
features through an adapter, SSL features through adapters of their own. In the answer the codes of
all codebooks, in the delay pattern, are summed in; one head a codebook predicts what comes next.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from quarkaudio_jax.lm.backbone import Backbone, BackboneConfig, Cache
from quarkaudio_jax.lm.objective import judged_product, smoothed_kl
from quarkaudio_jax.nn.init import logical
from quarkaudio_jax.nn.linear import Linear
from quarkaudio_jax.sharding.partition import constrain, gathered
from quarkaudio_jax.tokens.sequence import Kind
from quarkaudio_jax.tokens.vocabulary import Vocabulary


@dataclasses.dataclass(frozen=True)
class LMConfig:
    """codebooks: codes of each, acoustic first. feature_dim: of the SSL features. text_dim: of text features (0: bytes).

    max_duration: frames a code of the adaptive codec stands for at most (0: a fixed rate).
    """

    backbone: BackboneConfig
    codebooks: tuple[int, ...]
    feature_dim: int
    text_dim: int = 0
    num_tasks: int = 8
    max_duration: int = 0

    @property
    def vocabulary(self) -> Vocabulary:
        """Ids of the codebooks."""
        return Vocabulary(self.codebooks)

    @property
    def delay_padding(self) -> int:
        """Extra positions after the codes: BOS, EOS and K - 1 of delay."""
        return len(self.codebooks) + 1


def _shifted(x: jax.Array, by: int) -> jax.Array:
    """What stood `by` positions earlier along axis 1; zeros before the first."""
    return jnp.pad(x, [(0, 0), (by, 0)] + [(0, 0)] * (x.ndim - 2))[:, : x.shape[1]]


def delayed_ids(kind_BxL: jax.Array, segment_BxL: jax.Array, codes_BxLxK: jax.Array, words: Vocabulary) -> jax.Array:
    """Ids (B, L, K) at every position of an answer, in the delay pattern; `nothing` elsewhere.

    Frame t of codebook k, which lies at the answer's position t, goes to 1 + t + k.
    """
    answer = kind_BxL >= Kind.CODES
    first = answer & ~((_shifted(kind_BxL, 1) >= Kind.CODES) & (_shifted(segment_BxL, 1) == segment_BxL))
    out = []
    for k in range(words.num_codebooks):
        here = answer & (_shifted(segment_BxL, k + 1) == segment_BxL)
        code = here & (_shifted(kind_BxL, k + 1) == Kind.CODES)
        end = here & (_shifted(kind_BxL, k + 1) == Kind.DELAY_PADDING) & (_shifted(kind_BxL, k + 2) == Kind.CODES)
        ids = jnp.where(code, _shifted(codes_BxLxK[..., k], k + 1), words.nothing)
        out.append(jnp.where(end, words.end, ids))
    ids = jnp.stack(out, axis=-1)
    return jnp.where(first[..., None], words.start, ids).astype(jnp.int32)


class LanguageModel(nn.Module):
    """See `__call__`, `embed` and `step`."""

    cfg: LMConfig
    dtype: Any = jnp.float32
    remat: str = "none"
    scan: bool = True
    unroll: bool = False

    def setup(self):
        cfg, dim = self.cfg, self.cfg.backbone.dim
        books, ids = cfg.vocabulary.num_codebooks, cfg.vocabulary.num_ids

        def table(name: str, *shape: int) -> jax.Array:
            axes = ("codebook", "vocab", "embed")[-len(shape) - 1 :]
            return self.param(name, logical(nn.initializers.normal(0.02), *axes), (*shape, dim))

        self.tasks, self.starts = table("tasks", cfg.num_tasks), table("starts", 2)
        self.words = table("words", books, ids)
        self.text = Linear(dim, dtype=self.dtype) if cfg.text_dim else table("text", 256)
        self.reference, self.source = (Linear(dim, dtype=self.dtype) for _ in range(2))
        self.backbone = Backbone(cfg.backbone, self.dtype, self.remat, self.scan, self.unroll)
        self.heads = Linear(books * ids, False, self.dtype, axes=("embed", "vocab"))
        if cfg.max_duration:
            self.durations = table("durations", cfg.max_duration + 1)
            self.duration_head = Linear(cfg.max_duration + 1, False, self.dtype, axes=("embed", None))

    def embed_ids(self, ids_BxLxK: jax.Array, durations_BxL: jax.Array | None = None) -> jax.Array:
        """Embeddings of the answer: the sum over the codebooks, and of the duration that came with codebook 0."""
        words = gathered(self.words, ("codebook", "vocab", "embed"))
        x = constrain(sum(words[k][ids_BxLxK[..., k]] for k in range(ids_BxLxK.shape[-1])), "batch")
        return x if durations_BxL is None else x + self.durations[durations_BxL]

    def embed(
        self,
        batch: dict[str, jax.Array],
        ids_BxLxK: jax.Array,
        durations_BxL: jax.Array | None,
        dropped_BxL: jax.Array | None = None,
    ) -> jax.Array:
        """The whole sequence (B, L, D) of a packed batch. dropped_BxL: where conditions (text, audio) are left blank."""
        request = self.embed_request(batch, dropped_BxL)
        answer = self.embed_ids(ids_BxLxK, durations_BxL).astype(self.dtype)
        return jnp.where((batch["kind"] >= Kind.CODES)[..., None], answer, request)

    def embed_request(self, batch: dict[str, jax.Array], dropped_BxL: jax.Array | None = None) -> jax.Array:
        """The positions of a packed batch that stand before the answers (B, L, D), 0 elsewhere."""
        kind, value = batch["kind"], batch["value"]
        if self.cfg.text_dim:
            text = self.text(batch["text_features"])
        else:
            text = gathered(self.text, ("vocab", "embed"))[jnp.clip(value, 0, 255)]
        audio, starts = batch["features"].astype(self.dtype), gathered(self.starts, ("vocab", "embed"))
        choices = {
            Kind.TASK: gathered(self.tasks, ("vocab", "embed"))[jnp.clip(value, 0, self.cfg.num_tasks - 1)],
            Kind.TEXT: text,
            Kind.REFERENCE_START: starts[0],
            Kind.REFERENCE: self.reference(audio),
            Kind.SOURCE_START: starts[1],
            Kind.SOURCE: self.source(audio),
        }
        x = jnp.zeros((*kind.shape, self.cfg.backbone.dim), self.dtype)
        for number, choice in choices.items():
            x = jnp.where((kind == number)[..., None], choice.astype(self.dtype), x)
        if dropped_BxL is not None:
            condition = (kind == Kind.TEXT) | (kind == Kind.REFERENCE) | (kind == Kind.SOURCE)
            x = jnp.where((condition & dropped_BxL)[..., None], 0.0, x)
        return constrain(x, "batch")

    def predict(self, hidden_BxLxD: jax.Array) -> tuple[jax.Array, jax.Array | None]:
        """Logits (B, L, K, V) of the next ids and, for the adaptive codec, of the next duration (B, L, durations)."""
        words = self.cfg.vocabulary
        logits = self.heads(hidden_BxLxD)
        logits = logits.reshape(*hidden_BxLxD.shape[:2], words.num_codebooks, words.num_ids)
        return logits, self.duration_head(hidden_BxLxD) if self.cfg.max_duration else None

    def hidden(self, batch: dict[str, jax.Array], dropped_BxL: jax.Array | None = None) -> jax.Array:
        """What the backbone makes of a packed batch (B, L, D); dropped_BxL: see `embed`."""
        x = self.embed(batch, *answers(self.cfg, batch), dropped_BxL)
        return self.backbone(x, batch["position"], batch["segment"])[0]

    def __call__(
        self, batch: dict[str, jax.Array], dropped_BxL: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array | None]:
        """Logits of what follows each position of a packed batch (see the data's layout); dropped_BxL: see `embed`."""
        return self.predict(self.hidden(batch, dropped_BxL))

    def score(
        self, batch: dict[str, jax.Array], dropped_BxL: jax.Array | None = None, smoothing: float = 0.1
    ) -> "Scores":
        """How what `__call__` gives does, without the logits of all codebooks at once: 32 of 1024 codes are more
        than everything else that a step holds. Each codebook's are worked out again for the gradient.
        """
        words, hidden = self.cfg.vocabulary, self.hidden(batch, dropped_BxL)
        kernel_DxKxV = self.heads.kernel().reshape(-1, words.num_codebooks, words.num_ids)

        def step(carry, codebook):
            return carry, judged_product(hidden, *codebook, smoothing)

        targets = asked(self.cfg, batch)
        books = (kernel_DxKxV.swapaxes(0, 1), jnp.moveaxis(targets.ids_BxLxK, -1, 0))
        found = [jnp.moveaxis(x, 0, -1) for x in jax.lax.scan(step, None, books)[1]]
        return scored(targets, found, self.duration_head(hidden) if self.cfg.max_duration else None, smoothing)

    def fill(self, x_BxLxD: jax.Array, positions_BxL: jax.Array, cache: Cache) -> Cache:
        """The cache with a prefix in it; negative positions are padding."""
        return self.backbone(x_BxLxD, positions_BxL, cache=cache)[1]

    def step(self, x_BxLxD: jax.Array, positions_BxL: jax.Array, cache: Cache):
        """(logits, duration logits, cache) after the next embeddings; negative positions are padding."""
        hidden, cache = self.backbone(x_BxLxD, positions_BxL, cache=cache)
        return *self.predict(hidden), cache


def answers(cfg: LMConfig, batch: dict[str, jax.Array]) -> tuple[jax.Array, jax.Array | None]:
    """(delayed ids (B, L, K), durations (B, L) beside those of codebook 0 or None) of a packed batch."""
    kind, segment = batch["kind"], batch["segment"]
    ids = delayed_ids(kind, segment, batch["codes"], cfg.vocabulary)
    if not cfg.max_duration:
        return ids, None
    came = (_shifted(kind, 1) == Kind.CODES) & (_shifted(segment, 1) == segment) & (kind >= Kind.CODES)
    return ids, jnp.where(came, _shifted(batch["value"], 1), 0)


@dataclasses.dataclass(frozen=True)
class Targets:
    """What follows each position, and where it counts: ids (B, L, K) that say something, and durations (B, L)."""

    ids_BxLxK: jax.Array
    counted_BxLxK: jax.Array
    durations_BxL: jax.Array | None = None
    duration_counted_BxL: jax.Array | None = None


def asked(cfg: LMConfig, batch: dict[str, jax.Array]) -> Targets:
    """The targets of a packed batch: codes and ends."""
    kind, segment = batch["kind"], batch["segment"]
    ids, durations = answers(cfg, batch)
    follows = (_next(kind) >= Kind.CODES) & (kind >= Kind.CODES) & (_next(segment) == segment)
    ids = _next(ids)
    counted = follows[..., None] & (ids != cfg.vocabulary.nothing)
    if durations is None:
        return Targets(ids, counted)
    durations = _next(durations)
    return Targets(ids, counted, durations, follows & (durations > 0))


def _next(x: jax.Array) -> jax.Array:
    """What stands one position later along axis 1; zeros behind the last."""
    return jnp.pad(x[:, 1:], [(0, 0), (0, 1)] + [(0, 0)] * (x.ndim - 2))


@dataclasses.dataclass(frozen=True)
class Scores:
    """How each prediction did. loss_BxLxK (float32) and right_BxLxK (bool) count where counted_BxLxK.

    The same of durations (B, L), for the adaptive codec. Entry l is about what follows position l.
    """

    loss_BxLxK: jax.Array
    right_BxLxK: jax.Array
    counted_BxLxK: jax.Array
    duration_loss_BxL: jax.Array | None = None
    duration_counted_BxL: jax.Array | None = None


def scored(targets: Targets, codes: Sequence[jax.Array], duration_logits: jax.Array | None, smoothing: float) -> Scores:
    """The scores of what `judged` says of all codes, (loss (B, L, K), whether right), and of duration logits."""
    if duration_logits is None:
        return Scores(*codes, targets.counted_BxLxK)
    missed = smoothed_kl(duration_logits, targets.durations_BxL, smoothing)
    return Scores(*codes, targets.counted_BxLxK, missed, targets.duration_counted_BxL)


def share(values: jax.Array, counted: jax.Array, axes: tuple[int, ...]) -> jax.Array:
    """The mean over `axes` of what counts; 0 where nothing does."""
    counted = counted.astype(jnp.float32)
    return (values * counted).sum(axes) / jnp.maximum(counted.sum(axes), 1.0)


def loss(scores: Scores, weights_K: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
    """(loss, its parts): mean over positions a codebook, weighted mean over codebooks; durations added."""
    codes = (share(scores.loss_BxLxK, scores.counted_BxLxK, (0, 1)) * weights_K).sum() / weights_K.sum()
    if scores.duration_loss_BxL is None:
        return codes, {"codes": codes}
    durations = share(scores.duration_loss_BxL, scores.duration_counted_BxL, (0, 1))
    return codes + durations, {"codes": codes, "durations": durations}


def batch_shapes(cfg: LMConfig, rows: int, length: int, feature_dtype: Any) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes of a batch of packed sequences (rows, length); see `tokens.sequence`. feature_dtype: of stored features."""
    shape = (rows, length)
    spec = {name: jax.ShapeDtypeStruct(shape, jnp.int32) for name in ("value", "segment", "position")}
    spec["kind"] = jax.ShapeDtypeStruct(shape, jnp.int8)
    spec["codes"] = jax.ShapeDtypeStruct((*shape, len(cfg.codebooks)), jnp.int32)
    spec["features"] = jax.ShapeDtypeStruct((*shape, cfg.feature_dim), feature_dtype)
    if cfg.text_dim:
        spec["text_features"] = jax.ShapeDtypeStruct((*shape, cfg.text_dim), feature_dtype)
    return spec


def init_params(model: LanguageModel, key: jax.Array) -> Any:
    """Random parameters, boxed with logical axis names."""
    shapes = batch_shapes(model.cfg, 1, 8, jnp.float32)
    blank = {name: jnp.zeros(shape.shape, shape.dtype) for name, shape in shapes.items()}
    return model.init(key, blank)["params"]

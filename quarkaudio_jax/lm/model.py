"""The QuarkAudio language model: packed sequences of requests and codes to logits of the next codes.

    [task] [text ...] [reference start] [reference ...] [source start] [source ...] [codes ...]

Requests are vectors: embeddings of the task, the starts and text bytes, or projected features of text and audio. The
embeddings of all codebooks, in the delay pattern, are summed; one head per codebook predicts the next position.
"""

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from quarkaudio_jax.lm.backbone import Backbone, BackboneConfig, Cache
from quarkaudio_jax.lm.objective import linear_loss_and_correct, smoothed_kl
from quarkaudio_jax.lm.positions import aligned_positions, prefix_reach
from quarkaudio_jax.nn.init import logical
from quarkaudio_jax.nn.linear import Linear
from quarkaudio_jax.sharding.partition import constrain, gathered
from quarkaudio_jax.tokens.delay import delay, shift_left
from quarkaudio_jax.tokens.sequence import Kind
from quarkaudio_jax.tokens.vocabulary import Vocabulary
from quarkaudio_jax.types import Tokens


@dataclasses.dataclass(frozen=True)
class LMConfig:
    """Shape of the language model.

    codebooks: codes of each codebook, acoustic ones first. feature_dim: width of the SSL features. text_dim: width of
    the text features (0: text is bytes). max_duration: longest duration of an adaptive codec's codes, in frames (0: a
    fixed frame rate). aligned_rate, bidirectional_prefix, encoder_layers: see
    `config.LMModelConfig`.
    """

    backbone: BackboneConfig
    codebooks: tuple[int, ...]
    feature_dim: int
    text_dim: int = 0
    num_tasks: int = 8
    max_duration: int = 0
    aligned_rate: float = 0.0
    bidirectional_prefix: bool = False
    encoder_layers: int = 0

    @property
    def vocabulary(self) -> Vocabulary:
        """Ids of the codebooks."""
        return Vocabulary(self.codebooks)

    @property
    def delay_padding(self) -> int:
        """Extra positions after the codes: BOS, EOS and K - 1 of delay."""
        return len(self.codebooks) + 1


class LanguageModel(nn.Module):
    """Decoder-only transformer over requests and tokens.

    Methods: `__call__` and `metrics` for packed batches, `prefill` and `step` with a cache. remat, scan, unroll: see
    `nn.stack.Stack`.
    """

    cfg: LMConfig
    dtype: Any = jnp.float32
    remat: str = "none"
    scan: bool = True
    unroll: bool = False

    def setup(self):
        """Creates the submodules and parameters."""
        cfg, dim = self.cfg, self.cfg.backbone.dim
        books, ids = cfg.vocabulary.num_codebooks, cfg.vocabulary.num_ids

        def table(name: str, *shape: int) -> jax.Array:
            axes = ("codebook", "vocab", "embed")[-len(shape) - 1 :]
            return self.param(name, logical(nn.initializers.normal(0.02), *axes), (*shape, dim))

        self.tasks, self.starts = table("tasks", cfg.num_tasks), table("starts", 2)
        self.words = table("words", books, ids)
        self.text = Linear(dim, dtype=self.dtype) if cfg.text_dim else table("text", 256)
        self.reference, self.source = (Linear(dim, dtype=self.dtype) for _ in range(2))
        how = (self.dtype, self.remat, self.scan, self.unroll)
        self.backbone = Backbone(cfg.backbone, *how)
        if cfg.encoder_layers:
            self.encoder_input = Linear(dim, dtype=self.dtype)
            self.encoder = Backbone(dataclasses.replace(cfg.backbone, num_layers=cfg.encoder_layers), *how)
        self.heads = Linear(books * ids, False, self.dtype, axes=("embed", "vocab"))
        if cfg.max_duration:
            self.durations = table("durations", cfg.max_duration + 1)
            self.duration_head = Linear(cfg.max_duration + 1, False, self.dtype, axes=("embed", None))

    def embed_tokens(self, tokens: Tokens) -> jax.Array:
        """Embeddings (B, L, D): the sum over the codebooks, plus that of the duration."""
        table, ids_BxLxK = gathered(self.words, ("codebook", "vocab", "embed")), tokens.tokens_BxLxK
        embeddings = [table[k][ids_BxLxK[..., k]] for k in range(ids_BxLxK.shape[-1])]
        x = constrain(sum(embeddings[1:], embeddings[0]), "batch")
        return x if tokens.durations_BxL is None else x + self.durations[tokens.durations_BxL]

    def embed(self, batch: dict[str, jax.Array], tokens: Tokens, dropped_BxL: jax.Array | None = None) -> jax.Array:
        """Embeddings (B, L, D) of a packed batch; see `embed_request` and `embed_tokens`."""
        request = self.embed_request(batch, dropped_BxL)
        target = self.embed_tokens(tokens).astype(self.dtype)
        return jnp.where((batch["kind"] >= Kind.CODES)[..., None], target, request)

    def embed_request(self, batch: dict[str, jax.Array], dropped_BxL: jax.Array | None = None) -> jax.Array:
        """Embeddings (B, L, D) of the requests of a packed batch, 0 elsewhere.

        dropped_BxL: positions whose text and audio are replaced by 0 (condition dropout).
        """
        kind, value = batch["kind"], batch["value"]
        if self.cfg.text_dim:
            text = self.text(batch["text_features"])
        else:
            text = gathered(self.text, ("vocab", "embed"))[jnp.clip(value, 0, 255)]
        audio, starts = self.encode_audio(batch), gathered(self.starts, ("vocab", "embed"))
        embeddings = {
            Kind.TASK: gathered(self.tasks, ("vocab", "embed"))[jnp.clip(value, 0, self.cfg.num_tasks - 1)],
            Kind.TEXT: text,
            Kind.REFERENCE_START: starts[0],
            Kind.REFERENCE: self.reference(audio),
            Kind.SOURCE_START: starts[1],
            Kind.SOURCE: self.source(audio),
        }
        x = jnp.zeros((*kind.shape, self.cfg.backbone.dim), self.dtype)
        for number, embedding in embeddings.items():
            x = jnp.where((kind == number)[..., None], embedding.astype(self.dtype), x)
        if dropped_BxL is not None:
            condition = (kind == Kind.TEXT) | (kind == Kind.REFERENCE) | (kind == Kind.SOURCE)
            x = jnp.where((condition & dropped_BxL)[..., None], 0.0, x)
        return constrain(x, "batch")

    def encode_audio(self, batch: dict[str, jax.Array]) -> jax.Array:
        """The features (B, L, D) of a packed batch, through the encoder if there is one.

        Its attention is bidirectional within each recording.
        """
        audio, kind = batch["features"].astype(self.dtype), batch["kind"]
        if not self.cfg.encoder_layers:
            return audio
        recording = jnp.where(kind == Kind.SOURCE, 1, 2) + 2 * batch["segment"]
        recording = jnp.where((kind == Kind.SOURCE) | (kind == Kind.REFERENCE), recording, 0)
        reach = jnp.full(kind.shape, kind.shape[1] - 1)
        return self.encoder(self.encoder_input(audio), batch["position"], recording, reach_BxL=reach)[0]

    def predict(self, hidden_BxLxD: jax.Array) -> tuple[jax.Array, jax.Array | None]:
        """Logits (B, L, K, V) of the next ids and (B, L, durations) of the next duration, or None without durations."""
        vocabulary = self.cfg.vocabulary
        logits = self.heads(hidden_BxLxD)
        logits = logits.reshape(*hidden_BxLxD.shape[:2], vocabulary.num_codebooks, vocabulary.num_ids)
        return logits, self.duration_head(hidden_BxLxD) if self.cfg.max_duration else None

    def hidden(self, batch: dict[str, jax.Array], dropped_BxL: jax.Array | None = None) -> jax.Array:
        """Hidden states (B, L, D) of a packed batch; dropped_BxL: see `embed_request`."""
        cfg, tokens = self.cfg, delayed_inputs(self.cfg, batch)
        x = self.embed(batch, tokens, dropped_BxL)
        reach = prefix_reach(batch["kind"], batch["segment"]) if cfg.bidirectional_prefix else None
        rope = aligned_positions(batch, cfg.aligned_rate, tokens.durations_BxL) if cfg.aligned_rate else None
        return self.backbone(x, batch["position"], batch["segment"], reach_BxL=reach, rope_BxL=rope)[0]

    def __call__(
        self, batch: dict[str, jax.Array], dropped_BxL: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array | None]:
        """Logits of the position after each of a packed batch, as `predict` returns them; dropped_BxL: see `embed_request`."""
        return self.predict(self.hidden(batch, dropped_BxL))

    def metrics(
        self, batch: dict[str, jax.Array], dropped_BxL: jax.Array | None = None, smoothing: float = 0.1
    ) -> "TokenMetrics":
        """Metrics of the predictions for a packed batch, one codebook at a time.

        The logits of all codebooks would be the largest array of a training step; those of one are recomputed for its
        gradient.
        """
        vocabulary, hidden = self.cfg.vocabulary, self.hidden(batch, dropped_BxL)
        kernel_DxKxV = self.heads.kernel().reshape(-1, vocabulary.num_codebooks, vocabulary.num_ids)

        def step(carry, codebook):
            return carry, linear_loss_and_correct(hidden, *codebook, smoothing)

        targets = build_targets(self.cfg, batch)
        codebooks = (kernel_DxKxV.swapaxes(0, 1), jnp.moveaxis(targets.ids_BxLxK, -1, 0))
        loss, correct = (jnp.moveaxis(x, 0, -1) for x in jax.lax.scan(step, None, codebooks)[1])
        duration_logits = self.duration_head(hidden) if self.cfg.max_duration else None
        return token_metrics(targets, loss, correct, duration_logits, smoothing)

    def prefill(self, x_BxLxD: jax.Array, positions_BxL: jax.Array, cache: Cache) -> Cache:
        """The cache after the embeddings of a complete prefix; negative positions are padding."""
        reach = jnp.full_like(positions_BxL, positions_BxL.shape[1]) if self.cfg.bidirectional_prefix else None
        return self.backbone(x_BxLxD, positions_BxL, cache=cache, reach_BxL=reach)[1]

    def step(
        self, x_BxLxD: jax.Array, positions_BxL: jax.Array, cache: Cache, rope_BxL: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array | None, Cache]:
        """(logits, duration logits, cache) after the next embeddings; negative positions are padding."""
        hidden, cache = self.backbone(x_BxLxD, positions_BxL, cache=cache, rope_BxL=rope_BxL)
        return *self.predict(hidden), cache


def delayed_inputs(cfg: LMConfig, batch: dict[str, jax.Array]) -> Tokens:
    """Tokens of the codes of a packed batch; with durations if the codec is adaptive."""
    durations = batch["value"] if cfg.max_duration else None
    return delay(batch["kind"], batch["segment"], batch["codes"], cfg.vocabulary, durations)


@dataclasses.dataclass(frozen=True)
class Targets:
    """Next id and duration at each position, and where they count: those of the same sequence other than PAD."""

    ids_BxLxK: jax.Array
    mask_BxLxK: jax.Array
    durations_BxL: jax.Array | None = None
    duration_mask_BxL: jax.Array | None = None


def build_targets(cfg: LMConfig, batch: dict[str, jax.Array]) -> Targets:
    """The targets of a packed batch: codes, EOS and durations."""
    kind, segment = batch["kind"], batch["segment"]
    tokens = delayed_inputs(cfg, batch)
    same = (shift_left(kind) >= Kind.CODES) & (kind >= Kind.CODES) & (shift_left(segment) == segment)
    ids = shift_left(tokens.tokens_BxLxK)
    mask = same[..., None] & (ids != cfg.vocabulary.pad)
    if tokens.durations_BxL is None:
        return Targets(ids, mask)
    durations = shift_left(tokens.durations_BxL)
    return Targets(ids, mask, durations, same & (durations > 0))


@dataclasses.dataclass(frozen=True)
class TokenMetrics:
    """Loss (float32) and correctness (bool) of each prediction; position l predicts position l + 1.

    Values count where the masks are True. Durations are those of an adaptive codec.
    """

    loss_BxLxK: jax.Array
    correct_BxLxK: jax.Array
    mask_BxLxK: jax.Array
    duration_loss_BxL: jax.Array | None = None
    duration_mask_BxL: jax.Array | None = None


def token_metrics(
    targets: Targets,
    loss_BxLxK: jax.Array,
    correct_BxLxK: jax.Array,
    duration_logits: jax.Array | None,
    smoothing: float,
) -> TokenMetrics:
    """Metrics from the results of `loss_and_correct` for all codebooks, and from duration logits (B, L, durations)."""
    if duration_logits is None:
        return TokenMetrics(loss_BxLxK, correct_BxLxK, targets.mask_BxLxK)
    assert targets.durations_BxL is not None
    duration_loss = smoothed_kl(duration_logits, targets.durations_BxL, smoothing)
    return TokenMetrics(loss_BxLxK, correct_BxLxK, targets.mask_BxLxK, duration_loss, targets.duration_mask_BxL)


def masked_mean(values: jax.Array, mask: jax.Array, axes: tuple[int, ...]) -> jax.Array:
    """Mean over `axes` of the values where `mask` is True; 0 where it nowhere is."""
    mask = mask.astype(jnp.float32)
    return (values * mask).sum(axes) / jnp.maximum(mask.sum(axes), 1.0)


def loss(metrics: TokenMetrics, weights_K: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
    """(loss, its parts): the weighted mean over codebooks of their means over positions, plus that of durations."""
    codes = (masked_mean(metrics.loss_BxLxK, metrics.mask_BxLxK, (0, 1)) * weights_K).sum() / weights_K.sum()
    if metrics.duration_loss_BxL is None:
        return codes, {"codes": codes}
    assert metrics.duration_mask_BxL is not None
    durations = masked_mean(metrics.duration_loss_BxL, metrics.duration_mask_BxL, (0, 1))
    return codes + durations, {"codes": codes, "durations": durations}


def batch_shapes(cfg: LMConfig, rows: int, length: int, feature_dtype: Any) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes of a batch of packed sequences (rows, length); see `tokens.sequence`.

    feature_dtype: type in which features are stored.
    """
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

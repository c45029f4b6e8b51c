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
import numpy as np

from quarkaudio_jax.lm.backbone import Backbone, Cache
from quarkaudio_jax.lm.fill import FillModel
from quarkaudio_jax.lm.inputs import LMConfig, batch_shapes, build_targets, delayed_inputs
from quarkaudio_jax.lm.objective import Scores, TokenMetrics, linear_loss_and_correct, score_in_pieces, token_metrics
from quarkaudio_jax.lm.positions import aligned_positions, prefix_reach
from quarkaudio_jax.nn.init import logical
from quarkaudio_jax.nn.linear import Linear
from quarkaudio_jax.sharding.partition import constrain, gathered
from quarkaudio_jax.tokens.sequence import Kind
from quarkaudio_jax.types import Tokens


class LanguageModel(nn.Module):
    """Decoder-only transformer over requests and tokens.

    Methods: `__call__` and `metrics` for packed batches, `prefill` and `step` with a cache. remat, scan, unroll: see
    `nn.stack.Stack`; loss_pieces: `config.LMModelConfig`.
    """

    cfg: LMConfig
    dtype: Any = jnp.float32
    remat: str = "none"
    scan: bool = True
    unroll: bool = False
    loss_pieces: int = 1

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
        if cfg.fill_layers:
            sizes = tuple(cfg.codebooks[k] for k in cfg.second_stage)
            self.fill_model = FillModel(dataclasses.replace(cfg.backbone, num_layers=cfg.fill_layers), sizes, *how)
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

    def embed(self, batch: dict[str, jax.Array], tokens: Tokens, request_BxLxD: jax.Array | None = None) -> jax.Array:
        """Embeddings (B, L, D) of a packed batch; request_BxLxD: of `embed_request`, if they are there already."""
        request = self.embed_request(batch) if request_BxLxD is None else request_BxLxD
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

    def hidden(self, batch: dict[str, jax.Array], request_BxLxD: jax.Array | None = None) -> jax.Array:
        """Hidden states (B, L, D) of a packed batch; request_BxLxD: see `embed`."""
        cfg, tokens = self.cfg, delayed_inputs(self.cfg, batch)
        x = self.embed(batch, tokens, request_BxLxD)
        reach = prefix_reach(batch["kind"], batch["segment"]) if cfg.bidirectional_prefix else None
        rope = self._rope(batch, tokens)
        return self.backbone(x, batch["position"], batch["segment"], reach_BxL=reach, rope_BxL=rope)[0]

    def _rope(self, batch: dict[str, jax.Array], tokens: Tokens) -> jax.Array | None:
        rate = self.cfg.aligned_rate
        return aligned_positions(batch, rate, tokens.durations_BxL) if rate else None

    def fill_hidden(self, batch: dict[str, jax.Array], request_BxLxD: jax.Array) -> jax.Array:
        """Hidden states (B, L, D) of the second stage at the codes of a packed batch, given those of the first stage."""
        cfg, kind = self.cfg, batch["kind"]
        is_code = kind == Kind.CODES
        codes = jnp.where(is_code[..., None], batch["codes"], 0)[..., np.array(cfg.first_stage)]
        durations = jnp.where(is_code, batch["value"], 0) if cfg.max_duration else None
        embedded = self.embed_tokens(Tokens(codes, durations)).astype(self.dtype)
        x = jnp.where(is_code[..., None], embedded, request_BxLxD)
        segment = jnp.where(kind == Kind.DELAY_PADDING, 0, batch["segment"])
        return self.fill_model.hidden(x, batch["position"], segment, self._rope(batch, delayed_inputs(cfg, batch)))

    def __call__(
        self, batch: dict[str, jax.Array], dropped_BxL: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array | None]:
        """Logits of the position after each of a packed batch, as `predict` returns them; dropped_BxL: see `embed_request`."""
        request = self.embed_request(batch, dropped_BxL)
        if self.is_initializing() and self.cfg.fill_layers:
            self.fill_model.init_heads(self.fill_hidden(batch, request))
        return self.predict(self.hidden(batch, request))

    def metrics(
        self, batch: dict[str, jax.Array], dropped_BxL: jax.Array | None = None, smoothing: float = 0.1
    ) -> TokenMetrics:
        """Metrics of the predictions for a packed batch, one codebook at a time.

        The logits of all codebooks would be the largest array of a training step; those of one are recomputed for its
        gradient.
        """
        cfg, vocabulary, request = self.cfg, self.cfg.vocabulary, self.embed_request(batch, dropped_BxL)
        hidden = self.hidden(batch, request)
        kernel_DxKxV = self.heads.kernel().reshape(-1, vocabulary.num_codebooks, vocabulary.num_ids)

        def score(_, hidden_BxLxD: jax.Array, ids_BxLxK: jax.Array) -> Scores:
            def step(carry, codebook):
                return carry, linear_loss_and_correct(hidden_BxLxD, *codebook, smoothing)

            codebooks = (kernel_DxKxV.swapaxes(0, 1), jnp.moveaxis(ids_BxLxK, -1, 0))
            loss, correct = (jnp.moveaxis(x, 0, -1) for x in jax.lax.scan(step, None, codebooks)[1])
            return loss, correct

        targets, pieces = build_targets(cfg, batch), self.loss_pieces
        inputs = (targets.mask_BxLxK.any(-1), (hidden, targets.ids_BxLxK))
        loss, correct = score_in_pieces(self, score, *inputs, vocabulary.num_codebooks, pieces)
        duration_logits = self.duration_head(hidden) if cfg.max_duration else None
        found = token_metrics(targets, loss, correct, duration_logits, smoothing)
        if not cfg.fill_layers:
            return found
        is_code = (batch["kind"] == Kind.CODES)[..., None]
        codes = jnp.where(is_code, batch["codes"], 0)[..., np.array(cfg.second_stage)]

        def fill_score(model: FillModel, hidden_BxLxD: jax.Array, codes_BxLxR: jax.Array) -> Scores:
            return model.metrics(hidden_BxLxD, codes_BxLxR, smoothing)

        inputs = (is_code[..., 0], (self.fill_hidden(batch, request), codes))
        second = score_in_pieces(self.fill_model, fill_score, *inputs, codes.shape[-1], pieces)
        first = (found.loss_BxLxK, found.correct_BxLxK, found.mask_BxLxK)
        columns = zip(first, (*second, jnp.broadcast_to(is_code, codes.shape)), strict=True)
        names = ("loss_BxLxK", "correct_BxLxK", "mask_BxLxK")
        return dataclasses.replace(found, **{n: cfg.in_codec_order(*x) for n, x in zip(names, columns, strict=True)})

    def fill(
        self,
        prefix_BxPxD: jax.Array,
        lengths_B: jax.Array,
        codes_BxTxN: jax.Array,
        frames_B: jax.Array,
        durations_BxT: jax.Array | None = None,
        sources_B: jax.Array | None = None,
    ) -> jax.Array:
        """The codes (B, T, K) of all codebooks, 0 beyond an item's frames, from those of the first stage.

        lengths_B: positions of each prefix. durations_BxT: of the codes, for an adaptive codec. sources_B: see
        `lm.generate.Condition`.
        """
        slots, frames = jnp.arange(prefix_BxPxD.shape[1]), jnp.arange(codes_BxTxN.shape[1])
        valid = frames < frames_B[:, None]
        embedded = self.embed_tokens(Tokens(codes_BxTxN, durations_BxT)).astype(self.dtype)
        x = jnp.concatenate([prefix_BxPxD.astype(self.dtype), embedded], axis=1)
        segments = jnp.concatenate([slots < lengths_B[:, None], valid], axis=1).astype(jnp.int32)
        prefix_positions = jnp.broadcast_to(slots, prefix_BxPxD.shape[:2])
        positions, rope = jnp.concatenate([prefix_positions, lengths_B[:, None] + frames], axis=1), None
        if self.cfg.aligned_rate:
            assert sources_B is not None, "aligned positions need Condition.sources_B"
            elapsed = frames if durations_BxT is None else jnp.cumsum(durations_BxT, axis=1) - durations_BxT
            aligned = sources_B[:, None] + self.cfg.aligned_rate * elapsed
            rope = jnp.concatenate([prefix_positions.astype(jnp.float32), aligned], axis=1)
        hidden = self.fill_model.hidden(x, positions, segments, rope)
        rest = self.fill_model.greedy(hidden[:, len(slots) :])
        return jnp.where(valid[..., None], self.cfg.in_codec_order(codes_BxTxN, rest), 0)

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


def init_params(model: LanguageModel, key: jax.Array) -> Any:
    """Random parameters, boxed with logical axis names."""
    shapes = batch_shapes(model.cfg, 1, 8, jnp.float32)
    blank = {name: jnp.zeros(shape.shape, shape.dtype) for name, shape in shapes.items()}
    return model.init(key, blank)["params"]

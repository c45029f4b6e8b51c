"""The training program of the language model, on prepared examples of all tasks."""

import dataclasses
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax

from quarkaudio_jax.config import ConfigError, LMTrainConfig
from quarkaudio_jax.data.heldout import heldout_rows
from quarkaudio_jax.data.packing import packed_batches
from quarkaudio_jax.data.prepared import SequenceLayout, read_dataset_info
from quarkaudio_jax.lm.inputs import batch_shapes
from quarkaudio_jax.lm.masking import masked_spans
from quarkaudio_jax.lm.model import LanguageModel, init_params
from quarkaudio_jax.lm.objective import TokenMetrics, masked_mean, weighted_loss
from quarkaudio_jax.lm.positions import of_segment
from quarkaudio_jax.lm.variants import configured_lm
from quarkaudio_jax.nn.dropout import DROPOUT
from quarkaudio_jax.nn.dtypes import DTYPES
from quarkaudio_jax.tokens.sequence import FEATURE_DTYPES, Kind
from quarkaudio_jax.tokens.tasks import TASKS
from quarkaudio_jax.tokens.unise import CODEC as BICODEC
from quarkaudio_jax.training.optim import make_optimizer, make_schedule
from quarkaudio_jax.training.program import Batch, Metrics, Program, State, flat_fields
from quarkaudio_jax.weights.backbone import read_backbone
from quarkaudio_jax.weights.models import LMModel, eval_params
from quarkaudio_jax.weights.saved_lm import read_initial_lm

ACCURACY_EMA_DECAY = 0.98
"""EMA decay of the counts for the logged accuracies by task."""


class LMTraining(flax.struct.PyTreeNode):
    """State of the optimizer; tally: moving counts of correct and of all predictions by task (tasks, 2)."""

    opt_state: Any
    tally: jax.Array


class LMProgram(Program[LMTrainConfig]):
    """The `Program` of the language model, on the batches of `data.packing.packed_batches`."""

    @classmethod
    def configured(cls, cfg: LMTrainConfig) -> "LMProgram":
        """Builds the program with the `dataset` of the data's folder."""
        return cls(dataclasses.replace(cfg, dataset=read_dataset_info(cfg.data)))

    def __init__(self, cfg: LMTrainConfig):
        if cfg.lm.dtype not in DTYPES:
            raise ConfigError(f"config.lm.dtype is {cfg.lm.dtype!r}, but should be one of {', '.join(DTYPES)}")
        self.cfg = cfg
        self._set_up()
        self.weights_K = jnp.asarray(cfg.lm.codebook_weights or (1.0,) * len(self.lm_cfg.codebooks))
        self.optimizer = make_optimizer(cfg.optim, cfg.loop.steps)
        self.schedule = make_schedule(cfg.optim, cfg.loop.steps)
        self.rates = {"positions": cfg.data.batch_size * cfg.data.length}  # padding included

    def _set_up(self) -> None:
        """Checks the configuration; sets `lm_cfg`, what a batch holds; `model`; `layout`."""
        cfg = self.cfg
        if cfg.dataset.codec == BICODEC:
            raise ConfigError(f"{cfg.data.folder} has BiCodec's tokens: train configs/unise.py on it")
        books = len(cfg.dataset.codebooks)
        chosen = cfg.lm.ar_codebooks
        if chosen and (len(set(chosen)) != len(chosen) or len(chosen) >= books or max(chosen) >= books):
            raise ConfigError(
                f"config.lm.ar_codebooks is {chosen}: name some, not all, of the codec's {books} codebooks, from 0, once each"
            )
        self.lm_cfg = configured_lm(cfg)
        if (weights := len(cfg.lm.codebook_weights)) not in (0, books):
            raise ConfigError(f"config.lm.codebook_weights has {weights} weights, the codec {books} codebooks")
        how: dict[str, Any] = {"remat": cfg.lm.remat, "unroll": cfg.lm.unroll, "loss_pieces": cfg.lm.loss_pieces}
        self.model: Any = LanguageModel(self.lm_cfg, DTYPES[cfg.lm.dtype], **how)
        self.layout = SequenceLayout(self.lm_cfg.delay_padding, cfg.lm.condition_stack)

    def batches(self, process_index: int, process_count: int) -> tuple[Any, Any]:
        """Packed batches, which are also the counter of skipped examples; see `data.packing.packed_batches`."""
        found = packed_batches(self.cfg.data, self.layout, self.cfg.seed, process_index, process_count)
        return found, found

    def heldout(self) -> list[dict[str, Any]]:
        """Held-out examples, one per row; see `data.heldout.heldout_rows`."""
        return heldout_rows(self.cfg.data, self.layout, self.cfg.loop.heldout_clips)

    def batch_spec(self, batch_size: int) -> dict[str, jax.ShapeDtypeStruct]:
        """Shapes of a batch of `data.packing`."""
        stored = FEATURE_DTYPES[self.cfg.dataset.dtype]
        return batch_shapes(self.lm_cfg, batch_size, self.cfg.data.length, stored)

    def init(self) -> State:
        """Random weights."""
        params = self._init_params(jax.random.key(self.cfg.seed))
        ema = jax.tree.map(jnp.copy, params) if self.cfg.ema_decay > 0 else None
        training = LMTraining(self.optimizer.init(params), jnp.zeros((len(TASKS), 2), jnp.float32))
        return State(jnp.zeros((), jnp.int32), LMModel(params, ema), training)

    def _init_params(self, key: jax.Array) -> Any:
        return init_params(self.model, key)

    def load_pretrained(self, model: LMModel) -> LMModel:
        """Loads the backbone of `config.lm.backbone`, if any."""
        if not self.cfg.lm.backbone:
            return model
        found = read_backbone(self.lm_cfg.backbone, self.cfg.lm.backbone)

        def placed(params):
            return {**params, "backbone": jax.tree.map(_like, found, params["backbone"])}

        return LMModel(placed(model.params), None if model.ema is None else placed(model.ema))

    def initial_model(self, abstract_model: LMModel) -> LMModel:
        """See `Program.initial_model`; also of a folder of `save_pretrained`, a built-in model or one of the hub."""
        return read_initial_lm(self.cfg.init_from, abstract_model, self.check_init_from)

    def resume_fields(self, cfg: LMTrainConfig) -> dict[str, Any]:
        """Codec and features of the data, and their order; the batches check the task weights."""
        dataset = flat_fields(cfg.dataset, "data with")
        del dataset["data with.tasks"]
        dataset = {name.replace("with.", "with "): value for name, value in dataset.items()}
        return dataset | {"config.seed": cfg.seed, "config.data.heldout": cfg.data.heldout}

    def _dropped(self, batch, step) -> jax.Array | None:
        """Mask (B, L) of the examples that are trained without their condition."""
        if not self.cfg.lm.condition_dropout:
            return None
        key = jax.random.fold_in(jax.random.key(self.cfg.seed + 1), step)
        rows, length = batch["segment"].shape
        chosen = jax.random.bernoulli(key, self.cfg.lm.condition_dropout, (rows, length + 1))
        return jnp.take_along_axis(chosen, batch["segment"], axis=1)

    def _masked(self, batch, step) -> Batch:
        """The batch with spans of its features set to 0."""
        cfg = self.cfg.lm
        if not cfg.feature_mask:
            return batch
        key = jax.random.fold_in(jax.random.key(self.cfg.seed + 3), step)
        mask = masked_spans(key, batch["segment"].shape, cfg.feature_mask, cfg.feature_mask_span)
        features = batch["features"]
        return {**batch, "features": jnp.where(mask[..., None], 0, features).astype(features.dtype)}

    def _scores(self, params, batch, dropped_BxL=None, rngs=None) -> TokenMetrics:
        options: dict[str, Any] = {"smoothing": self.cfg.lm.label_smoothing}
        if dropped_BxL is not None:
            options["dropped_BxL"] = dropped_BxL
        scores: Any = self.model.apply({"params": params}, batch, **options, rngs=rngs, method="metrics")
        return scores

    def _tally(self, batch, scores: TokenMetrics) -> jax.Array:
        """Counts of correct and of all predictions by task (tasks, 2)."""
        onehot_BxLxN = jax.nn.one_hot(task_of(batch), len(TASKS), dtype=jnp.float32)
        counted = scores.mask_BxLxK.astype(jnp.float32)
        both = jnp.stack([(counted * scores.correct_BxLxK).sum(-1), counted.sum(-1)], axis=-1)
        return jnp.einsum("bln,blc->nc", onehot_BxLxN, both)

    def train_step(self, state: State, batch: Batch) -> tuple[State, Metrics]:
        """One step of AdamW. accuracy/TASK: moving average over about 50 steps; accuracy/codebook_K: of this step."""
        rngs = {DROPOUT: jax.random.fold_in(jax.random.key(self.cfg.seed + 2), state.step)}

        def objective(params):
            masked = self._masked(batch, state.step)
            scores = self._scores(params, masked, self._dropped(batch, state.step), rngs)
            total, parts = weighted_loss(scores, self.weights_K)
            counted = scores.mask_BxLxK
            return total, (parts, masked_mean(scores.correct_BxLxK, counted, (0, 1)), self._tally(batch, scores))

        (total, (parts, accuracy_K, now)), gradient = jax.value_and_grad(objective, has_aux=True)(state.model.params)
        updates, opt_state = self.optimizer.update(gradient, state.training.opt_state, state.model.params)
        params = optax.apply_updates(state.model.params, updates)
        ema = state.model.ema
        if ema is not None:
            ema = optax.incremental_update(params, ema, 1.0 - self.cfg.ema_decay)
        tally = ACCURACY_EMA_DECAY * state.training.tally + now
        by_task = tally[:, 0] / jnp.maximum(tally[:, 1], 1e-6)
        trained = [TASKS[name] for name in self.cfg.dataset.tasks]
        metrics = {
            "loss/total": total,
            **({f"loss/{name}": value for name, value in parts.items()} if len(parts) > 1 else {}),
            "accuracy": now[:, 0].sum() / jnp.maximum(now[:, 1].sum(), 1.0),
            **{f"accuracy/{task.name}": by_task[task.number] for task in trained},
            **{f"accuracy/codebook_{k}": value for k, value in enumerate(accuracy_K)},
            "grad_norm/lm": optax.global_norm(gradient),
            "lr": self.schedule(state.step),
        }
        metrics = {name: jnp.asarray(value, jnp.float32) for name, value in metrics.items()}
        return State(state.step + 1, LMModel(params, ema), LMTraining(opt_state, tally)), metrics

    def eval_step(self, state: State, batch: Batch) -> tuple[Metrics, dict[str, jax.Array]]:
        """Loss and accuracy of each row, with `eval_params`."""
        scores = self._scores(eval_params(state.model), batch)
        return {
            "loss": masked_mean(scores.loss_BxLxK, scores.mask_BxLxK, (1, 2)),
            "accuracy": masked_mean(scores.correct_BxLxK, scores.mask_BxLxK, (1, 2)),
        }, {}


def task_of(batch: Batch) -> jax.Array:
    """The task's number of each position (B, L), from the TASK position of its segment."""
    return of_segment(jnp.where(batch["kind"] == Kind.TASK, batch["value"], 0), batch["segment"])


def _like(value, leaf) -> jax.Array:
    return jax.device_put(jnp.asarray(value, leaf.dtype), leaf.sharding)

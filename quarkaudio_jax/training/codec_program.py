"""The training program of an H-Codec: generator and discriminators in one step."""

import dataclasses
import functools
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax

from quarkaudio_jax.codec.hcodec import HCodec, init_variables, wave_shape
from quarkaudio_jax.codec.quantize import QuantizerRules
from quarkaudio_jax.codec.spatial import channels_of, mid_of, views_of
from quarkaudio_jax.codec.variants import get_variant
from quarkaudio_jax.config import CodecConfig, CodecTrainConfig, ConfigError, TrainConfig
from quarkaudio_jax.data.pipeline import CropSpec, crop_spec, heldout_clips, training_batches
from quarkaudio_jax.discriminators.models import Discriminators
from quarkaudio_jax.discriminators.objectives import discriminator_loss
from quarkaudio_jax.errors import UserError
from quarkaudio_jax.nn.dtypes import DTYPES
from quarkaudio_jax.nn.mel import multi_scale_mel_distance, stft_distance
from quarkaudio_jax.ssl.features import Extractor
from quarkaudio_jax.training.codec_objective import differentiable, generator_objective
from quarkaudio_jax.training.optim import make_optimizer, make_schedule
from quarkaudio_jax.training.program import Batch, Metrics, Program, State, flat_fields
from quarkaudio_jax.weights.models import CodecModel, eval_params
from quarkaudio_jax.weights.saved_codec import read_initial_codec
from quarkaudio_jax.weights.ssl import abstract_extractor, load_extractor


class CodecTraining(flax.struct.PyTreeNode):
    """State of the optimizers and the discriminators, which are called `adversary` in checkpoints."""

    opt_state: Any
    adversary_params: Any
    adversary_opt_state: Any


def quantizer_rules(cfg: CodecConfig) -> QuantizerRules:
    """The training rules of both quantizers."""
    return QuantizerRules(cfg.rotation_trick, cfg.quantizer_dropout, cfg.revive_below)


def _clip_wave(batch: Batch) -> Batch:
    """Clips the waves to [-1, 1], the range of intact data: a larger sample would overflow the squares of all losses."""
    return {**batch, "wave": jnp.clip(batch["wave"], -1.0, 1.0)}


def _global_norm(tree) -> jax.Array:
    return optax.global_norm(tree).astype(jnp.float32)


class CodecProgram(Program[CodecTrainConfig]):
    """The `Program` of a codec, on batches {'wave': (B, S)[, 'features': (B, T, D)]}.

    Of a stereo codec they are {'wave': (B, S, 2), 'position': (B, 3)}.

    extractor: of the SSL features; by default that of the configured recipe, with the shapes of its weights alone.
    """

    outputs = ("target", "reconstruction")

    @classmethod
    def configured(cls, cfg: CodecTrainConfig) -> "CodecProgram":
        """Builds the program with the weights of the configured SSL model, and records that model in `cfg`."""
        extractor = load_extractor(cfg.features.recipe, cfg.features.weights)
        features = dataclasses.replace(cfg.features, model=extractor.model)
        return cls(dataclasses.replace(cfg, features=features), extractor)

    def __init__(self, cfg: CodecTrainConfig, extractor: Extractor | None = None):
        if cfg.codec.dtype not in DTYPES:
            raise UserError(f"config.codec.dtype is {cfg.codec.dtype!r}, but should be one of {', '.join(DTYPES)}")
        self.cfg = cfg
        self.codec_cfg = get_variant(cfg.codec.variant)
        self.rules = quantizer_rules(cfg.codec)
        self.sample_rate = self.codec_cfg.sample_rate
        dtype = DTYPES[cfg.codec.dtype]
        self.codec = HCodec(self.codec_cfg, dtype=dtype, remat=cfg.codec.remat)
        members = cfg.discriminators
        self.discriminators = Discriminators(
            members.periods,
            members.period_channels,
            members.fft_sizes,
            members.bands,
            members.spectral_channels,
            dtype,
        )
        self.extractor = extractor or abstract_extractor(cfg.features.recipe)
        self.frozen = self.extractor.params
        self.optimizer = make_optimizer(cfg.optim, cfg.loop.steps)
        self.discriminator_optimizer = make_optimizer(cfg.discriminator_optim, cfg.loop.steps)
        self.schedule = make_schedule(cfg.optim, cfg.loop.steps)
        self.adversarial = cfg.losses.adversarial > 0 or cfg.losses.feature_matching > 0
        self.rates = {"audio_seconds": cfg.data.batch_size * self.crop.seconds}
        if self.extractor.stored and self.codec_cfg.channels > 1:
            raise UserError(
                f"config.features.recipe is {self.extractor.name!r}, but features of the mid of random positions can't be "
                "stored: choose one that is computed"
            )
        if cfg.losses.perceptual > 0 and self.extractor.stored:
            raise UserError(
                f"config.losses.perceptual needs features that can be computed, not {self.extractor.name!r}"
            )

    def initial_model(self, abstract_model: CodecModel) -> CodecModel:
        """See `Program.initial_model`; also of a weight file, a built-in model or one of the hub."""
        return read_initial_codec(self.cfg.init_from, abstract_model, self.check_init_from)

    def check_init_from(self, saved: TrainConfig) -> None:
        """ConfigError unless the encoder's front end is the one it was trained with."""
        trained = get_variant(saved.codec.variant) if isinstance(saved, CodecTrainConfig) else self.codec_cfg
        ours, theirs = (getattr(codec.encoder, "fade_phase", False) for codec in (self.codec_cfg, trained))
        if ours != theirs:
            raise ConfigError(
                f"config.init_from={self.cfg.init_from} was trained as {trained.name}, and {self.codec_cfg.name} has "
                f"another front end; set config.codec.variant={trained.name}"
            )

    @functools.cached_property
    def crop(self) -> CropSpec:
        """The crops of the data."""
        codec = self.codec_cfg
        feature_hop = codec.feature_hop if self.extractor.stored else 0
        size = (codec.sample_rate, codec.frame_hop, feature_hop, codec.semantic.feature_dim, codec.channels)
        return crop_spec(self.cfg.data, *size)

    def resume_fields(self, cfg: CodecTrainConfig) -> dict[str, Any]:
        """The codec's variant, the data and their order, the features and the losses."""
        found = (
            flat_fields(cfg.data, "config.data")
            | flat_fields(cfg.features, "config.features")
            | flat_fields(cfg.losses, "config.losses")
        )
        for name in ("batch_size", "workers", "threads", "prefetch", "strict", "tfds_dir"):
            del found[f"config.data.{name}"]
        return found | {"config.seed": cfg.seed, "config.codec.variant": cfg.codec.variant}

    def batches(self, process_index: int, process_count: int) -> tuple[Any, Any]:
        """Random crops; see `data.pipeline.training_batches`."""
        return training_batches(self.cfg.data, self.crop, self.cfg.seed, process_index, process_count)

    def heldout(self) -> list[dict[str, Any]]:
        """Clips of held-out recordings; see `data.pipeline.heldout_clips`."""
        return heldout_clips(self.cfg.data, self.crop, self.cfg.loop.heldout_clips)

    def batch_spec(self, batch_size: int) -> dict[str, jax.ShapeDtypeStruct]:
        """Shapes of waves and stored features."""
        wave = wave_shape(self.codec_cfg, batch_size, self.crop.samples)
        spec = {"wave": jax.ShapeDtypeStruct(wave, jnp.float32)}
        if self.crop.channels > 1:
            spec["position"] = jax.ShapeDtypeStruct((batch_size, 3), jnp.float32)
        if self.crop.feature_frames:
            shape = (batch_size, self.crop.feature_frames, self.crop.feature_dim)
            spec["features"] = jax.ShapeDtypeStruct(shape, jnp.float32)
        return spec

    def features(self, frozen: Any, batch: Batch) -> jax.Array:
        """SSL features of a batch (of its mid): stored ones, or computed with the extractor's weights `frozen`."""
        return batch["features"] if self.extractor.stored else self._extract(frozen, mid_of(batch["wave"]))

    def _extract(self, frozen: Any, wave_BxS: jax.Array) -> jax.Array:
        codec = self.codec_cfg
        return self.extractor(frozen, wave_BxS, codec.sample_rate, codec.feature_hop, codec.semantic.feature_dim)

    def _key(self, step) -> jax.Array:
        return jax.random.fold_in(jax.random.key(self.cfg.seed + 1), step)

    def init(self) -> State:
        """Random weights; see `init_codebooks`."""
        codec_key, discriminator_key = jax.random.split(jax.random.key(self.cfg.seed))
        variables = init_variables(self.codec, codec_key)
        params = variables["params"]
        training = CodecTraining(self.optimizer.init(params), None, None)
        if self.adversarial:
            wave = jnp.zeros((1, self._discriminator_samples), jnp.float32)
            members = self.discriminators.init(discriminator_key, wave)["params"]
            training = CodecTraining(training.opt_state, members, self.discriminator_optimizer.init(members))
        ema = jax.tree.map(jnp.copy, params) if self.cfg.ema_decay > 0 else None
        return State(jnp.zeros((), jnp.int32), CodecModel(params, variables["codebooks"], ema), training)

    def init_codebooks(self, state: State, batch: Batch) -> State:
        """Initializes the codebooks by k-means on a batch."""
        batch = _clip_wave(batch)
        _, variables = self.codec.apply(
            {"params": state.model.params, "codebooks": state.model.codebooks},
            batch["wave"],
            self.features(state.frozen, batch),
            method="init_codebooks",
            mutable=["codebooks"],
            rngs={"codec": self._key(2**31 - 1)},
        )
        return state.replace(model=state.model.replace(codebooks=variables["codebooks"]))

    def _generate(self, params, codebooks, batch, features, step):
        """Runs the generator: (differentiable outputs, (all outputs, new codebooks))."""
        out, variables = self.codec.apply(
            {"params": params, "codebooks": codebooks},
            self.rules,
            batch["wave"],
            features,
            position_Bx3=batch.get("position"),
            method="train",
            mutable=["codebooks"],
            rngs={"codec": self._key(step)},
        )
        return differentiable(out), (out, variables["codebooks"])

    @property
    def _discriminator_samples(self) -> int:
        """Samples of a crop that the discriminators see."""
        wanted = round(self.cfg.discriminators.crop_seconds * self.codec_cfg.sample_rate)
        return min(wanted, self.crop.samples) if wanted else self.crop.samples

    def _discriminate(self, params, wave_BxS, step) -> Any:
        """Outputs of the discriminators on a part of the crops that depends on the step alone."""
        spare = self.crop.samples - self._discriminator_samples
        start = jax.random.randint(jax.random.fold_in(self._key(step), 1), (), 0, spare + 1)
        part = jax.lax.dynamic_slice_in_dim(wave_BxS, start, self._discriminator_samples, axis=1)
        return self.discriminators.apply({"params": params}, part)

    def _objective(
        self, outputs, discriminator_params, frozen, target, features, step, side
    ) -> tuple[jax.Array, Metrics]:
        return generator_objective(
            self.cfg,
            self.codec_cfg.sample_rate,
            outputs,
            target,
            features,
            step,
            lambda wave: self._extract(frozen, wave),
            (lambda wave: self._discriminate(discriminator_params, wave, step)) if self.adversarial else None,
            side,
        )

    def _update_discriminators(
        self, training: CodecTraining, wave_BxS, target_BxS, step
    ) -> tuple[CodecTraining, Metrics]:
        """Updates the discriminators on a reconstruction."""

        def loss(params):
            real, fake = (self._discriminate(params, channels_of(wave), step) for wave in (target_BxS, wave_BxS))
            return discriminator_loss(real, fake)

        value, grads = jax.value_and_grad(loss)(training.adversary_params)
        updates, opt_state = self.discriminator_optimizer.update(
            grads, training.adversary_opt_state, training.adversary_params
        )
        params = optax.apply_updates(training.adversary_params, updates)
        active = step >= self.cfg.discriminators.from_step
        params, opt_state = jax.tree.map(
            lambda new, old: jnp.where(active, new, old),
            (params, opt_state),
            (training.adversary_params, training.adversary_opt_state),
        )
        training = training.replace(adversary_params=params, adversary_opt_state=opt_state)
        return training, {"loss/discriminator": value, "grad_norm/discriminator": _global_norm(grads)}

    def train_step(self, state: State, batch: Batch) -> tuple[State, Metrics]:
        """Updates the discriminators on the reconstruction, then the generator against the updated discriminators."""
        model, training, step = state.model, state.training, state.step
        batch = _clip_wave(batch)
        features = self.features(state.frozen, batch)
        outputs, vjp, (out, codebooks) = jax.vjp(
            lambda params: self._generate(params, model.codebooks, batch, features, step), model.params, has_aux=True
        )
        metrics: Metrics = {}
        if self.adversarial:
            wave = jax.lax.stop_gradient(out.wave_BxS)
            training, metrics = self._update_discriminators(training, wave, batch["wave"], step)

        objective = jax.value_and_grad(self._objective, has_aux=True)
        side = (out.streams[-1].quantized_BxTxD, batch["position"]) if self.codec_cfg.can_spatialize else None
        (total, terms), cotangent = objective(
            outputs, training.adversary_params, state.frozen, batch["wave"], features, step, side
        )
        (grads,) = vjp(cotangent)
        updates, opt_state = self.optimizer.update(grads, training.opt_state, model.params)
        params = optax.apply_updates(model.params, updates)
        ema = model.ema
        if ema is not None:
            ema = optax.incremental_update(params, ema, 1 - self.cfg.ema_decay)
        metrics |= {
            "loss/total": total,
            **{f"loss/{name}": value for name, value in terms.items()},
            "grad_norm/generator": _global_norm(grads),
            "lr": self.schedule(step),
            **{
                f"codes/{name}_usage": _usage(stream.codes_BxTxK, quantizer.codebook_size)
                for (name, quantizer), stream in zip(self.codec_cfg.quantizers.items(), out.streams, strict=True)
            },
        }
        model = CodecModel(params, codebooks, ema)
        training = training.replace(opt_state=opt_state)
        metrics = {name: jnp.asarray(value, jnp.float32) for name, value in metrics.items()}
        return State(step + 1, model, training, state.frozen), metrics

    def eval_step(self, state: State, batch: Batch) -> tuple[Metrics, dict[str, jax.Array]]:
        """Distances per item and waves of reconstructions with `eval_params`."""
        model, batch = state.model, _clip_wave(batch)
        features = self.features(state.frozen, batch)
        variables = {"params": eval_params(model), "codebooks": model.codebooks}
        out: Any = self.codec.apply(variables, batch["wave"], features)
        count = len(batch["wave"])
        views, targets = views_of(out.wave_BxS), views_of(batch["wave"])
        metrics = {
            "mel_distance": _per_item(multi_scale_mel_distance(views, targets, self.codec_cfg.sample_rate), count),
            "stft_distance": _per_item(stft_distance(views, targets), count),
            "ssl_error": jnp.square(out.features_BxTxD - features).mean((1, 2)),
        }
        return metrics, {"target": batch["wave"], "reconstruction": out.wave_BxS}


def _per_item(values_N: jax.Array, count: int) -> jax.Array:
    """Means over the views of each of `count` items; see `codec.spatial.views_of`."""
    return values_N.reshape(-1, count).mean(0)


def _usage(codes_BxTxK: jax.Array, codebook_size: int) -> jax.Array:
    """Share of each codebook's codes that occur in the batch, averaged over codebooks."""
    codes_NxK = codes_BxTxK.reshape(-1, codes_BxTxK.shape[-1])
    used = jax.vmap(lambda codes: jnp.zeros(codebook_size, jnp.float32).at[codes].max(codes >= 0), in_axes=1)(codes_NxK)
    return used.mean()

"""Training an H-Codec: generator and discriminators in one step."""

import dataclasses
import functools
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax

from quarkaudio_jax.codec.hcodec import HCodec, TrainOutputs, init_variables
from quarkaudio_jax.codec.quantize import QuantizerRules
from quarkaudio_jax.codec.variants import get_variant
from quarkaudio_jax.config import CodecConfig, CodecTrainConfig, ConfigError, TrainConfig
from quarkaudio_jax.data.pipeline import CropSpec, crop_spec, heldout_clips, training_batches
from quarkaudio_jax.discriminators.models import Discriminators
from quarkaudio_jax.discriminators.objectives import discriminator_loss, generator_loss
from quarkaudio_jax.errors import UserError
from quarkaudio_jax.losses import features as feature_losses
from quarkaudio_jax.nn.dtypes import DTYPES
from quarkaudio_jax.nn.mel import multi_scale_mel_distance, stft_distance
from quarkaudio_jax.ssl.features import Extractor, get_recipe
from quarkaudio_jax.training.optim import make_optimizer, make_schedule
from quarkaudio_jax.training.program import Program, State, flat
from quarkaudio_jax.weights.models import CodecModel, eval_params
from quarkaudio_jax.weights.ssl import load_extractor


@flax.struct.dataclass
class CodecTraining:
    """What only training needs."""

    opt_state: Any
    adversary_params: Any
    adversary_opt_state: Any


def quantizer_rules(cfg: CodecConfig) -> QuantizerRules:
    """How the configuration trains both quantizers."""
    return QuantizerRules(cfg.rotation_trick, cfg.quantizer_dropout, cfg.revive_below)


def _bounded(batch):
    """The batch with its waves in [-1, 1], where the pipeline brings them: one wild sample would overflow all powers."""
    return {**batch, "wave": jnp.clip(batch["wave"], -1.0, 1.0)}


def _global_norm(tree) -> jax.Array:
    return optax.global_norm(tree).astype(jnp.float32)


class CodecProgram(Program):
    """See `training.program.Program`. Batches are {'wave': (B, S)[, 'features': (B, T, D)]}.

    extractor: makes the features; by default the configured recipe, if it needs no weights.
    """

    outputs = ("target", "reconstruction")

    @classmethod
    def configured(cls, cfg: CodecTrainConfig) -> "CodecProgram":
        """With the weights of the configured SSL model, which the run's configuration then names."""
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
        adversary = cfg.discriminators
        self.adversary = Discriminators(
            adversary.periods,
            adversary.period_channels,
            adversary.fft_sizes,
            adversary.bands,
            adversary.spectral_channels,
            dtype,
        )
        self.extractor = extractor or Extractor(get_recipe(cfg.features.recipe))
        self.frozen = self.extractor.params
        self.optimizer = make_optimizer(cfg.optim, cfg.loop.steps)
        self.discriminator_optimizer = make_optimizer(cfg.discriminator_optim, cfg.loop.steps)
        self.schedule = make_schedule(cfg.optim, cfg.loop.steps)
        self.adversarial = cfg.losses.adversarial > 0 or cfg.losses.feature_matching > 0
        self.rates = {"audio_seconds": cfg.data.batch_size * self.crop.seconds}
        if cfg.losses.perceptual > 0 and self.extractor.stored:
            raise UserError(
                f"config.losses.perceptual needs a recipe that can be computed, not {self.extractor.name!r}"
            )

    def check_init_from(self, saved: TrainConfig) -> None:
        """The encoder must read what it was trained on."""
        trained = get_variant(saved.codec.variant) if isinstance(saved, CodecTrainConfig) else self.codec_cfg
        ours, theirs = (getattr(codec.encoder, "fade_phase", False) for codec in (self.codec_cfg, trained))
        if ours != theirs:
            raise ConfigError(
                f"config.init_from={self.cfg.init_from} was trained as {trained.name}, and {self.codec_cfg.name} has "
                f"another front end; set config.codec.variant={trained.name}"
            )

    @functools.cached_property
    def crop(self) -> CropSpec:
        """What the data must hold."""
        codec = self.codec_cfg
        feature_hop = codec.feature_hop if self.extractor.stored else 0
        return crop_spec(self.cfg.data, codec.sample_rate, codec.frame_hop, feature_hop, codec.semantic.feature_dim)

    def resume_fields(self, cfg: CodecTrainConfig) -> dict[str, Any]:
        """The codec, its front end included; the data and their order, the features and the losses."""
        found = (
            flat(cfg.data, "config.data") | flat(cfg.features, "config.features") | flat(cfg.losses, "config.losses")
        )
        for name in ("batch_size", "workers", "threads", "prefetch", "strict", "tfds_dir"):
            del found[f"config.data.{name}"]
        return found | {"config.seed": cfg.seed, "config.codec.variant": cfg.codec.variant}

    def batches(self, process_index: int, process_count: int):
        """See `data.pipeline.training_batches`."""
        return training_batches(self.cfg.data, self.crop, self.cfg.seed, process_index, process_count)

    def heldout(self) -> list[dict[str, Any]]:
        """See `data.pipeline.heldout_clips`."""
        return heldout_clips(self.cfg.data, self.crop, self.cfg.loop.heldout_clips)

    def batch_spec(self, batch_size: int) -> dict[str, jax.ShapeDtypeStruct]:
        spec = {"wave": jax.ShapeDtypeStruct((batch_size, self.crop.samples), jnp.float32)}
        if self.crop.feature_frames:
            shape = (batch_size, self.crop.feature_frames, self.crop.feature_dim)
            spec["features"] = jax.ShapeDtypeStruct(shape, jnp.float32)
        return spec

    def features(self, frozen, batch) -> jax.Array:
        """The batch's SSL features: stored ones, or computed with the extractor's weights `frozen`."""
        return batch["features"] if self.extractor.stored else self._extract(frozen, batch["wave"])

    def _extract(self, frozen, wave_BxS) -> jax.Array:
        codec = self.codec_cfg
        return self.extractor(frozen, wave_BxS, codec.sample_rate, codec.feature_hop, codec.semantic.feature_dim)

    def _key(self, step) -> jax.Array:
        return jax.random.fold_in(jax.random.key(self.cfg.seed + 1), step)

    def init(self) -> State:
        codec_key, adversary_key = jax.random.split(jax.random.key(self.cfg.seed))
        variables = init_variables(self.codec, codec_key)
        params = variables["params"]
        training = CodecTraining(self.optimizer.init(params), None, None)
        if self.adversarial:
            adversary = self.adversary.init(adversary_key, jnp.zeros((1, self._judged_samples), jnp.float32))["params"]
            training = CodecTraining(training.opt_state, adversary, self.discriminator_optimizer.init(adversary))
        ema = jax.tree.map(jnp.copy, params) if self.cfg.ema_decay > 0 else None
        return State(jnp.zeros((), jnp.int32), CodecModel(params, variables["codebooks"], ema), training)

    def init_codebooks(self, state: State, batch) -> State:
        """k-means codebooks from the first batch."""
        batch = _bounded(batch)
        _, variables = self.codec.apply(
            {"params": state.model.params, "codebooks": state.model.codebooks},
            batch["wave"],
            self.features(state.frozen, batch),
            method="fit_codebooks",
            mutable=["codebooks"],
            rngs={"codec": self._key(2**31 - 1)},
        )
        return state.replace(model=state.model.replace(codebooks=variables["codebooks"]))

    def _generate(self, params, codebooks, batch, features, step):
        """A training pass: (the outputs that losses differentiate, (all outputs, new codebooks))."""
        out, variables = self.codec.apply(
            {"params": params, "codebooks": codebooks},
            self.rules,
            batch["wave"],
            features,
            method="train",
            mutable=["codebooks"],
            rngs={"codec": self._key(step)},
        )
        return _differentiable(out), (out, variables["codebooks"])

    @property
    def _judged_samples(self) -> int:
        """How much of a crop the discriminators see."""
        wanted = round(self.cfg.discriminators.crop_seconds * self.codec_cfg.sample_rate)
        return min(wanted, self.crop.samples) if wanted else self.crop.samples

    def _judge(self, params, wave_BxS, step):
        """Judgements of the crops' part that is this step's turn (the same of real and generated waves)."""
        spare = self.crop.samples - self._judged_samples
        start = jax.random.randint(jax.random.fold_in(self._key(step), 1), (), 0, spare + 1)
        part = jax.lax.dynamic_slice_in_dim(wave_BxS, start, self._judged_samples, axis=1)
        return self.adversary.apply({"params": params}, part)

    def _objective(self, parts, adversary_params, frozen, target, features, step) -> tuple[jax.Array, dict]:
        """The generator's objective of its differentiable outputs: (weighted sum, terms)."""
        weights, rate = self.cfg.losses, self.codec_cfg.sample_rate
        terms, total = {}, jnp.zeros((), jnp.float32)

        def add(name: str, weight, value) -> None:
            nonlocal total
            terms[name] = value
            total = total + weight * value

        if weights.mel > 0:
            distance = multi_scale_mel_distance(parts["wave"], target, rate, weights.mel_windows, weights.mel_bands)
            add("mel", weights.mel, distance.mean())
        if weights.stft > 0:
            add("stft", weights.stft, stft_distance(parts["wave"], target, weights.stft_windows).mean())
        if weights.ssl > 0:
            value = feature_losses.ssl_reconstruction(parts["features"], features)
            add("ssl", weights.ssl, value)
        commitment = feature_losses.commitment(parts["acoustic_commitment"], parts["semantic_commitment"])
        add("commitment", weights.commitment, commitment)
        if weights.perceptual > 0:
            value = feature_losses.perceptual(self._extract(frozen, parts["wave"]), self._extract(frozen, target))
            add("perceptual", jnp.where(step >= weights.perceptual_from, weights.perceptual, 0.0), value)
        if self.adversarial:
            active = jnp.where(step >= self.cfg.discriminators.from_step, 1.0, 0.0)
            fake, real = (self._judge(adversary_params, wave, step) for wave in (parts["wave"], target))
            add("adversarial", active * weights.adversarial, generator_loss(fake))
            layers, targets = ([layer for j in judgements for layer in j.features] for judgements in (fake, real))
            matching = feature_losses.feature_matching(layers, targets)
            add("feature_matching", active * weights.feature_matching, matching)
        return total, terms

    def _train_adversary(self, training: CodecTraining, wave_BxS, target_BxS, step):
        """One step of the discriminators on a finished reconstruction: (training state, metrics)."""

        def loss(params):
            return discriminator_loss(self._judge(params, target_BxS, step), self._judge(params, wave_BxS, step))

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

    def train_step(self, state: State, batch) -> tuple[State, dict[str, jax.Array]]:
        """Discriminators first, on the reconstruction; then the generator against the new discriminators."""
        model, training, step = state.model, state.training, state.step
        batch = _bounded(batch)
        features = self.features(state.frozen, batch)
        parts, pull_back, (out, codebooks) = jax.vjp(
            lambda params: self._generate(params, model.codebooks, batch, features, step), model.params, has_aux=True
        )
        metrics = {}
        if self.adversarial:
            still = jax.lax.stop_gradient(out.wave_BxS)
            training, metrics = self._train_adversary(training, still, batch["wave"], step)

        objective = jax.value_and_grad(self._objective, has_aux=True)
        (total, terms), cotangent = objective(
            parts, training.adversary_params, state.frozen, batch["wave"], features, step
        )
        (grads,) = pull_back(cotangent)
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
            "codes/acoustic_usage": _usage(out.acoustic.codes_BxTxK, self.codec_cfg.acoustic_quantizer.codebook_size),
            "codes/semantic_usage": _usage(out.semantic.codes_BxTxK, self.codec_cfg.semantic_quantizer.codebook_size),
        }
        model = CodecModel(params, codebooks, ema)
        training = training.replace(opt_state=opt_state)
        metrics = {name: jnp.asarray(value, jnp.float32) for name, value in metrics.items()}
        return State(step + 1, model, training, state.frozen), metrics

    def eval_step(self, state: State, batch) -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
        """Reconstructs with the averaged weights if there are any; distances per item, and the waves."""
        model, batch = state.model, _bounded(batch)
        features = self.features(state.frozen, batch)
        variables = {"params": eval_params(model), "codebooks": model.codebooks}
        out = self.codec.apply(variables, batch["wave"], features)
        metrics = {
            "mel_distance": multi_scale_mel_distance(out.wave_BxS, batch["wave"], self.codec_cfg.sample_rate),
            "stft_distance": stft_distance(out.wave_BxS, batch["wave"]),
            "ssl_error": jnp.square(out.features_BxTxD - features).mean((1, 2)),
        }
        return metrics, {"target": batch["wave"], "reconstruction": out.wave_BxS}


def _differentiable(out: TrainOutputs) -> dict[str, jax.Array]:
    """The outputs that the objective differentiates."""
    return {
        "wave": out.wave_BxS,
        "features": out.features_BxTxD,
        "acoustic_commitment": out.acoustic.commit_loss_K,
        "semantic_commitment": out.semantic.commit_loss_K,
    }


def _usage(codes_BxTxK: jax.Array, codebook_size: int) -> jax.Array:
    """Share of the codes that the batch uses, mean over codebooks."""
    codes_NxK = codes_BxTxK.reshape(-1, codes_BxTxK.shape[-1])
    used = jax.vmap(lambda codes: jnp.zeros(codebook_size, jnp.float32).at[codes].max(codes >= 0), in_axes=1)(codes_NxK)
    return used.mean()

"""Conversion of BiCodec (Spark-TTS: config.yaml and model.safetensors)."""

import re
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import yaml

from quarkaudio_jax.codec.bicodec.model import BiCodec, BiCodecConfig, MelConfig
from quarkaudio_jax.codec.bicodec.speaker import SpeakerConfig
from quarkaudio_jax.codec.bicodec.vocos import STAGES, VocosConfig
from quarkaudio_jax.codec.bicodec.wave_generator import DILATIONS, WaveGeneratorConfig
from quarkaudio_jax.io.mel import mel_filters
from quarkaudio_jax.nn.window import hann_window
from quarkaudio_jax.weights import blocks
from quarkaudio_jax.weights.names import WeightFileError
from quarkaudio_jax.weights.rules import (
    DECONV,
    DEPTHWISE,
    POINTWISE,
    QUERY,
    Constant,
    Rule,
    export_params,
    import_params,
)

CLUSTERS = "quantizer.cluster_size"
MEL_WINDOW, MEL_FILTERS = "mel_transformer.spectrogram.window", "mel_transformer.mel_scale.fb"
UNUSED = re.compile(rf".*\.num_batches_tracked|{re.escape(CLUSTERS)}")
"""Counters of training."""


def _backbone(theirs: str, ours: str, adaptive: bool = False) -> list[Rule]:
    layer, block = f"{theirs}.convnext.*", f"{ours}/blocks/layers"

    def norm(torch: str, path: str) -> list[Rule]:
        if not adaptive:
            return blocks.norm(torch, path)
        return [rule for part in ("scale", "shift") for rule in blocks.dense(f"{torch}.{part}", f"{path}/{part}")]

    return [
        *blocks.conv(f"{theirs}.embed", f"{ours}/embed"),
        *norm(f"{theirs}.norm", f"{ours}/norm"),
        Rule(f"{layer}.gamma", f"{block}/gamma"),
        *blocks.dense(f"{layer}.dwconv", f"{block}/dwconv", DEPTHWISE),
        *norm(f"{layer}.norm", f"{block}/norm"),
        *blocks.dense(f"{layer}.pwconv1", f"{block}/pwconv1"),
        *blocks.dense(f"{layer}.pwconv2", f"{block}/pwconv2"),
        *blocks.norm(f"{theirs}.final_layer_norm", f"{ours}/final_norm"),
    ]


def _stages(theirs: str, ours: str) -> list[Rule]:
    return [r for i in range(STAGES) for r in _backbone(f"{theirs}.downsample.{i}.1", f"{ours}/resample/stages_{i}")]


def _decoder(theirs: str, ours: str, adaptive: bool) -> list[Rule]:
    return [
        *blocks.dense(f"{theirs}.linear_pre", f"{ours}/project_in"),
        *_stages(theirs, ours),
        *_backbone(f"{theirs}.vocos_backbone", f"{ours}/backbone", adaptive),
        *blocks.dense(f"{theirs}.linear", f"{ours}/project_out"),
    ]


def _generator(cfg: WaveGeneratorConfig) -> list[Rule]:
    last, rules = len(cfg.strides) + 1, blocks.conv("decoder.model.0", "generator/embed")
    for i in range(len(cfg.strides)):
        theirs, ours = f"decoder.model.{i + 1}.block", f"generator/blocks_{i}"
        rules.append(Rule(f"{theirs}.0.alpha", f"{ours}_snake/alpha", QUERY))
        rules += blocks.dense(f"{theirs}.1", f"{ours}_up", DECONV)
        for j in range(len(DILATIONS)):
            unit, path = f"{theirs}.{j + 2}.block", f"{ours}_units_{j}"
            for at, name in enumerate(("snake1", "conv1", "snake2", "conv2")):
                snake = [Rule(f"{unit}.{at}.alpha", f"{path}/{name}/alpha", QUERY)]
                rules += snake if at % 2 == 0 else blocks.conv(f"{unit}.{at}", f"{path}/{name}")
    rules.append(Rule(f"decoder.model.{last}.alpha", "generator/snake/alpha", QUERY))
    return rules + blocks.conv(f"decoder.model.{last + 1}", "generator/out")


def _batch_norm(torch: str, path: str) -> list[Rule]:
    return [
        *blocks.norm(torch, path),
        Rule(f"{torch}.running_mean", f"{path}/mean"),
        Rule(f"{torch}.running_var", f"{path}/var"),
    ]


def _conv_norm(conv: str, norm: str, path: str) -> list[Rule]:
    return blocks.conv(conv, f"{path}/conv") + _batch_norm(norm, f"{path}/norm")


def _ecapa(cfg: SpeakerConfig) -> list[Rule]:
    theirs, ours = "speaker_encoder.speaker_encoder", "speaker/ecapa"
    rules = _conv_norm(f"{theirs}.layer1.conv", f"{theirs}.layer1.bn", f"{ours}/embed")
    for i in range(3):
        layer, block = f"{theirs}.layer{i + 2}.se_res2block", f"{ours}/blocks_{i}"
        for at, name in ((0, "first"), (2, "last")):
            rules += _conv_norm(f"{layer}.{at}.conv", f"{layer}.{at}.bn", f"{block}/{name}")
        for j in range(cfg.scale - 1):
            rules += _conv_norm(f"{layer}.1.convs.{j}", f"{layer}.1.bns.{j}", f"{block}/slices_{j}")
        rules += blocks.dense(f"{layer}.3.linear1", f"{block}/squeeze")
        rules += blocks.dense(f"{layer}.3.linear2", f"{block}/excite")
    return [
        *rules,
        *blocks.conv(f"{theirs}.conv", f"{ours}/merge"),
        *blocks.conv(f"{theirs}.pool.linear1", f"{ours}/attend_in"),
        *blocks.conv(f"{theirs}.pool.linear2", f"{ours}/attend_out"),
        *_batch_norm(f"{theirs}.bn", f"{ours}/pooled_norm"),
        *blocks.dense(f"{theirs}.linear", f"{ours}/project"),
    ]


def _resampler(cfg: SpeakerConfig) -> list[Rule]:
    theirs, ours = "speaker_encoder.perceiver_sampler", "speaker/resampler"
    rules = [
        *blocks.dense(f"{theirs}.proj_context", f"{ours}/project_context"),
        Rule(f"{theirs}.latents", f"{ours}/latents"),
        Rule(f"{theirs}.norm.gamma", f"{ours}/scale"),
    ]
    for i in range(cfg.resampler_layers):
        layer, path = f"{theirs}.layers.{i}", f"{ours}/layers_{i}"
        for name, part in (("to_q", "query"), ("to_kv", "key_value"), ("to_out", "out")):
            rules += blocks.dense(f"{layer}.0.{name}", f"{path}_{part}", bias=False)
        rules += blocks.dense(f"{layer}.1.0", f"{path}_up") + blocks.dense(f"{layer}.1.2", f"{path}_down")
    return rules


def table(cfg: BiCodecConfig) -> list[Rule | Constant]:
    """Rules of BiCodec, for a state dict with folded weight normalization."""
    mel = cfg.mel
    return [
        Constant(MEL_WINDOW, lambda: hann_window(mel.window)),
        Constant(MEL_FILTERS, lambda: mel_filters(cfg.sample_rate, mel.n_fft, mel.bands, mel.low)),
        *_backbone("encoder.encoder", "encoder/backbone"),
        *_stages("encoder", "encoder"),
        *blocks.dense("encoder.project", "encoder/project"),
        *blocks.dense("quantizer.in_project", "quantizer/project_in", POINTWISE),
        *blocks.dense("quantizer.out_project", "quantizer/project_out", POINTWISE),
        Rule("quantizer.codebook.weight", "quantizer/codebook"),
        *_ecapa(cfg.speaker),
        *_resampler(cfg.speaker),
        *blocks.dense("speaker_encoder.quantizer.project_in", "speaker/project_in"),
        *blocks.dense("speaker_encoder.quantizer.project_out", "speaker/project_out"),
        *blocks.dense("speaker_encoder.project", "speaker/project"),
        *_decoder("prenet", "prenet", adaptive=True),
        *_decoder("postnet", "postnet", adaptive=False),
        *_generator(cfg.generator),
    ]


def fold_weight_norm(tensors: Mapping[str, Any]) -> dict[str, Any]:
    """A state dict with every pair weight_g, weight_v replaced by the weight g v / |v|."""
    out: dict[str, Any] = {}
    for name, tensor in tensors.items():
        stem, _, leaf = name.rpartition(".")
        if leaf == "weight_g":
            g, v = np.asarray(tensor), np.asarray(tensors[f"{stem}.weight_v"])
            out[f"{stem}.weight"] = v * (g / np.sqrt(np.square(v).sum(tuple(range(1, v.ndim)), keepdims=True)))
        elif leaf != "weight_v":
            out[name] = tensor
    return out


def unfold_weight_norm(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(weight_g, weight_v) of a weight, the inverse of `fold_weight_norm`: its norms, and the weight."""
    return np.sqrt(np.square(weight).sum(tuple(range(1, weight.ndim)), keepdims=True)), weight


def _normalized(name: str) -> bool:
    """Whether the public model stores a weight as weight_g and weight_v."""
    convolution = name.startswith(("decoder.", "quantizer.in_project", "quantizer.out_project"))
    return convolution and name.endswith(".weight")


def abstract_params(cfg: BiCodecConfig) -> dict[str, Any]:
    """Shapes of BiCodec's parameters, layers stacked."""
    features = jax.ShapeDtypeStruct((1, 4, cfg.feature_dim), jnp.float32)
    reference = jax.ShapeDtypeStruct((1, cfg.mel.n_fft), jnp.float32)
    init = nn.init(BiCodec.all_outputs, BiCodec(cfg))
    return nn.meta.unbox(jax.eval_shape(init, jax.random.key(0), features, reference))["params"]


def import_bicodec(cfg: BiCodecConfig, tensors: Mapping[str, Any]) -> dict[str, Any]:
    """Converts BiCodec's state dict; UnmatchedError unless every tensor has a counterpart."""
    kept = fold_weight_norm({name: value for name, value in tensors.items() if not UNUSED.fullmatch(name)})
    return import_params(table(cfg), kept, abstract_params(cfg))


def export_bicodec(cfg: BiCodecConfig, params: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Converts the parameters to BiCodec's state dict, including the `UNUSED` tensors (counters as zeros)."""
    tensors, out = export_params(table(cfg), params), {}
    for name, tensor in tensors.items():
        if _normalized(name):
            out[f"{name}_g"], out[f"{name}_v"] = unfold_weight_norm(tensor)
        else:
            out[name] = tensor
        if name.endswith(".running_var"):
            out[name.replace("running_var", "num_batches_tracked")] = np.zeros((), np.int64)
    out[CLUSTERS] = np.zeros(cfg.codebook_size, np.float32)
    return out


PUBLISHED = {
    ("encoder", "sample_ratios"): ([1, 1], None),
    ("prenet", "sample_ratios"): ([1, 1], None),
    ("postnet", "sample_ratios"): ([1, 1], None),
    ("prenet", "use_tanh_at_final"): (False, None),
    ("postnet", "use_tanh_at_final"): (False, None),
    ("speaker_encoder", "fsq_num_quantizers"): (1, None),
}
"""Options of the public code that this model does not have: (part, field) -> supported values."""


def config_from_yaml(text: str, name: str = "config.yaml") -> BiCodecConfig:
    """Converts the published config.yaml; WeightFileError for unsupported options."""
    try:
        parts = yaml.safe_load(text)["audio_tokenizer"]
        for (part, field), allowed in PUBLISHED.items():
            if parts[part].get(field) not in allowed:
                raise WeightFileError(
                    f"{name}: {part}.{field} is {parts[part][field]!r}; only {allowed[0]!r} is supported"
                )
        if parts["mel_params"].get("mel_fmax") is not None:
            raise WeightFileError(
                f"{name}: mel_params.mel_fmax is {parts['mel_params']['mel_fmax']!r}; only null is supported"
            )
        encoder, prenet, postnet = (
            VocosConfig(
                parts[part]["vocos_dim"],
                parts[part]["vocos_intermediate_dim"],
                parts[part]["vocos_num_layers"],
                parts[part]["out_channels"],
            )
            for part in ("encoder", "prenet", "postnet")
        )
        mel, speaker, generator = parts["mel_params"], parts["speaker_encoder"], parts["decoder"]
        return BiCodecConfig(
            name="bicodec",
            sample_rate=mel["sample_rate"],
            feature_dim=parts["encoder"]["input_channels"],
            mel=MelConfig(mel["n_fft"], mel["win_length"], mel["hop_length"], float(mel["mel_fmin"]), mel["num_mels"]),
            codebook_size=parts["quantizer"]["codebook_size"],
            codebook_dim=parts["quantizer"]["codebook_dim"],
            speaker=SpeakerConfig(
                speaker["out_dim"], speaker["latent_dim"], speaker["token_num"], tuple(speaker["fsq_levels"])
            ),
            generator=WaveGeneratorConfig(
                generator["channels"], tuple(generator["rates"]), tuple(generator["kernel_sizes"])
            ),
            encoder=encoder,
            prenet=prenet,
            postnet=postnet,
        )
    except (yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        raise WeightFileError(f"{name}: not the configuration of BiCodec ({error!r})") from error


def config_to_yaml(cfg: BiCodecConfig) -> str:
    """The config.yaml that the public code reads, the inverse of `config_from_yaml`; with its published training options."""
    mel, width = cfg.mel, cfg.encoder.out_dim

    def vocos(inputs: int, part: VocosConfig, **more: Any) -> dict[str, Any]:
        sizes = {"vocos_dim": part.dim, "vocos_intermediate_dim": part.hidden, "vocos_num_layers": part.num_layers}
        return {"input_channels": inputs, **sizes, "out_channels": part.out_dim, "sample_ratios": [1, 1], **more}

    parts = {
        "mel_params": {
            "sample_rate": cfg.sample_rate,
            "n_fft": mel.n_fft,
            "win_length": mel.window,
            "hop_length": mel.hop,
            "mel_fmin": mel.low,
            "mel_fmax": None,
            "num_mels": mel.bands,
        },
        "encoder": vocos(cfg.feature_dim, cfg.encoder),
        "decoder": {
            "input_channel": cfg.prenet.out_dim,
            "channels": cfg.generator.channels,
            "rates": list(cfg.generator.strides),
            "kernel_sizes": list(cfg.generator.kernels),
        },
        "quantizer": {
            "input_dim": width,
            "codebook_size": cfg.codebook_size,
            "codebook_dim": cfg.codebook_dim,
            "commitment": 0.25,
            "codebook_loss_weight": 2.0,
            "use_l2_normlize": True,
            "threshold_ema_dead_code": 0.2,
        },
        "speaker_encoder": {
            "input_dim": mel.bands,
            "out_dim": cfg.speaker.out_dim,
            "latent_dim": cfg.speaker.latent_dim,
            "token_num": cfg.speaker.num_tokens,
            "fsq_levels": list(cfg.speaker.levels),
            "fsq_num_quantizers": 1,
        },
        "prenet": vocos(width, cfg.prenet, condition_dim=cfg.speaker.out_dim, use_tanh_at_final=False),
        "postnet": vocos(cfg.prenet.out_dim, cfg.postnet, use_tanh_at_final=False),
    }
    return yaml.safe_dump({"audio_tokenizer": parts}, sort_keys=False)

"""Conversion of the audio encoder of Hugging Face CLAP checkpoints."""

import os
import re
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from quarkaudio_jax.clap.model import CLAP_AUDIO, ClapAudioConfig, ClapAudioEncoder
from quarkaudio_jax.errors import UserError
from quarkaudio_jax.text.features import get_recipe
from quarkaudio_jax.weights import blocks, hub
from quarkaudio_jax.weights.rules import Layout, Rule, import_params

SETTINGS = "preprocessor_config.json|processor_config.json"
UNUSED = re.compile(
    r"text_model\..*|text_projection\..*|logit_scale_.*|.*\.relative_position_index|.*\.num_batches_tracked"
    r"|.*\.patch_embed\.(mel_conv2d|fusion_model)\..*"
)
"""Tensors that the embedding of a window does not use: text encoder, counters, fusion of several windows."""

PATCH = Layout(
    "patches (out, 1, k, k)",
    lambda x: x.reshape(len(x), -1).T,
    lambda x: x.T.reshape(x.shape[1], 1, *(round(len(x) ** 0.5),) * 2),
)


def clap_audio_table(cfg: ClapAudioConfig) -> list[Rule]:
    """Rules of the audio encoder."""
    encoder = "audio_model.audio_encoder"
    statistics = {"weight": "scale", "bias": "bias", "running_mean": "mean", "running_var": "variance"}
    block, ours = f"{encoder}.layers.{{s}}.blocks.{{b}}", "stage_{s}_block_{b}"
    rules = [
        *(Rule(f"{encoder}.batch_norm.{theirs}", f"band_norm/{name}") for theirs, name in statistics.items()),
        *blocks.dense(f"{encoder}.patch_embed.proj", "patches/linear", PATCH),
        *blocks.norm(f"{encoder}.patch_embed.norm", "patches/norm"),
        *blocks.norm(f"{encoder}.norm", "norm"),
        *blocks.dense("audio_projection.linear1", "project_in"),
        *blocks.dense("audio_projection.linear2", "project_out"),
        *blocks.dense(f"{encoder}.layers.{{s}}.downsample.reduction", "merge_{s}", bias=False),
        *blocks.norm(f"{encoder}.layers.{{s}}.downsample.norm", "merge_norm_{s}"),
        *blocks.norm(f"{block}.layernorm_before", f"{ours}/attention_norm"),
        *blocks.norm(f"{block}.layernorm_after", f"{ours}/mlp_norm"),
        Rule(f"{block}.attention.self.relative_position_bias_table", f"{ours}/relative_bias"),
        *blocks.dense(f"{block}.attention.output.dense", f"{ours}/out"),
        *blocks.dense(f"{block}.intermediate.dense", f"{ours}/up"),
        *blocks.dense(f"{block}.output.dense", f"{ours}/down"),
    ]
    for name in ("query", "key", "value"):
        rules += blocks.dense(f"{block}.attention.self.{name}", f"{ours}/{name}")
    return rules


def clap_audio_config(
    config: Mapping[str, Any], settings: Mapping[str, Any], name: str = "config.json"
) -> ClapAudioConfig:
    """Converts a transformers CLAP configuration and its feature extractor's settings.

    UserError for unsupported options.
    """
    audio = config.get("audio_config", config)
    supported = dict(hidden_act="gelu", projection_hidden_act="relu", patch_embed_input_channels=1, qkv_bias=True)
    supported |= dict(enable_patch_layer_norm=True, flatten_patch_embeds=True)
    for field, value in supported.items():
        if audio.get(field, value) != value:
            raise UserError(f"{name}: {field} is {audio[field]!r}; only {value!r} is supported")
    patch, stride = audio.get("patch_size", CLAP_AUDIO.patch), audio.get("patch_stride", CLAP_AUDIO.patch)
    if any(value not in (patch, [patch] * 2, (patch,) * 2) for value in (patch, stride)) or not isinstance(patch, int):
        raise UserError(f"{name}: patches of {patch} every {stride} bins; only square ones side by side are supported")
    if audio.get("num_mel_bins", CLAP_AUDIO.bands) != settings.get("feature_size", CLAP_AUDIO.bands):
        raise UserError(f"{name}: {audio.get('num_mel_bins')} mel bands, but the feature extractor makes "
                         f"{settings.get('feature_size')}")  # fmt: skip
    return ClapAudioConfig(
        dim=audio.get("patch_embeds_hidden_size", CLAP_AUDIO.dim),
        depths=tuple(audio.get("depths", CLAP_AUDIO.depths)),
        heads=tuple(audio.get("num_attention_heads", CLAP_AUDIO.heads)),
        window=audio.get("window_size", CLAP_AUDIO.window),
        image=audio.get("spec_size", CLAP_AUDIO.image),
        bands=audio.get("num_mel_bins", CLAP_AUDIO.bands),
        patch=patch,
        hidden_ratio=audio.get("mlp_ratio", CLAP_AUDIO.hidden_ratio),
        projected=config.get("projection_dim", audio.get("projection_dim", CLAP_AUDIO.projected)),
        eps=audio.get("layer_norm_eps", CLAP_AUDIO.eps),
        sample_rate=settings.get("sampling_rate", CLAP_AUDIO.sample_rate),
        seconds=settings.get("max_length_s", CLAP_AUDIO.seconds),
        n_fft=settings.get("fft_window_size", CLAP_AUDIO.n_fft),
        hop=settings.get("hop_length", CLAP_AUDIO.hop),
        low=settings.get("frequency_min", 0.0),
        high=settings.get("frequency_max", CLAP_AUDIO.high),
        htk=settings.get("truncation", "fusion") == "fusion",
        padding=settings.get("padding", CLAP_AUDIO.padding),
    )


def import_clap_audio(cfg: ClapAudioConfig, tensors: Mapping[str, Any]) -> dict[str, Any]:
    """Converts a transformers state dict of the audio encoder or of the full model."""
    kept = {name: value for name, value in tensors.items() if not UNUSED.fullmatch(name)}
    wave = jax.ShapeDtypeStruct((1, cfg.samples), jnp.float32)
    abstract = nn.meta.unbox(jax.eval_shape(ClapAudioEncoder(cfg).init, jax.random.key(0), wave))["params"]
    return import_params(clap_audio_table(cfg), kept, abstract)


def load_clap_audio(weights: str = "") -> tuple[ClapAudioConfig, dict[str, Any]]:
    """(configuration, parameters) from a Hugging Face folder or hub name, by default the model of the text features.

    hub.MissingWeightsError says what to download, and to where.
    """
    default = get_recipe("clap").hub
    assert default is not None
    source = weights or os.environ.get("QUARKAUDIO_CLAP", "") or default
    how = "its path instead of a hub name, or QUARKAUDIO_CLAP=FOLDER"
    model = hub.find_model(source, ["config.json", SETTINGS], "CLAP's audio features", default, how)
    settings = next(model.json(name) for name in SETTINGS.split("|") if (model.folder / name).is_file())
    cfg = model.settings(clap_audio_config, settings.get("feature_extractor", settings))
    return cfg, import_clap_audio(cfg, model.tensors())

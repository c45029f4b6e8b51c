"""Hugging Face checkpoints of HuBERT, wav2vec 2.0 and WavLM."""

import os
import re
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np

from quarkaudio_jax.bridge import blocks, files
from quarkaudio_jax.bridge.rules import CONV, HEADS, SAME, TAPS, Rule, export_tensors, import_tensors
from quarkaudio_jax.errors import UserError
from quarkaudio_jax.ssl.features import Extractor, get_recipe
from quarkaudio_jax.ssl.model import SSLConfig, SSLEncoder

UNUSED = re.compile(r"masked_spec_embed|quantizer\..*|project_(hid|q)\..*|lm_head\..*|classifier\..*|label_embs_concat")
"""What pre-training and fine-tuning heads leave in a file; feature extraction never reads it."""


def table(cfg: SSLConfig) -> list[Rule]:
    """Every name of the encoder on both sides."""
    layer, ours = "encoder.layers.*", "blocks/layers"
    rules = [
        *blocks.norm("feature_projection.layer_norm", "project_norm"),
        *blocks.dense("feature_projection.projection", "project"),
        Rule("encoder.pos_conv_embed.conv.bias", "position/bias"),
        Rule("encoder.pos_conv_embed.conv.parametrizations.weight.original0", "position/g", TAPS),
        Rule("encoder.pos_conv_embed.conv.parametrizations.weight.original1", "position/v", CONV),
        *blocks.norm("encoder.layer_norm", "norm"),
        *blocks.norm(f"{layer}.layer_norm", f"{ours}/attention_norm"),
        *blocks.norm(f"{layer}.final_layer_norm", f"{ours}/mlp_norm"),
        *blocks.dense(f"{layer}.feed_forward.intermediate_dense", f"{ours}/up"),
        *blocks.dense(f"{layer}.feed_forward.output_dense", f"{ours}/down"),
    ]
    for theirs, name in (("q_proj", "query"), ("k_proj", "key"), ("v_proj", "value"), ("out_proj", "out")):
        rules += blocks.dense(f"{layer}.attention.{theirs}", f"{ours}/{name}")
    for i in range(len(cfg.conv_dims)):
        conv = f"feature_extractor.conv_layers.{i}"
        rules.append(Rule(f"{conv}.conv.weight", f"front/conv_{i}_kernel", CONV))
        if cfg.conv_bias:
            rules.append(Rule(f"{conv}.conv.bias", f"front/conv_{i}_bias"))
        if cfg.layer_norm or i == 0:
            rules += blocks.norm(f"{conv}.layer_norm", f"front/norm_{i}")
    if cfg.buckets:
        rules += [
            Rule("encoder.layers.0.attention.rel_attn_embed.weight", "relative_bias", SAME),
            Rule(f"{layer}.attention.gru_rel_pos_const", f"{ours}/gate_constant", HEADS),
            *blocks.dense(f"{layer}.attention.gru_rel_pos_linear", f"{ours}/gate"),
        ]
    return rules


def config_from_hf(config: Mapping[str, Any], name: str = "config.json") -> SSLConfig:
    """The switches from a transformers configuration; ValueError for what this encoder does not have."""
    kind = config.get("model_type")
    if kind not in ("hubert", "wav2vec2", "wavlm", None):
        raise UserError(f"{name}: model_type is {kind!r}, but should be hubert, wav2vec2 or wavlm")
    for field, value in (("hidden_act", "gelu"), ("feat_extract_activation", "gelu"), ("feat_proj_layer_norm", True)):
        if config.get(field, value) != value:
            raise UserError(f"{name}: {field} is {config[field]!r}; only {value!r} is supported")
    for field in ("add_adapter", "conv_pos_batch_norm"):
        if config.get(field):
            raise UserError(f"{name}: {field} is not supported")
    relative = "num_buckets" in config
    return SSLConfig(
        dim=config["hidden_size"],
        num_layers=config["num_hidden_layers"],
        num_heads=config["num_attention_heads"],
        hidden=config["intermediate_size"],
        conv_dims=tuple(config["conv_dim"]),
        conv_kernels=tuple(config["conv_kernel"]),
        conv_strides=tuple(config["conv_stride"]),
        conv_bias=config["conv_bias"],
        layer_norm=config["feat_extract_norm"] == "layer",
        pre_norm=config["do_stable_layer_norm"],
        position_kernel=config["num_conv_pos_embeddings"],
        position_groups=config["num_conv_pos_embedding_groups"],
        buckets=config["num_buckets"] if relative else 0,
        max_distance=config["max_bucket_distance"] if relative else 0,
    )


def abstract_params(cfg: SSLConfig) -> dict[str, Any]:
    """Shapes of the encoder's parameters."""
    wave = jax.ShapeDtypeStruct((1, 16000), jnp.float32)
    return nn.meta.unbox(jax.eval_shape(SSLEncoder(cfg).init, jax.random.key(0), wave))["params"]


def import_ssl(cfg: SSLConfig, tensors: Mapping[str, Any]) -> dict[str, Any]:
    """Our parameters from a transformers state dict, of the bare model or with a head around it."""
    renamed = {}
    for name, value in tensors.items():
        name = re.sub(r"^(hubert|wav2vec2|wavlm)\.", "", name)
        name = re.sub(r"pos_conv_embed\.conv\.weight_g$", "pos_conv_embed.conv.parametrizations.weight.original0", name)
        name = re.sub(r"pos_conv_embed\.conv\.weight_v$", "pos_conv_embed.conv.parametrizations.weight.original1", name)
        if not UNUSED.fullmatch(name):
            renamed[name] = value
    shapes = flax.traverse_util.flatten_dict(abstract_params(cfg), sep="/")
    flat = import_tensors(table(cfg), renamed, {k: v.shape for k, v in shapes.items()})
    return flax.traverse_util.unflatten_dict(flat, sep="/")


def export_ssl(cfg: SSLConfig, params: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The transformers state dict of the bare model, without `masked_spec_embed`."""
    return export_tensors(table(cfg), flax.traverse_util.flatten_dict(params, sep="/"))


def load_extractor(recipe: str, weights: str | os.PathLike = "") -> Extractor:
    """The features of a recipe, with the weights it needs.

    weights: a Hugging Face directory or hub name, or the environment variable
    QUARKAUDIO_<RECIPE>; empty: the recipe's own hub name, as far as it is on disk.
    files.MissingWeightsError says what to download and where to.
    """
    chosen = get_recipe(recipe)
    if chosen.hub is None:
        return Extractor(chosen)
    source = str(weights or os.environ.get(f"QUARKAUDIO_{recipe.upper()}", "") or chosen.hub)
    model = files.find_model(
        source,
        ["config.json"],
        f"features {recipe!r}",
        chosen.hub,
        f"--features=FOLDER (train and prepare: --config.features.weights=FOLDER) or QUARKAUDIO_{recipe.upper()}=FOLDER",
    )
    cfg = config_from_hf(model.json(), str(model.folder / "config.json"))
    if chosen.layers and max(chosen.layers) > cfg.num_layers:
        raise UserError(f"features {recipe!r} mix layers {chosen.layers}; {model.folder} has only {cfg.num_layers}")
    return Extractor(chosen, import_ssl(cfg, model.tensors()), cfg)

"""Hugging Face checkpoints of HuBERT, wav2vec 2.0 and WavLM."""

import functools
import logging
import os
import re
import zlib
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np

from quarkaudio_jax.config import FeatureConfig
from quarkaudio_jax.errors import UserError
from quarkaudio_jax.ssl.features import RECIPES, Extractor, get_recipe
from quarkaudio_jax.ssl.model import SSLConfig, SSLEncoder
from quarkaudio_jax.weights import blocks, hub
from quarkaudio_jax.weights.rules import CONV, HEADS, SAME, TAPS, Rule, export_tensors, import_tensors

log = logging.getLogger(__name__)

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
    """The switches from a transformers configuration; UserError for what this encoder does not have."""
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


def load_extractor(
    recipe: str, weights: str | os.PathLike = "", trained_on: str = "", named: bool = True, download: bool = False
) -> Extractor:
    """The features of a recipe, with the weights it needs.

    weights: a Hugging Face directory or hub name, or the environment variable QUARKAUDIO_<RECIPE>; empty: the model that
    the codec was trained on, else the recipe's own, as far as it is on disk. trained_on: that model, a hub name or what
    `model_id` gives. Another one is refused unless the user named it (named), and then a line says so.
    hub.MissingWeightsError says what to download and where to; nothing is downloaded unless `download`.
    """
    chosen = get_recipe(recipe)
    if chosen.hub is None:
        return Extractor(chosen)
    model = find_ssl(recipe, weights, trained_on, download)
    cfg = model.settings(config_from_hf)
    if chosen.layers and max(chosen.layers) > cfg.num_layers:
        raise UserError(f"features {recipe!r} mix layers {chosen.layers}; {model.folder} has only {cfg.num_layers}")
    params = import_ssl(cfg, model.tensors())
    found = model_id(model, params)
    sure, problem = compare_ids(found, trained_on or chosen.hub)
    if problem:
        told = f"features {recipe!r} from {model.source}: {problem}"
        if sure and trained_on and not (named and weights):
            raise UserError(f"{told}; name the right model, or this one if it is what you want, by {_how(recipe)}")
        log.warning("%s", told)
    return Extractor(chosen, params, cfg, found)


def _how(recipe: str) -> str:
    return f"--features=FOLDER (train and prepare: --config.features.weights=FOLDER) or {_variable(recipe)}=FOLDER"


def _variable(recipe: str) -> str:
    return f"QUARKAUDIO_{recipe.upper()}"


def find_ssl(
    recipe: str, weights: str | os.PathLike = "", trained_on: str = "", download: bool = False
) -> hub.ModelFolder:
    """The Hugging Face folder of a recipe's model; see `load_extractor`."""
    usual = trained_on.split(" ")[0] if trained_on and not trained_on.startswith(UNKNOWN) else get_recipe(recipe).hub
    source = str(weights or os.environ.get(_variable(recipe), "") or usual)
    return hub.find_model(source, ["config.json"], f"features {recipe!r}", usual, _how(recipe), download)


def codec_extractor(features: FeatureConfig, weights: str | os.PathLike = "", download: bool = False) -> Extractor:
    """The features that a codec was trained on; weights: where the user says that their model is."""
    recipe = get_recipe(features.recipe)
    weights = weights or ("" if features.weights else os.environ.get(_variable(recipe.name), ""))
    if recipe.hub == HUBERT_MODELS[0] and not (weights or features.weights or features.model):
        log.warning(
            "the checkpoint does not say which HuBERT its features came from; %s is assumed. Before this was recorded, "
            "training took %s: if it did, name that by --features",
            *HUBERT_MODELS,
        )
    return load_extractor(
        features.recipe, weights or features.weights, features.model, named=bool(weights), download=download
    )


HUBERT_MODELS = ("bosonai/hubert_base", "facebook/hubert-base-ls960")
"""Two models of one architecture, with the same names and shapes of tensors, trained on different data."""

UNKNOWN = "-"


def model_id(model: hub.ModelFolder, params: Mapping[str, Any]) -> str:
    """Which SSL model this is: `NAME crc32:CHECKSUM`, the checksum that of all weights as float32.

    The name is the model's on the hub, as the Hugging Face cache or the name of the folder tells it, else `-`. The
    folder's config.json is not asked: copies and fine-tuned models keep the name of what they began with.
    """
    flat = flax.traverse_util.flatten_dict(params, sep="/")
    crc = functools.reduce(lambda crc, name: zlib.crc32(np.ascontiguousarray(flat[name]), crc), sorted(flat), 0)
    known = {name.split("/")[1]: name for name in (*HUBERT_MODELS, *(r.hub for r in RECIPES.values() if r.hub))}
    cached = next((part for part in reversed(model.folder.absolute().parts) if part.startswith("models--")), "")
    name = "/".join(cached.split("--")[1:]) or known.get(model.folder.absolute().name, UNKNOWN)
    return f"{name} crc32:{crc:08x}"


def compare_ids(found: str, wanted: str) -> tuple[bool, str]:
    """(whether it is sure, how the model found is another than the one wanted, or nothing), of two identities.

    The one that is wanted may be a hub name alone.
    """
    (name, crc), (usual, _, expected) = found.split(" "), wanted.partition(" ")
    if expected:
        return True, "" if crc == expected else f"{name} ({crc}) is not the codec's, {usual} ({expected})"
    if name == UNKNOWN:
        return False, f"which model it is can't be told; it should be {usual}"
    return True, "" if name == usual else f"{name} is not {usual}; the features of the two differ"

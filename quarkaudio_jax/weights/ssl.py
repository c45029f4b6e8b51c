"""Conversion and loading of HuBERT, wav2vec 2.0 and WavLM from Hugging Face."""

import functools
import logging
import os
import re
import zlib
from collections.abc import Iterable, Mapping
from typing import Any

import flax.linen as nn
import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np

from quarkaudio_jax.config import FeatureConfig
from quarkaudio_jax.errors import UserError
from quarkaudio_jax.ssl.features import RECIPES, Extractor, get_recipe
from quarkaudio_jax.ssl.model import PUBLISHED, SSLConfig, SSLEncoder
from quarkaudio_jax.weights import blocks, comparison, hub
from quarkaudio_jax.weights.rules import CONV, HEADS, SAME, TAPS, Rule, import_params

log = logging.getLogger(__name__)

UNUSED = re.compile(r"masked_spec_embed|quantizer\..*|project_(hid|q)\..*|lm_head\..*|classifier\..*|label_embs_concat")
"""Tensors of heads of pre-training and fine-tuning, which feature extraction does not use."""


def table(cfg: SSLConfig) -> list[Rule]:
    """Rules of the encoder."""
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


def module_pairs(cfg: SSLConfig, names: Iterable[str]) -> dict[str, str]:
    """The modules of transformers' model whose outputs are those of ours -> ours. names: of its state dict."""
    single = [rule for rule in table(cfg) if rule.path.rpartition("/")[2] in ("kernel", "bias", "scale")]
    found = comparison.module_pairs([rule for rule in single if not rule.path.startswith("position/")], names)
    return {"feature_extractor": "front", "encoder.pos_conv_embed": "position"} | found


def config_from_hf(config: Mapping[str, Any], name: str = "config.json") -> SSLConfig:
    """Converts a transformers configuration; UserError for unsupported options."""
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
    """Converts a transformers state dict, of the base model or of a model with a head."""
    renamed = {}
    for name, value in tensors.items():
        name = re.sub(r"^(hubert|wav2vec2|wavlm)\.", "", name)
        name = re.sub(r"pos_conv_embed\.conv\.weight_g$", "pos_conv_embed.conv.parametrizations.weight.original0", name)
        name = re.sub(r"pos_conv_embed\.conv\.weight_v$", "pos_conv_embed.conv.parametrizations.weight.original1", name)
        if not UNUSED.fullmatch(name):
            renamed[name] = value
    return import_params(table(cfg), renamed, abstract_params(cfg))


def abstract_extractor(recipe: str) -> Extractor:
    """The extractor of a recipe with the shapes of its own model's parameters, for programs that are only compiled."""
    chosen = get_recipe(recipe)
    if chosen.hub is None:
        return Extractor(chosen)
    cfg = PUBLISHED[chosen.hub]
    return Extractor(chosen, abstract_params(cfg), cfg)


def load_extractor(
    recipe: str, weights: str | os.PathLike = "", trained_on: str = "", named: bool = True, download: bool = False
) -> Extractor:
    """Loads the extractor of a recipe, with the weights it needs.

    weights: Hugging Face folder or hub name; else the environment variable QUARKAUDIO_<RECIPE>, else `trained_on`, else
    the recipe's own model. trained_on: the SSL model that the codec was trained on, a hub name or a `model_id`. UserError
    for another model, unless the user chose it (named): then a warning. hub.MissingWeightsError says what to download,
    and to where; nothing is downloaded unless `download`.
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
    certain, problem = compare_ids(found, trained_on or chosen.hub)
    if problem:
        message = f"features {recipe!r} from {model.source}: {problem}"
        if certain and trained_on and not (named and weights):
            raise UserError(f"{message}; choose the right model, or this one on purpose, by {_option(recipe)}")
        log.warning("%s", message)
    return Extractor(chosen, params, cfg, found)


def _option(recipe: str) -> str:
    return f"--features=FOLDER (train and prepare: --config.features.weights=FOLDER) or {_variable(recipe)}=FOLDER"


def _variable(recipe: str) -> str:
    return f"QUARKAUDIO_{recipe.upper()}"


def find_ssl(
    recipe: str, weights: str | os.PathLike = "", trained_on: str = "", download: bool = False
) -> hub.ModelFolder:
    """Finds the Hugging Face folder of a recipe's model; see `load_extractor`."""
    default = trained_on.split(" ")[0] if trained_on and not trained_on.startswith(UNKNOWN) else get_recipe(recipe).hub
    assert default is not None, recipe  # recipes without a model need no folder
    source = str(weights or os.environ.get(_variable(recipe), "") or default)
    return hub.find_model(source, ["config.json"], f"features {recipe!r}", default, _option(recipe), download)


def codec_extractor(features: FeatureConfig, weights: str | os.PathLike = "", download: bool = False) -> Extractor:
    """Loads the extractor of the features that a codec was trained on; weights: the user's folder or hub name."""
    recipe = get_recipe(features.recipe)
    weights = weights or ("" if features.weights else os.environ.get(_variable(recipe.name), ""))
    if recipe.hub == HUBERT_MODELS[0] and not (weights or features.weights or features.model):
        log.warning(
            "the checkpoint does not record which HuBERT its features came from; assuming %s. Before this was recorded, "
            "training used %s: if it did, choose that by --features",
            *HUBERT_MODELS,
        )
    return load_extractor(
        features.recipe, weights or features.weights, features.model, named=bool(weights), download=download
    )


HUBERT_MODELS = ("bosonai/hubert_base", "facebook/hubert-base-ls960")
"""Two models with the same names and shapes of tensors, trained on different data."""

UNKNOWN = "-"
"""Name of an unknown model in a `model_id`."""


def model_id(model: hub.ModelFolder, params: Mapping[str, Any]) -> str:
    """Identifies an SSL model as `NAME crc32:CHECKSUM`, with the checksum of all weights in float32.

    NAME: the hub name, from the Hugging Face cache or from the folder's name, else `-`. The name in config.json is not
    used, because copies and fine-tuned models keep the original's.
    """
    flat = flax.traverse_util.flatten_dict(params, sep="/")
    crc = functools.reduce(lambda crc, name: zlib.crc32(np.ascontiguousarray(flat[name]).data, crc), sorted(flat), 0)
    known = {name.split("/")[1]: name for name in (*HUBERT_MODELS, *(r.hub for r in RECIPES.values() if r.hub))}
    cached = next((part for part in reversed(model.folder.absolute().parts) if part.startswith("models--")), "")
    name = "/".join(cached.split("--")[1:]) or known.get(model.folder.absolute().name, UNKNOWN)
    return f"{name} crc32:{crc:08x}"


def compare_ids(found: str, wanted: str) -> tuple[bool, str]:
    """(whether the comparison is certain, description of the difference or ''), of a `model_id` and the wanted one.

    wanted: a `model_id`, or a hub name alone.
    """
    (name, crc), (wanted_name, _, expected) = found.split(" "), wanted.partition(" ")
    if expected:
        return True, "" if crc == expected else f"{name} ({crc}) is not the codec's, {wanted_name} ({expected})"
    if name == UNKNOWN:
        return False, f"unknown model; it should be {wanted_name}"
    return True, "" if name == wanted_name else f"{name} is not {wanted_name}; the features of the two differ"

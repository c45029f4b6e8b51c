"""Conversion and loading of T5 and of CLAP's text encoder from Hugging Face."""

import functools
import os
import re
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from quarkaudio_jax.errors import UserError
from quarkaudio_jax.text.clap import ClapTextConfig, ClapTextEncoder
from quarkaudio_jax.text.features import TextExtractor, get_recipe
from quarkaudio_jax.text.t5 import T5Config, T5Encoder
from quarkaudio_jax.weights import blocks, hub
from quarkaudio_jax.weights.rules import SAME, Rule, import_params

UNUSED = {
    "t5": re.compile(r"encoder\.embed_tokens\.weight|decoder\..*|lm_head\..*"),
    "clap": re.compile(r"audio_model\..*|audio_projection\..*|logit_scale_.*|.*\.position_ids|.*\.token_type_ids"),
}
"""Tensors that the text features do not use: a copy and the decoder; the audio encoder and counters."""


def t5_table(cfg: T5Config) -> list[Rule]:
    """Rules of the T5 encoder."""
    layer, ours = "encoder.block.*", "blocks/layers"
    attention, mlp = f"{layer}.layer.0", f"{layer}.layer.1"
    rules = [
        Rule("shared.weight", "words", SAME),
        Rule("encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight", "relative_bias", SAME),
        Rule(f"{attention}.layer_norm.weight", f"{ours}/attention_norm/scale"),
        Rule(f"{mlp}.layer_norm.weight", f"{ours}/mlp_norm/scale"),
        Rule("encoder.final_layer_norm.weight", "norm/scale"),
        *blocks.dense(f"{mlp}.DenseReluDense.wo", f"{ours}/down", bias=False),
    ]
    for theirs, name in (("q", "query"), ("k", "key"), ("v", "value"), ("o", "out")):
        rules += blocks.dense(f"{attention}.SelfAttention.{theirs}", f"{ours}/{name}", bias=False)
    inward = (("wi_0", "gate"), ("wi_1", "up")) if cfg.gated else (("wi", "up"),)
    for theirs, name in inward:
        rules += blocks.dense(f"{mlp}.DenseReluDense.{theirs}", f"{ours}/{name}", bias=False)
    return rules


def clap_table() -> list[Rule]:
    """Rules of CLAP's text encoder."""
    layer, ours = "text_model.encoder.layer.*", "blocks/layers"
    embeddings = "text_model.embeddings"
    rules = [
        Rule(f"{embeddings}.word_embeddings.weight", "words", SAME),
        Rule(f"{embeddings}.position_embeddings.weight", "places", SAME),
        Rule(f"{embeddings}.token_type_embeddings.weight", "types", SAME),
        *blocks.norm(f"{embeddings}.LayerNorm", "norm"),
        *blocks.dense(f"{layer}.attention.output.dense", f"{ours}/out"),
        *blocks.norm(f"{layer}.attention.output.LayerNorm", f"{ours}/attention_norm"),
        *blocks.dense(f"{layer}.intermediate.dense", f"{ours}/up"),
        *blocks.dense(f"{layer}.output.dense", f"{ours}/down"),
        *blocks.norm(f"{layer}.output.LayerNorm", f"{ours}/mlp_norm"),
        *blocks.dense("text_model.pooler.dense", "pooler"),
        *blocks.dense("text_projection.linear1", "project_in"),
        *blocks.dense("text_projection.linear2", "project_out"),
    ]
    for name in ("query", "key", "value"):
        rules += blocks.dense(f"{layer}.attention.self.{name}", f"{ours}/{name}")
    return rules


def t5_config(config: Mapping[str, Any], name: str = "config.json") -> T5Config:
    """Converts a transformers configuration; UserError for unsupported options."""
    kind = config.get("feed_forward_proj", "relu")
    if config.get("model_type", "t5") != "t5" or kind not in ("relu", "gated-gelu"):
        raise UserError(
            f"{name}: a {config.get('model_type')} with {kind}; only T5 with relu or gated-gelu is supported"
        )
    return T5Config(
        vocabulary=config["vocab_size"],
        dim=config["d_model"],
        num_layers=config["num_layers"],
        num_heads=config["num_heads"],
        head_dim=config["d_kv"],
        hidden=config["d_ff"],
        gated=kind == "gated-gelu",
        buckets=config.get("relative_attention_num_buckets", 32),
        max_distance=config.get("relative_attention_max_distance", 128),
        eps=config.get("layer_norm_epsilon", 1e-6),
    )


def clap_config(config: Mapping[str, Any], name: str = "config.json") -> ClapTextConfig:
    """Converts a transformers configuration of CLAP or of its text encoder; UserError for unsupported options."""
    text = config.get("text_config", config)
    if "clap" not in str(config.get("model_type", "clap")) or text.get("hidden_act", "gelu") != "gelu":
        raise UserError(f"{name}: model_type is {config.get('model_type')!r}; only CLAP with gelu is supported")
    plain = ClapTextConfig(50265, 768, 12, 12, 3072)
    return ClapTextConfig(
        vocabulary=text.get("vocab_size", plain.vocabulary),
        dim=text.get("hidden_size", plain.dim),
        num_layers=text.get("num_hidden_layers", plain.num_layers),
        num_heads=text.get("num_attention_heads", plain.num_heads),
        hidden=text.get("intermediate_size", plain.hidden),
        projected=config.get("projection_dim", text.get("projection_dim", plain.projected)),
        positions=text.get("max_position_embeddings", plain.positions),
        padding=text.get("pad_token_id", plain.padding),
        eps=text.get("layer_norm_eps", plain.eps),
    )


def import_text(cfg: T5Config | ClapTextConfig, tensors: Mapping[str, Any]) -> dict[str, Any]:
    """Converts a transformers state dict of the encoder or of the full model."""
    module: ClapTextEncoder | T5Encoder
    if isinstance(cfg, ClapTextConfig):
        module, rules, unused = ClapTextEncoder(cfg), clap_table(), UNUSED["clap"]
    else:
        module, rules, unused = T5Encoder(cfg), t5_table(cfg), UNUSED["t5"]
    kept = {name: value for name, value in tensors.items() if not unused.fullmatch(name)}
    ids, lengths = jax.ShapeDtypeStruct((1, 4), jnp.int32), jax.ShapeDtypeStruct((1,), jnp.int32)
    abstract = nn.meta.unbox(jax.eval_shape(module.init, jax.random.key(0), ids, lengths))["params"]
    return import_params(rules, kept, abstract)


def load_text_extractor(recipe: str, weights: str | os.PathLike = "") -> TextExtractor:
    """Loads the text features of a recipe, with weights and tokenizer.json of a Hugging Face folder or hub name.

    hub.MissingWeightsError says what to download, and to where.
    """
    chosen = get_recipe(recipe)
    if chosen.hub is None:
        return TextExtractor(chosen)
    source = str(weights or os.environ.get(f"QUARKAUDIO_{recipe.upper()}", "") or chosen.hub)
    model = hub.find_model(
        source,
        ["config.json", "tokenizer.json"],
        f"text features {recipe!r}",
        chosen.hub,
        f"--text-features=FOLDER (train and prepare: --config.text.weights=FOLDER) or QUARKAUDIO_{recipe.upper()}=FOLDER",
    )
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise hub.MissingWeightsError(
            f"text features {recipe!r} need the package tokenizers: pip install tokenizers"
        ) from error
    cfg = model.settings(t5_config if recipe == "t5" else clap_config)
    tokenizer = Tokenizer.from_file(str(model.folder / "tokenizer.json"))
    tokenizer.no_padding()
    params = jax.device_put(import_text(cfg, model.tensors()))
    return TextExtractor(chosen, cfg, params, functools.partial(_token_ids, tokenizer))


def _token_ids(tokenizer: Any, text: str) -> list[int]:
    """Token ids of a text; a module-level function, so that a `TextExtractor` can be pickled."""
    return tokenizer.encode(text).ids

"""Conversion of Llama and Qwen2 checkpoints of Hugging Face, and of UniSE, which contains a Llama."""

import dataclasses
import json
import os
import pathlib
import re
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from quarkaudio_jax.errors import UserError
from quarkaudio_jax.lm.backbone import Backbone, BackboneConfig
from quarkaudio_jax.lm.unise import LM_UNISE, Unise, UniseConfig, init_unise
from quarkaudio_jax.weights import blocks
from quarkaudio_jax.weights.files import FOLDER_NAMES, open_tensors
from quarkaudio_jax.weights.names import WeightFileError
from quarkaudio_jax.weights.rules import SAME, Rule, UnmatchedError, export_params, import_params


def table(cfg: BackboneConfig, theirs: str = "", ours: str = "") -> list[Rule]:
    """Rules of the backbone; theirs, ours: prefixes, for example `model.` and `backbone/`."""
    layer, block = f"{theirs}layers.*", f"{ours}blocks/layers"
    rules = [
        Rule(f"{theirs}norm.weight", f"{ours}norm/scale"),
        Rule(f"{layer}.input_layernorm.weight", f"{block}/attention_norm/scale"),
        Rule(f"{layer}.post_attention_layernorm.weight", f"{block}/mlp_norm/scale"),
        *blocks.dense(f"{layer}.self_attn.o_proj", f"{block}/out", bias=False),
    ]
    for name, path in (("q_proj", "query"), ("k_proj", "key"), ("v_proj", "value")):
        rules += blocks.dense(f"{layer}.self_attn.{name}", f"{block}/{path}", bias=cfg.qkv_bias)
    for name in ("gate", "up", "down"):
        rules += blocks.dense(f"{layer}.mlp.{name}_proj", f"{block}/mlp/{name}", bias=False)
    return rules


def config_from_hf(config: Mapping[str, Any], name: str = "config.json") -> BackboneConfig:
    """Converts a transformers configuration; UserError for unsupported options."""
    kind = config.get("model_type")
    if kind not in ("llama", "qwen2"):
        raise UserError(f"{name}: model_type is {kind!r}, but should be llama or qwen2")
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if rope.get("rope_type", rope.get("type", "default")) != "default":
        raise UserError(
            f"{name}: rotary positions of type {rope.get('rope_type', rope.get('type'))!r} are not supported"
        )
    for field, value in (("hidden_act", "silu"), ("mlp_bias", False), ("use_sliding_window", False)):
        if config.get(field, value) != value:
            raise UserError(f"{name}: {field} is {config[field]!r}; only {value!r} is supported")
    if kind == "llama" and config.get("attention_bias"):
        raise UserError(f"{name}: attention_bias, also on the output, is not supported")
    return BackboneConfig(
        dim=config["hidden_size"],
        num_layers=config["num_hidden_layers"],
        num_heads=config["num_attention_heads"],
        num_kv_heads=config.get("num_key_value_heads") or config["num_attention_heads"],
        hidden=config["intermediate_size"],
        head_dim=config.get("head_dim") or 0,
        rope_theta=float(rope.get("rope_theta", config.get("rope_theta", 10000.0))),
        eps=config["rms_norm_eps"],
        qkv_bias=kind == "qwen2",
    )


def config_to_hf(cfg: BackboneConfig) -> dict[str, Any]:
    """The transformers configuration, without a vocabulary."""
    return {
        "model_type": "qwen2" if cfg.qkv_bias else "llama",
        "hidden_size": cfg.dim,
        "num_hidden_layers": cfg.num_layers,
        "num_attention_heads": cfg.num_heads,
        "num_key_value_heads": cfg.num_kv_heads,
        "head_dim": cfg.head_width,
        "intermediate_size": cfg.hidden,
        "rms_norm_eps": cfg.eps,
        "rope_parameters": {"rope_type": "default", "rope_theta": cfg.rope_theta},
    }


def abstract_params(cfg: BackboneConfig) -> dict[str, Any]:
    """Shapes of the backbone's parameters."""
    x, positions = jax.ShapeDtypeStruct((1, 2, cfg.dim), jnp.float32), jax.ShapeDtypeStruct((1, 2), jnp.int32)
    return nn.meta.unbox(jax.eval_shape(Backbone(cfg).init, jax.random.key(0), x, positions, positions))["params"]


def import_backbone(cfg: BackboneConfig, tensors: Mapping[str, Any], theirs: str = "model.") -> dict[str, Any]:
    """Converts a state dict; ignores the word embeddings and names without the prefix `theirs`."""
    kept = {
        k: v for k, v in tensors.items() if k.startswith(theirs) and not k.endswith(("embed_tokens.weight", "inv_freq"))
    }
    return import_params(table(cfg, theirs), kept, abstract_params(cfg))


def read_backbone(cfg: BackboneConfig, folder: str | os.PathLike) -> dict[str, Any]:
    """Reads a Hugging Face folder of Llama or Qwen2; WeightFileError if it has another size."""
    folder = pathlib.Path(folder)
    try:
        found = config_from_hf(json.loads((folder / "config.json").read_text()), str(folder / "config.json"))
    except (OSError, ValueError, KeyError) as error:
        raise WeightFileError(f"{folder}: can't be read as a Llama or Qwen2 ({error})") from error
    found = dataclasses.replace(found, dropout=cfg.dropout, attention_dropout=cfg.attention_dropout)
    cfg, found = (dataclasses.replace(c, head_dim=c.head_width) for c in (cfg, found))
    shape = [f.name for f in dataclasses.fields(cfg) if getattr(cfg, f.name) != getattr(found, f.name)]
    if shape:
        sizes = ", ".join(f"{name} {getattr(found, name)!r} (here {getattr(cfg, name)!r})" for name in shape)
        raise WeightFileError(f"{folder} holds a model of another size: {sizes}; choose config.lm.size to match")
    path = next((folder / name for name in FOLDER_NAMES if (folder / name).is_file()), None)
    if path is None:
        raise WeightFileError(f"{folder}: none of {', '.join(FOLDER_NAMES)} in it")
    tensors = {f"model.{k.removeprefix('model.')}": v for k, v in open_tensors(path).items()}
    return import_backbone(cfg, {k: v for k, v in tensors.items() if k != "model.lm_head.weight"})


UNISE_UNUSED = re.compile(r"cond_(input_layer|output_layer|encoder)\..*|.*\.inv_freq")
"""Parameters that UniSE inherits and never uses: the parent class's encoder of mel spectrograms."""


def unise_table(cfg: UniseConfig) -> list[Rule]:
    """Rules of UniSE."""
    embeddings = {"task_embedding": "tasks", "codec_embedding": "words"}
    embeddings |= {"enroll_sos_embedding": "enrolment_start", "mix_sos_embedding": "mixture_start"}
    return [
        *(Rule(f"{theirs}.weight", ours, SAME) for theirs, ours in embeddings.items()),
        *blocks.dense("adapter", "adapter"),
        *blocks.dense("output_head", "head", bias=False),
        *table(cfg.backbone, "", "backbone/"),
    ]


def import_unise(cfg: UniseConfig, tensors: Mapping[str, Any]) -> dict[str, Any]:
    """Converts UniSE's state dict."""
    kept = {name: value for name, value in tensors.items() if not UNISE_UNUSED.fullmatch(name)}
    abstract = jax.eval_shape(lambda key: init_unise(Unise(cfg), key), jax.random.key(0))
    return import_params(unise_table(cfg), kept, nn.meta.unbox(abstract))


def export_unise(cfg: UniseConfig, params: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """UniSE's state dict, without what it never uses; the inverse of `import_unise`."""
    return export_params(unise_table(cfg), params)


def read_unise(path: str | os.PathLike, cfg: UniseConfig = LM_UNISE) -> dict[str, Any]:
    """Reads a weight file of UniSE; WeightFileError if it holds another model."""
    try:
        return import_unise(cfg, open_tensors(path))
    except UnmatchedError as error:
        raise WeightFileError(f"{path} is not UniSE of this size: {error}") from error

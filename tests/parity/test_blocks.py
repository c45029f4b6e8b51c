"""Single blocks against the public PyTorch code."""

import flax
import flax.linen as nn
import jax
import numpy as np
import pytest

from quarkaudio_jax.bridge import blocks, hcodec
from quarkaudio_jax.bridge.rules import Rule, export_tensors, import_tensors
from quarkaudio_jax.codec.semantic import SemanticConfig, SemanticDecoder, SemanticEncoder
from quarkaudio_jax.nn.convnext import ConvNeXtBlock
from quarkaudio_jax.nn.resnet import ResnetBlock
from quarkaudio_jax.nn.stack import Stack
from quarkaudio_jax.nn.transformer import TransformerBlock
from tests.parity import golden

ARRAYS, META = golden.load("blocks")
HEADS = dict(num_heads=4, hidden=48)


def semantic(kind: str, ratios, strides):
    """A half of the semantic branch, and its table without the half's name."""
    encoding = kind == "semantic_encoder"
    cfg = SemanticConfig(12 if encoding else 10, 10 if encoding else 12, 16, ratios, strides)
    rules = [
        Rule(r.torch.removeprefix(f"{kind}."), r.path.replace(f"params/{kind}/", ""), r.layout)
        for r in hcodec.semantic(cfg)
        if r.torch.startswith(f"{kind}.")
    ]
    return (SemanticEncoder if encoding else SemanticDecoder)(cfg), rules


def transformer(**kwargs):
    return Stack(TransformerBlock, {**HEADS, **kwargs}, 2), blocks.transformer("layers.*", "layers")


CASES = {
    "transformer": transformer(),
    "transformer_causal": transformer(causal=True),
    "transformer_window": transformer(causal=True, window=5),
    "resnet_block": (ResnetBlock(), blocks.resnet("X", "X")),
    "convnext_block": (ConvNeXtBlock(96, 0.5), blocks.convnext("X", "X")),
    "semantic_encoder": semantic("semantic_encoder", (1, 2), (2, 1)),
    "semantic_encoder_s3": semantic("semantic_encoder", (1, 1), (3, 1)),
    "semantic_decoder": semantic("semantic_decoder", (2, 1), (2, 1)),
    "semantic_decoder_s3": semantic("semantic_decoder", (1, 1), (3, 1)),
}


@pytest.mark.parametrize("name", CASES)
def test_block(name):
    module, rules = CASES[name]
    rules = [Rule(r.torch.removeprefix("X."), r.path.removeprefix("X/"), r.layout) for r in rules]
    x = ARRAYS[META["config"][name]["input"]]
    x = x if META["config"][name]["input"] == "ntc" else x.swapaxes(1, 2)
    params = nn.meta.unbox(module.init(jax.random.key(0), x))["params"]
    flat = flax.traverse_util.flatten_dict(params, sep="/")
    state = {k: golden.tensor(k, v.shape) for k, v in export_tensors(rules, flat).items()}
    flat = import_tensors(rules, state, {k: v.shape for k, v in flat.items()})
    out = np.asarray(module.apply({"params": flax.traverse_util.unflatten_dict(flat, sep="/")}, x))
    want = ARRAYS[f"{name}_out"]
    want = want if name.startswith("transformer") else want.swapaxes(1, 2)
    np.testing.assert_allclose(out, want, rtol=0, atol=golden.tolerance(META, f"{name}_out"))

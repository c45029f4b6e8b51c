"""Single blocks against the public PyTorch code."""

import re

import flax
import flax.linen as nn
import jax
import numpy as np
import pytest

from quarkaudio_jax.codec.aggregate import AggregationConfig, Groups, MimiConfig, QueryAggregator
from quarkaudio_jax.codec.decoder import SpectralDecoder, SpectralDecoderConfig
from quarkaudio_jax.codec.seanet import SeanetEncoder, SeanetEncoderConfig
from quarkaudio_jax.codec.semantic import SemanticConfig, SemanticDecoder, SemanticEncoder
from quarkaudio_jax.nn.conv import SubpixelConv1d
from quarkaudio_jax.nn.convnext import ConvNeXtBlock
from quarkaudio_jax.nn.mimi import MimiTransformer
from quarkaudio_jax.nn.resnet import ResnetBlock
from quarkaudio_jax.nn.stack import Stack
from quarkaudio_jax.nn.transformer import TransformerBlock
from quarkaudio_jax.weights import blocks, hcodec
from quarkaudio_jax.weights.rules import Rule, export_tensors, import_tensors
from tests.parity import golden

ARRAYS, META = golden.load("blocks")
HEADS = dict(num_heads=4, hidden=48)


def unprefixed(rules, torch: str, path: str):
    """The rules of one part, without the part's name; constants are left out."""
    return [
        Rule(r.torch.removeprefix(torch), r.path.removeprefix(path), r.layout)
        for r in rules
        if isinstance(r, Rule) and r.torch.startswith(torch)
    ]


def semantic(kind: str, ratios, strides):
    """A half of the semantic branch, and its table without the half's name."""
    encoding = kind == "semantic_encoder"
    cfg = SemanticConfig(12 if encoding else 10, 10 if encoding else 12, 16, ratios, strides)
    module = SemanticEncoder if encoding else SemanticDecoder
    return module(cfg), unprefixed(hcodec.semantic(cfg), f"{kind}.", f"params/{kind}/")


def transformer(**kwargs):
    return Stack(TransformerBlock, {**HEADS, **kwargs}, 2), blocks.transformer("layers.*", "layers")


def seanet(causal: bool):
    cfg = SeanetEncoderConfig(4, (2, 4, 5, 8), 64, 2, 8, 256, causal=causal)
    return SeanetEncoder(cfg), unprefixed(hcodec.seanet_encoder(cfg), "encoder.", "params/encoder/")


def decoder():
    cfg = SpectralDecoderConfig(64, 96, 1280, 320, 2, 2, 8, 256, 2, subpixel=True)
    return SpectralDecoder(cfg), unprefixed(hcodec.spectral_decoder(cfg), "decoder.", "params/decoder/")


def mimi_projections(torch: str, path: str):
    return [
        *blocks.dense(f"{torch}.input_proj", f"{path}/project_in", bias=False),
        *blocks.dense(f"{torch}.output_projs.0", f"{path}/project_out", bias=False),
    ]


def mimi(causal: bool):
    rules = blocks.mimi("X", "X") + mimi_projections("X", "X")
    return MimiTransformer(32, 40, 2, 4, 48, causal=causal, context=6), rules


class Aggregator(nn.Module):
    """The aggregator on one-hot alignments (B, G, T), with the original's unmasked padding."""

    @nn.compact
    def __call__(self, x_BxTxC, alignment_BxGxT):
        cfg = AggregationConfig(MimiConfig(32, 2, 4, 48), MimiConfig(32, 2, 4, 48), 0.0, mask_padding=False)
        groups = Groups(alignment_BxGxT.argmax(1), alignment_BxGxT.sum(-1).astype(np.int32))
        return QueryAggregator(cfg, name="X")(x_BxTxC, groups)


def aggregator():
    return Aggregator(), blocks.aggregator("Y", "X") + mimi_projections("Y.transformer", "X/transformer")


CASES = {
    "transformer": transformer(),
    "transformer_causal": transformer(causal=True),
    "transformer_window": transformer(causal=True, window=5),
    "resnet_block": (ResnetBlock(), blocks.resnet("X", "X")),
    "convnext_block": (ConvNeXtBlock(96, 0.5), blocks.convnext("X", "X")),
    "convnext_block_causal": (ConvNeXtBlock(96, 0.5, causal=True), blocks.convnext("X", "X")),
    "subpixel_conv": (SubpixelConv1d(10, 5, 2), blocks.subpixel("X", "X")),
    "seanet_encoder": seanet(causal=False),
    "seanet_encoder_causal": seanet(causal=True),
    "decoder": decoder(),
    "mimi_transformer": mimi(causal=False),
    "mimi_transformer_causal": mimi(causal=True),
    "aggregator": aggregator(),
    "semantic_encoder": semantic("semantic_encoder", (1, 2), (2, 1)),
    "semantic_encoder_s3": semantic("semantic_encoder", (1, 1), (3, 1)),
    "semantic_decoder": semantic("semantic_decoder", (2, 1), (2, 1)),
    "semantic_decoder_s3": semantic("semantic_decoder", (1, 1), (3, 1)),
}


def inputs(name: str):
    """The case's inputs, channel-last."""
    words = META["config"][name]["input"].split(",")
    x = ARRAYS[words[0].split("[")[0]]
    if words[0].startswith("wav"):
        return [x]
    x = x if words[0] == "ntc" else x.swapaxes(1, 2)
    return [x, ARRAYS["alignment"]] if "alignment" in META["config"][name]["input"] else [x]


@pytest.mark.parametrize("name", CASES)
def test_block(name):
    module, rules = CASES[name]
    rules = [Rule(re.sub(r"^[XY]\.", "", r.torch), r.path.removeprefix("X/"), r.layout) for r in rules]
    x = inputs(name)
    shapes = nn.meta.unbox(jax.eval_shape(module.init, jax.random.key(0), *x))["params"]
    params = jax.tree.map(lambda s: np.zeros(s.shape, s.dtype), shapes)
    nested = "X" in params
    flat = flax.traverse_util.flatten_dict(params["X"] if nested else params, sep="/")
    state = {k: golden.tensor(k, v.shape) for k, v in export_tensors(rules, dict(flat)).items()}
    flat = import_tensors(rules, state, {k: v.shape for k, v in flat.items()})
    params = flax.traverse_util.unflatten_dict(flat, sep="/")
    out = np.asarray(jax.jit(module.apply)({"params": {"X": params} if nested else params}, *x))
    want = ARRAYS[f"{name}_out"]
    want = want if name.startswith("transformer") or want.ndim == 2 else want.swapaxes(1, 2)
    out = out[:, : want.shape[1]]
    np.testing.assert_allclose(out, want, rtol=0, atol=golden.tolerance(META, f"{name}_out"))

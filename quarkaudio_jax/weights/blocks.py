"""Conversion rules of the layers that several models share, by PyTorch name and path of a layer."""

from quarkaudio_jax.weights.rules import CONV, DEPTHWISE, LINEAR, POINTWISE, QKV, QUERY, SAME, VECTOR, Layout, Rule

Rules = list[Rule]


def dense(torch: str, path: str, layout: Layout = LINEAR, bias: bool = True) -> Rules:
    """A linear or convolution layer."""
    rules = [Rule(f"{torch}.weight", f"{path}/kernel", layout)]
    return [*rules, Rule(f"{torch}.bias", f"{path}/bias")] if bias else rules


def conv(torch: str, path: str, bias: bool = True) -> Rules:
    """A convolution over time."""
    return dense(torch, path, CONV, bias)


def norm(torch: str, path: str) -> Rules:
    """A layer or group normalization."""
    return [Rule(f"{torch}.weight", f"{path}/scale"), Rule(f"{torch}.bias", f"{path}/bias")]


def convnext(torch: str, path: str) -> Rules:
    """A ConvNeXt block."""
    return [
        Rule(f"{torch}.gamma", f"{path}/gamma", SAME),
        *dense(f"{torch}.dwconv.conv", f"{path}/dwconv", DEPTHWISE),
        *norm(f"{torch}.norm", f"{path}/norm"),
        *dense(f"{torch}.pwconv1.linear", f"{path}/pwconv1"),
        *dense(f"{torch}.pwconv2.linear", f"{path}/pwconv2"),
    ]


def transformer(torch: str, path: str) -> Rules:
    """A layer of the codecs' transformer."""
    attention, ours = f"{torch}.self_attn", f"{path}/attention"
    lstm = {"weight_ih_l0": "w_ih", "weight_hh_l0": "w_hh", "bias_ih_l0": "b_ih", "bias_hh_l0": "b_hh"}
    return [
        *(
            Rule(f"{attention}.rnn.{theirs}", f"{ours}/lstm/{name}", LINEAR if name.startswith("w") else SAME)
            for theirs, name in lstm.items()
        ),
        *dense(f"{attention}.q_proj", f"{ours}/query"),
        *dense(f"{attention}.k_proj", f"{ours}/key"),
        *dense(f"{attention}.v_proj", f"{ours}/value"),
        *dense(f"{attention}.o_proj", f"{ours}/out", bias=False),
        *dense(f"{torch}.mlp.w1", f"{path}/mlp/gate", bias=False),
        *dense(f"{torch}.mlp.w3", f"{path}/mlp/up", bias=False),
        *dense(f"{torch}.mlp.w2", f"{path}/mlp/down", bias=False),
        Rule(f"{torch}.input_layernorm.weight", f"{path}/attention_norm/scale"),
        Rule(f"{torch}.post_attention_layernorm.weight", f"{path}/mlp_norm/scale"),
    ]


def resnet(torch: str, path: str) -> Rules:
    """A residual block of the decoder's prior network."""
    rules = []
    for i in (1, 2):
        rules += norm(f"{torch}.norm{i}", f"{path}/norm{i}") + conv(f"{torch}.conv{i}.conv", f"{path}/conv{i}")
    return rules


def weight_norm(torch: str, path: str) -> Rules:
    """A weight-normalized convolution over time."""
    return [
        Rule(f"{torch}.weight_g", f"{path}/g", VECTOR),
        Rule(f"{torch}.weight_v", f"{path}/v", CONV),
        Rule(f"{torch}.bias", f"{path}/bias"),
    ]


def subpixel(torch: str, path: str) -> Rules:
    """The upsampling in the decoder of H-Codec 1.0 and 1.5."""
    return [*dense(f"{torch}.up", f"{path}/up", POINTWISE), *dense(f"{torch}.dw", f"{path}/smooth", DEPTHWISE)]


def mimi(torch: str, path: str) -> Rules:
    """A Mimi transformer without its input and output projections."""
    torch, path = f"{torch}.transformer.layers.*", f"{path}/blocks/layers"
    return [
        Rule(f"{torch}.self_attn.in_proj_weight", f"{path}/qkv", QKV),
        *dense(f"{torch}.self_attn.out_proj", f"{path}/out", bias=False),
        *norm(f"{torch}.norm1", f"{path}/norm1"),
        *norm(f"{torch}.norm2", f"{path}/norm2"),
        *dense(f"{torch}.linear1", f"{path}/up", bias=False),
        *dense(f"{torch}.linear2", f"{path}/down", bias=False),
        Rule(f"{torch}.layer_scale_1.scale", f"{path}/scale1"),
        Rule(f"{torch}.layer_scale_2.scale", f"{path}/scale2"),
    ]


def aggregator(torch: str, path: str) -> Rules:
    """A query aggregator of H-Codec 1.5."""
    return [
        Rule(f"{torch}.query_embedding", f"{path}/query", QUERY),
        *mimi(f"{torch}.transformer", f"{path}/transformer"),
    ]

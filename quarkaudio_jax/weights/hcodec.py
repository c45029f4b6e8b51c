"""Conversion of the H-Codecs, with rules for each module of a configuration."""

import functools
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from quarkaudio_jax.codec.decoder import SpectralDecoderConfig
from quarkaudio_jax.codec.hcodec import HCodec, HCodecConfig, wave_shape
from quarkaudio_jax.codec.seanet import SeanetEncoderConfig
from quarkaudio_jax.codec.semantic import SemanticConfig
from quarkaudio_jax.codec.spatial import SpatialMapConfig
from quarkaudio_jax.codec.spectral import SpectralEncoderConfig
from quarkaudio_jax.codec.variants import VARIANTS, published_front_end
from quarkaudio_jax.nn.window import hann_window
from quarkaudio_jax.weights import blocks
from quarkaudio_jax.weights.rules import (
    DECONV,
    DEPTHWISE,
    LEADING_ONE,
    POINTWISE,
    Constant,
    Rule,
    UnmatchedError,
    export_tensors,
    import_tensors,
    listed,
)


def _params(rules: list[Rule]) -> list[Rule | Constant]:
    return [Rule(r.torch, f"params/{r.path}", r.layout) for r in rules]


def spectral_encoder(cfg: SpectralEncoderConfig) -> list[Rule | Constant]:
    """H-Codec 2.0's acoustic encoder."""
    rules = [
        *blocks.conv("encoder.embed.conv", "encoder/embed"),
        *blocks.norm("encoder.norm", "encoder/norm"),
        *blocks.convnext("encoder.prior_net.*", "encoder/convnext/layers"),
        *blocks.transformer("encoder.post_net.1.layers.*", "encoder/transformer/layers"),
        *blocks.norm("encoder.final_layer_norm", "encoder/final_norm"),
        *blocks.conv("encoder.out.conv", "encoder/out"),
    ]
    return [*_params(rules), Constant("encoder.stft.window", lambda: hann_window(cfg.n_fft))]


def seanet_encoder(cfg: SeanetEncoderConfig, name: str = "encoder") -> list[Rule | Constant]:
    """The acoustic encoder of H-Codec 1.0 and 1.5. name: of the module on both sides."""
    tail = 3 * len(cfg.strides) + 2
    rules = [
        *blocks.weight_norm(f"{name}.model.0.conv.conv", f"{name}/embed"),
        *blocks.transformer(f"{name}.model.{tail}.layers.*", f"{name}/transformer/layers"),
        *blocks.weight_norm(f"{name}.model.{tail + 3}.conv.conv", f"{name}/out"),
    ]
    for i in range(len(cfg.strides)):
        torch, ours = f"{name}.model.{3 * i + 1}", f"{name}/blocks_{i}"
        for theirs, part in (("block.1", "conv1"), ("block.3", "conv2"), ("shortcut", "shortcut")):
            rules += blocks.weight_norm(f"{torch}.{theirs}.conv.conv", f"{ours}/{part}")
        rules += blocks.weight_norm(f"{name}.model.{3 * i + 3}.conv.conv", f"{ours}_down")
    return _params(rules)


def spectral_decoder(cfg: SpectralDecoderConfig) -> list[Rule | Constant]:
    """The decoder, with either kind of upsampling."""
    embed = blocks.subpixel("decoder.embed", "decoder/embed")
    rules = [
        *(embed if cfg.subpixel else blocks.conv("decoder.embed.conv", "decoder/embed")),
        *blocks.transformer("decoder.prior_net.3.layers.*", "decoder/prior_transformer/layers"),
        *blocks.norm("decoder.prior_net.7", "decoder/prior_norm"),
        *blocks.norm("decoder.norm", "decoder/norm"),
        *blocks.convnext("decoder.post_net.*", "decoder/convnext/layers"),
        *blocks.norm("decoder.final_layer_norm", "decoder/final_norm"),
        *blocks.dense("decoder.head.out", "decoder/head/out"),
    ]
    for i, position in enumerate((0, 1, 5, 6)):
        rules += blocks.resnet(f"decoder.prior_net.{position}", f"decoder/prior_resnet_{i}")
    return [*_params(rules), Constant("decoder.head.istft.window", lambda: hann_window(cfg.n_fft))]


def semantic(cfg: SemanticConfig) -> list[Rule | Constant]:
    """Encoder and decoder of the semantic branch."""
    rules = [
        *blocks.conv("semantic_encoder.conv.conv", "semantic_encoder/embed", bias=False),
        *blocks.conv("semantic_encoder.conv_blocks.{i}.conv.conv", "semantic_encoder/blocks_{i}_conv"),
        *blocks.conv("semantic_encoder.conv2.conv", "semantic_encoder/out", bias=False),
        *blocks.conv("semantic_decoder.conv1.conv", "semantic_decoder/embed", bias=False),
        *blocks.conv("semantic_decoder.conv2.conv", "semantic_decoder/out", bias=False),
    ]
    for half in ("semantic_encoder", "semantic_decoder"):
        unit, ours = f"{half}.conv_blocks.{{i}}.res_units.{{j}}", f"{half}/blocks_{{i}}_unit_{{j}}"
        rules += blocks.conv(f"{unit}.conv1.conv", f"{ours}/conv1", bias=False)
        rules += blocks.conv(f"{unit}.conv2", f"{ours}/conv2", bias=False)
    for i, stride in enumerate(cfg.strides):
        torch, ours = f"semantic_decoder.conv_blocks.{i}.conv", f"semantic_decoder/blocks_{i}_conv"
        rules += blocks.conv(f"{torch}.conv", ours) if stride == 1 else blocks.dense(f"{torch}.deconv", ours, DECONV)
    return _params(rules)


def quantizer(torch: str, path: str) -> list[Rule | Constant]:
    """A residual VQ with EMA codebooks, which count as initialized."""
    names = {"embed": "embed_KxVxD", "cluster_size": "cluster_size_KxV", "embed_avg": "embed_avg_KxVxD"}
    rules: list[Rule | Constant] = [
        Rule(f"{torch}.layers.*._codebook.{theirs}", f"codebooks/{path}/books/{ours}", LEADING_ONE)
        for theirs, ours in names.items()
    ]
    return [*rules, Constant(f"{torch}.layers.{{i}}._codebook.initted", lambda i: np.ones(1, np.float32))]


def aggregation() -> list[Rule | Constant]:
    """Frame aggregation of H-Codec 1.5."""
    rules = [
        *blocks.aggregator("acoustic_aggregator", "acoustic_aggregator"),
        *blocks.aggregator("semantic_aggregator", "semantic_aggregator"),
        *blocks.mimi("bottleneck_transformer", "bottleneck"),
    ]
    return _params(rules)


def spatial_mapping(cfg: SpatialMapConfig) -> list[Rule | Constant]:
    """The mapping of mono to stereo of HCodec-Spatial."""
    torch, ours = "spatial_mapping", "spatial_mapping"
    tables = {"az_emb": "azimuth", "el_emb": "elevation", "dis_emb": "distance"}
    rules = [Rule(f"{torch}.{theirs}.weight", f"{ours}/{name}") for theirs, name in tables.items()]
    for i in range(2):
        rules += blocks.dense(f"{torch}.cond_proj.{2 * i}", f"{ours}/condition_{i}")
    for name in ("scale", "shift", "gate"):
        for i in range(3):
            rules += blocks.dense(f"{torch}.to_{name}.net.{2 * i}", f"{ours}/{name}/dense_{i}")
    plain = {"mid_in": "mid_in", "sem_in": "semantic_in", "side_base": "side_base", "cross_gate": "cross_gate"}
    for theirs, name in (*plain.items(), ("out", "out")):
        rules += blocks.dense(f"{torch}.{theirs}", f"{ours}/{name}", POINTWISE)
    block, path = f"{torch}.blocks.{{i}}", f"{ours}/blocks_{{i}}"
    rules += blocks.norm(f"{block}.gn", f"{path}/norm")
    rules += blocks.dense(f"{block}.dw", f"{path}/dwconv", DEPTHWISE)
    rules += blocks.dense(f"{block}.pw", f"{path}/gated", POINTWISE)
    rules += [*blocks.norm(f"{torch}.out_gn", f"{ours}/out_norm"), Rule(f"{torch}.out_scale", f"{ours}/out_scale")]
    return _params(rules)


def spatial(cfg: HCodecConfig) -> list[Rule | Constant]:
    """The third stream of HCodec-Spatial; none for a mono codec."""
    if cfg.spatial is None:
        return []
    rules = [
        *seanet_encoder(cfg.spatial.encoder, "spatial_encoder"),
        *quantizer("spatial_quantizer", "spatial_quantizer"),
    ]
    if cfg.spatial.mapping is None:
        return rules
    shape = (cfg.spatial.quantizer.dim, 1, cfg.spatial.mapping.smoothing)
    taps = Constant("spatial_mapping.lowpass.dw.weight", lambda: np.full(shape, 1 / shape[-1], np.float32))
    return [*rules, *spatial_mapping(cfg.spatial.mapping), taps]


def acoustic_encoder(cfg: SeanetEncoderConfig | SpectralEncoderConfig) -> list[Rule | Constant]:
    """The acoustic encoder of any version."""
    return seanet_encoder(cfg) if isinstance(cfg, SeanetEncoderConfig) else spectral_encoder(cfg)


def table(cfg: HCodecConfig) -> list[Rule | Constant]:
    """Rules of a codec."""
    return [
        *acoustic_encoder(cfg.encoder),
        *spectral_decoder(cfg.decoder),
        *semantic(cfg.semantic),
        *quantizer("quantizer", "quantizer"),
        *quantizer("semantic_quantizer", "semantic_quantizer"),
        *([] if cfg.aggregation is None else aggregation()),
        *spatial(cfg),
    ]


def abstract_variables(cfg: HCodecConfig) -> dict[str, Any]:
    """Shapes of the codec's variables, {'params': ..., 'codebooks': ...}."""
    return jax.tree.map(lambda shape: shape, _traced_variables(cfg))  # a copy of the cached dicts


@functools.lru_cache(maxsize=16)
def _traced_variables(cfg: HCodecConfig) -> dict[str, Any]:
    """Cached `abstract_variables`; tracing a codec takes seconds."""
    wave = jax.ShapeDtypeStruct(wave_shape(cfg, 1, 2 * cfg.frame_hop), jnp.float32)
    features = jax.ShapeDtypeStruct((1, 2 * cfg.semantic.stride, cfg.semantic.feature_dim), jnp.float32)
    return nn.meta.unbox(jax.eval_shape(HCodec(cfg).init, jax.random.key(0), wave, features))


def flatten(variables: Mapping[str, Any]) -> dict[str, Any]:
    """Flattens nested variables to {'params/encoder/...': leaf}; fields of named tuples are one level."""

    def named(tree):
        if hasattr(tree, "_asdict"):
            tree = tree._asdict()
        return {k: named(v) for k, v in tree.items()} if isinstance(tree, Mapping) else tree

    return flax.traverse_util.flatten_dict(named(variables), sep="/")


def import_hcodec(
    cfg: HCodecConfig,
    tensors: MutableMapping[str, Any],
    consume: bool = False,
    place: Callable[[np.ndarray], Any] = np.asarray,
) -> dict[str, Any]:
    """Converts a PyTorch state dict; UnmatchedError unless every tensor has a counterpart.

    consume: empty `tensors` on the way, so that memory holds the weights once. place: applied to each finished array,
    one at a time, such as `on_device`.
    """
    abstract = abstract_variables(cfg)
    flat = import_tensors(table(cfg), tensors, {k: v.shape for k, v in flatten(abstract).items()}, consume, place)
    return jax.tree_util.tree_map_with_path(lambda path, _: flat[leaf_name(path)], abstract)


def on_device(array: np.ndarray) -> jax.Array:
    """Copies an array to the default device and waits, so that its memory on the host can be reused."""
    return jax.device_put(np.asarray(array, order="C")).block_until_ready()


def export_hcodec(
    cfg: HCodecConfig, variables: Mapping[str, Any], contiguous: bool = True, consume: bool = False
) -> dict[str, np.ndarray]:
    """Converts the codec's variables to a PyTorch state dict, including buffers.

    contiguous: False returns views where possible. consume: empty `variables` (a dict) on the way, so that memory holds
    the weights once.
    """
    modules = {"acoustic": "quantizer", "semantic": "semantic_quantizer", "spatial": "spatial_quantizer"}
    initted = {
        f"{modules[stream]}.layers.{{i}}._codebook.initted": tuple(
            f"{modules[stream]}.layers.{i}._codebook.initted" for i in range(q.num_codebooks)
        )
        for stream, q in cfg.quantizers.items()
    }
    flat = flatten(variables)
    if consume:
        assert isinstance(variables, MutableMapping)
        variables.clear()
    return export_tensors(table(cfg), flat, initted, contiguous)


@functools.cache
def torch_shapes(cfg: HCodecConfig) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the codec's PyTorch state dict, without allocating it."""
    empty = jax.tree.map(lambda s: np.broadcast_to(np.float32(0), s.shape), abstract_variables(cfg))
    return {name: array.shape for name, array in export_hcodec(cfg, empty, contiguous=False).items()}


def match_variant(tensors: Mapping[str, Any], variant: str = "") -> HCodecConfig:
    """The variant of a PyTorch state dict, by its names and shapes.

    variant: name recorded in the file, which selects among variants of the same shapes (by default the one with the
    published front end). UnmatchedError if none matches, with the differences from the closest one.
    """
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if variant in VARIANTS and torch_shapes(VARIANTS[variant]) == shapes:
        return VARIANTS[variant]
    distances = {}
    for cfg in dict.fromkeys(published_front_end(cfg) for cfg in VARIANTS.values()):
        expected = torch_shapes(cfg)
        if expected == shapes:
            return cfg
        distances[cfg.name] = len(set(expected.items()) ^ set(shapes.items()))
    name = min(distances, key=lambda name: distances[name])
    expected = torch_shapes(VARIANTS[name])
    wrong = [f"{n} is {shapes[n]}, not {expected[n]}" for n in expected if n in shapes and shapes[n] != expected[n]]
    problems = {
        "not in the file": [n for n in expected if n not in shapes],
        "unknown": [n for n in shapes if n not in expected],
        "of another shape": wrong,
    }
    text = "; ".join(f"{len(names)} {what}: {listed(names)}" for what, names in problems.items() if names)
    raise UnmatchedError(f"no known codec has these tensors. The closest is {name}: {text}")


def leaf_name(key_path) -> str:
    """The key path of a leaf as 'params/encoder/...'."""
    return "/".join(str(getattr(k, "key", getattr(k, "name", k))) for k in key_path)

"""A checkout of the public PyTorch code beside ours: the same weights, the same audio, output by output.

The original's parts are driven by the names of its state dict (encoder, semantic_encoder,
quantizer, ...), so nothing of its top-level class is relied on but that it can be built.
"""

import dataclasses
import importlib
import inspect
import pathlib
import sys
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from quarkaudio_jax.bridge.hcodec import export_hcodec, table, torch_shapes
from quarkaudio_jax.bridge.rules import Rule, match_torch
from quarkaudio_jax.codec.hcodec import HCodec, HCodecConfig, expand_codes
from quarkaudio_jax.codec.spectral import SpectralEncoderConfig
from quarkaudio_jax.errors import QuarkAudioError
from quarkaudio_jax.nn.stack import STACKED, unstack_params
from quarkaudio_jax.types import Codes

OWN_OUTPUT = ("qkv", "scale1", "scale2")
"""Parameters that we hold in a module larger than PyTorch's: their outputs are not comparable."""


class UpstreamError(QuarkAudioError, ValueError):
    """A checkout that can't be used."""


@dataclasses.dataclass(frozen=True)
class Compared:
    """One output. difference: largest, as a share of the largest value, or share of codes; equal: that of equal codes, or None.

    own: how far the original is from itself where only its STFT is computed in float64; 0 where there is none.
    judged: False for codes that hang on that rounding.
    """

    name: str
    difference: float
    equal: float | None = None
    own: float = 0.0
    judged: bool = True

    def holds(self, tolerance: float, min_equal: float) -> bool:
        """Whether both sides agree; values may differ by twice what the original's own rounding does."""
        if self.equal is None:
            return self.difference <= max(tolerance, 2 * self.own)
        return self.equal >= min_equal or not self.judged


def place(cfg: HCodecConfig) -> tuple[str, str]:
    """(folder in the repository, module) of the original's class."""
    if cfg.sample_rate == 48000:
        return "QuarkAudio-HCodec/HCodec-2.0", "vq.codec"
    if cfg.aggregation is not None:
        return "QuarkAudio-HCodec/HCodec-1.5", "vq.codec_adaptive"
    return "QuarkAudio-HCodec/HCodec-1.0", "vq.codec"


def arguments(cfg: HCodecConfig) -> dict[str, Any]:
    """The original's constructor arguments for this codec (1.0 has none that it reads)."""
    quantizer, semantic = cfg.acoustic_quantizer, cfg.semantic
    vq = dict(dim=quantizer.dim, codebook_size=quantizer.codebook_size, num_quantizers=quantizer.num_codebooks)
    vq |= dict(decay=quantizer.decay, kmeans_init=True, kmeans_iters=quantizer.kmeans_iters)
    branch = dict(channel_ratios=list(semantic.channel_ratios), strides=list(semantic.strides))
    into = dict(input_channels=semantic.feature_dim, encode_channels=semantic.channels, out_channels=semantic.dim)
    back = dict(code_dim=semantic.dim, output_channels=semantic.feature_dim, decode_channels=semantic.channels)
    decoder = dict(input_channels=2 * semantic.dim, dim=cfg.decoder.dim, intermediate_dim=cfg.decoder.hidden)
    if cfg.sample_rate == 48000:
        stft = dict(n_fft=cfg.encoder.n_fft, hop_length=cfg.encoder.hop, target_frame_rate=cfg.frame_rate, causal=False)
        encoder = dict(dim=cfg.encoder.dim, intermediate_dim=cfg.encoder.hidden, dimension=cfg.encoder.out_dim)
        layers = dict(transformer_layers=cfg.encoder.transformer_layers)
        return {
            "sampling_rate": cfg.sample_rate,
            "encoder_config": encoder | stft | layers | {"convnext_layers": cfg.encoder.convnext_layers},
            "decoder_config": decoder | stft | layers | {"convnext_layers": cfg.decoder.convnext_layers},
            "quantizer_config": vq | {"quantize_dropout": False},
            "semantic_encoder_config": into | branch,
            "semantic_decoder_config": back | branch,
        }
    if cfg.aggregation is None:
        return {}
    vq |= {"quantize_dropout": True}
    strides = list(reversed(cfg.encoder.strides))
    seanet = dict(causal=False, n_residual_layers=1, norm="weight_norm", pad_mode="reflect", channels=1, ratios=strides)
    seanet |= dict(dimension=cfg.encoder.out_dim, n_filters=cfg.encoder.filters, activation="ELU", kernel_size=7)
    seanet |= dict(residual_kernel_size=3, last_kernel_size=7, dilation_base=2, true_skip=False, compress=2, lstm=6)
    pool, mix = cfg.aggregation.aggregator, cfg.aggregation.bottleneck
    query = dict(dim=pool.dim, in_out_dim=semantic.dim, num_heads=pool.num_heads, num_layers=pool.num_layers)
    query |= dict(dim_feedforward=pool.hidden, causal=False, use_mean_pooling_init=True, context_frames=16)
    transformer = dict(d_model=mix.dim, num_heads=mix.num_heads, num_layers=mix.num_layers, causal=False, context=16)
    transformer |= dict(layer_scale=mix.layer_scale, conv_layout=True, max_period=10000, gating="none")
    transformer |= dict(norm="layer_norm", positional_embedding="rope", dim_feedforward=mix.hidden)
    transformer |= dict(input_dimension=mix.dim, output_dimensions=[mix.dim])
    low, high = cfg.aggregation.train_thresholds or (cfg.aggregation.threshold, 1.0)
    return {
        "encoder_config": {
            "ratios": strides,
            "encoder": seanet | {"use_transformer": True},
            "semantic_encoder": into | branch,
        },
        "decoder_config": {"decoder": decoder, "semantic_decoder": back | branch},
        "quantizer_config": {"quantizer": vq, "semantic_quantizer": vq},
        "adaptive_config": {
            "training": False,
            "use_similarity_alignment": True,
            "use_dynamic_similarity_threshold": False,
            "infer_using_dynamic_threshold": False,
            "similarity_threshold": low,
            "similarity_threshold_lower": low,
            "similarity_threshold_upper": high,
            "max_tokens_per_group": cfg.aggregation.max_group,
            "manual_threshold": cfg.aggregation.threshold,
            "use_query_token_aggregator": True,
            "aggregators": {"semantic_aggregator": query, "acoustic_aggregator": query},
            "use_bottleneck_transformer": True,
            "transformer_kwargs": transformer,
        },
    }


def load_upstream(checkout: str | pathlib.Path, cfg: HCodecConfig, variables: Mapping[str, Any]):
    """The original's model in evaluation mode, with our weights loaded strictly.

    UpstreamError if there is no such module or class in the checkout, or if it does not take
    the weights; the class is the one of its module with an encoder and a decoder.
    """
    import torch

    folder, name = place(cfg)
    root = pathlib.Path(checkout)
    root = root / folder if (root / folder).is_dir() else root
    path = root / (name.replace(".", "/") + ".py")
    if not path.is_file():
        raise UpstreamError(f"{path}: no such file; --upstream should be a checkout of alibaba/unified-audio")
    sys.path.insert(0, str(root))
    try:
        module = importlib.import_module(name)
    except ImportError as error:
        raise UpstreamError(f"{path} can't be imported ({error}); install what the checkout asks for") from error
    finally:
        sys.path.remove(str(root))
    state = {k: torch.from_numpy(v) for k, v in export_hcodec(cfg, variables).items()}
    known, reasons = arguments(cfg), []
    known |= {name.replace("_config", "_kwargs"): value for name, value in known.items()}  # as classes call them
    for kind in vars(module).values():
        if not (inspect.isclass(kind) and issubclass(kind, torch.nn.Module) and kind.__module__ == name):
            continue
        wanted = inspect.signature(kind.__init__).parameters.values()
        needed = [p.name for p in wanted if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD]
        chosen = {p.name: known[p.name] for p in wanted if p.name in known}
        try:
            model = kind(**{n: None for n in needed if n != "self"} | chosen)
        except Exception as error:  # whatever another project's constructor raises
            reasons.append(f"{kind.__name__}: {error}")
            continue
        if not (hasattr(model, "encoder") and hasattr(model, "decoder")):
            continue
        try:
            model.load_state_dict(state, strict=True)
        except RuntimeError as error:
            reasons.append(f"{kind.__name__}: {str(error).splitlines()[0]} {' '.join(str(error).split()[-12:])}")
            continue
        return model.eval()
    raise UpstreamError(f"{path}: no class took the weights of {cfg.name} ({'; '.join(reasons) or 'none found'})")


def _first(output):
    while isinstance(output, list | tuple):
        output = output[0]
    return output


class Watched:
    """Runs parts of the original and keeps every submodule's first output, in order."""

    def __init__(self, model):
        import torch

        self._torch, self.model, self.outputs = torch, model, {}
        for name, module in model.named_modules():
            module.register_forward_hook(lambda _, __, out, name=name: self._keep(name, _first(out)))

    def _keep(self, name: str, output) -> None:
        if hasattr(output, "detach") and name not in self.outputs:
            self.outputs[name] = output.detach().numpy()

    def __call__(self, part: str, *inputs) -> Any:
        """What a part gives for NumPy inputs."""
        tensors = [self._torch.from_numpy(np.array(x)) if isinstance(x, np.ndarray | jax.Array) else x for x in inputs]
        with self._torch.inference_mode():
            return self.model.get_submodule(part)(*tensors)


def _channels_last(x) -> np.ndarray:
    return _first(x).detach().numpy().swapaxes(1, 2)


def _with_exact_stft(cfg: HCodecConfig, model, wave_BxS: np.ndarray) -> np.ndarray:
    """The original's acoustic embedding (B, D, T), its STFT in float64."""
    import torch

    def exact(module, inputs, _):
        wave, window = inputs[0].double(), module.window.double()
        cut = dict(n_fft=cfg.encoder.n_fft, hop_length=cfg.encoder.hop, center=False, return_complex=True)
        return torch.stft(wave, window=window, **cut).to(torch.complex64)

    hook = model.get_submodule("encoder.stft").register_forward_hook(exact)
    try:
        with torch.inference_mode():
            return _first(model.get_submodule("encoder")(torch.from_numpy(np.array(wave_BxS)))).numpy()
    finally:
        hook.remove()


def _relative(ours, theirs) -> float:
    theirs = np.asarray(theirs)
    return float(np.abs(np.asarray(ours) - theirs).max() / max(np.abs(theirs).max(), 1e-9))


def compare(
    cfg: HCodecConfig,
    variables: Mapping[str, Any],
    model,
    wave_BxS: np.ndarray,
    features_BxTxD: np.ndarray,
    tolerance: float,
) -> tuple[list[Compared], str | None]:
    """Every output of one recording, and the first module where the two sides part by more than `tolerance`."""
    codec, watched = HCodec(cfg, scan=False), Watched(model)
    variables = {**variables, "params": unstack_params(variables["params"])}
    captured: dict[str, np.ndarray] = {}

    def ours(method, *args):
        out, found = codec.apply(variables, *args, method=method, capture_intermediates=True, mutable=["intermediates"])
        for path, leaf in jax.tree_util.tree_leaves_with_path(found.get("intermediates", {})):
            name = "/".join(str(getattr(k, "key", k)) for k in path if getattr(k, "key", "") != "__call__")
            captured.setdefault(name.rsplit("/[", 1)[0].removesuffix("/0"), leaf)
        return out

    def vectors(x):
        return np.asarray(x).swapaxes(1, 2)

    frames = ours("encode_frames", wave_BxS, features_BxTxD)
    wave = wave_BxS[:, None] if cfg.sample_rate == 16000 else wave_BxS
    theirs = (
        _channels_last(watched("encoder", wave)),
        _channels_last(watched("semantic_encoder", vectors(features_BxTxD))),
    )
    rounding = own_codes = 0.0
    if isinstance(cfg.encoder, SpectralEncoderConfig):
        exact = np.ascontiguousarray(_with_exact_stft(cfg, model, wave).swapaxes(1, 2))
        rounding = _relative(exact, theirs[0])
        plain, other = (watched("quantizer", np.ascontiguousarray(x))[1].numpy() for x in (theirs[0], exact))
        own_codes = float((plain != other).mean())
    results = [
        Compared("acoustic embedding", _relative(frames.acoustic_BxTxD, theirs[0]), None, rounding),
        Compared("semantic embedding", _relative(frames.semantic_BxTxD, theirs[1])),
    ]
    emb, streams = frames, theirs
    if cfg.aggregation is not None:
        emb = ours("embed", wave_BxS, features_BxTxD)
        count = int(emb.mask_BxT.sum())
        alignment = np.asarray(jax.nn.one_hot(emb.groups.segment_BxT, count)).swapaxes(1, 2)
        streams = tuple(
            _channels_last(watched(f"{s}_aggregator", vectors(x), alignment, [count]))
            for s, x in zip(("acoustic", "semantic"), theirs, strict=True)
        )
        mine = emb.acoustic_BxTxD[:, :count], emb.semantic_BxTxD[:, :count]
        for stream, a, b in zip(("acoustic", "semantic"), mine, streams, strict=True):
            results.append(Compared(f"{stream} groups (grouped as ours)", _relative(a, b)))
    codes = codec.apply(variables, emb, method="quantize")
    used = streams[0].shape[1]
    pairs = (("acoustic", "quantizer", codes.acoustic_BxTxK), ("semantic", "semantic_quantizer", codes.semantic_BxTxK))
    for (stream, part, mine), x in zip(pairs, streams, strict=True):
        indices = watched(part, np.ascontiguousarray(x))[1].numpy()
        equal = float((np.asarray(mine)[:, :used] == indices).mean())
        hang = stream == "acoustic" and rounding > tolerance
        results.append(Compared(f"{stream} codes", 1 - equal, equal, own_codes if hang else 0.0, not hang))
        if hang:
            indices = watched(part, np.asarray(frames.acoustic_BxTxD))[1].numpy()
            equal = float((np.asarray(mine) == indices).mean())
            results.append(Compared("acoustic codes of the same embedding", 1 - equal, equal))
    plain = Codes(codes.acoustic_BxTxK, codes.semantic_BxTxK, cfg.frame_rate, None, codes.durations_BxT)
    total = frames.acoustic_BxTxD.shape[1]
    acoustic, semantic = ours("dequantize", expand_codes(plain, total))
    mixed = np.concatenate([vectors(acoustic), vectors(semantic)], axis=1)
    if cfg.aggregation is not None:
        mixed = _first(watched("bottleneck_transformer", mixed)).numpy()
    wave = _first(watched("decoder", mixed)).numpy().reshape(wave_BxS.shape)
    results.append(Compared("wave of the same codes", _relative(ours("synthesize", acoustic, semantic), wave)))
    predicted = _channels_last(watched("semantic_decoder", vectors(semantic)))
    results.append(Compared("features of the same codes", _relative(ours("predict_features", semantic), predicted)))
    return results, _first_parting(cfg, watched.outputs, captured, tolerance)


def _first_parting(cfg: HCodecConfig, theirs: Mapping, ours: Mapping, tolerance: float) -> str | None:
    """The first of the original's modules, in order of execution, whose output ours does not give."""
    pairs = {}
    rules = [rule for rule in table(cfg) if isinstance(rule, Rule)]
    for name, path, layer in match_torch(rules, list(torch_shapes(cfg))):
        head, _, leaf = path.replace(f"/{STACKED}/", f"/{STACKED}_{layer}/").rpartition("/")
        if leaf not in OWN_OUTPUT and head.startswith("params/"):
            pairs[name.rpartition(".")[0]] = head.removeprefix("params/")
    for name, output in theirs.items():
        mine = ours.get(pairs.get(name, ""))
        if mine is None:
            continue
        mine = np.asarray(mine)
        if mine.shape != output.shape and mine.ndim == 3:
            mine = mine.swapaxes(1, 2)
        if mine.shape == output.shape and not _relative(mine, output) <= tolerance:
            return f"{name} (ours: {pairs[name]}), off by {_relative(mine, output):.1e}"
    return None

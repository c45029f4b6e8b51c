"""Comparison with the public PyTorch code on the same weights and audio, output by output.

The original's submodules are called by the names in its state dict (encoder, semantic_encoder, quantizer, ...), so that the
interface of its top-level class does not matter.
"""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from quarkaudio_jax.codec.hcodec import HCodec, HCodecConfig, expand_codes
from quarkaudio_jax.codec.spectral import SpectralEncoderConfig
from quarkaudio_jax.nn.stack import STACKED, unstack_params
from quarkaudio_jax.nn.stft import stft
from quarkaudio_jax.ssl.features import SSL_MARGIN, SSL_RATE, Extractor
from quarkaudio_jax.types import Codes
from quarkaudio_jax.weights.hcodec import table, torch_shapes
from quarkaudio_jax.weights.rules import Rule, match_torch
from quarkaudio_jax.weights.upstream import RecordedModel, first

OWN_OUTPUT = ("qkv", "scale1", "scale2")
"""Parameters that are in a larger module here than in PyTorch, so that the modules' outputs are not comparable."""

STREAMS = (("acoustic", "quantizer"), ("semantic", "semantic_quantizer"))
SLACK = 2.0
"""Maximum difference, as a multiple of the original's own difference from its float64 result."""


@dataclasses.dataclass(frozen=True)
class Comparison:
    """The comparison of one output.

    difference: maximum, relative to the largest value. equal: share of equal codes, or None. part: the original's
    module. own: the difference or share of equal codes of the original and its float64 result, for outputs that depend
    on rounding: of the STFT (computed in float64) or of distances (`exact_codes`). exact: must be equal, as both sides
    only look values up.
    """

    name: str
    difference: float
    equal: float | None = None
    part: str = ""
    own: float | None = None
    exact: bool = False

    def holds(self, tolerance: float, min_equal: float) -> bool:
        """Whether both sides agree, within the tolerance or within `SLACK` times `own`."""
        if self.exact:
            return self.difference == 0
        if self.equal is None:
            return self.difference <= max(tolerance, SLACK * (self.own or 0.0))
        return self.equal >= min(min_equal, 1 - SLACK * (1 - (1.0 if self.own is None else self.own)))


class RecordedCodec:
    """Our codec; records the first output of every submodule by path."""

    def __init__(self, cfg: HCodecConfig, variables: Mapping[str, Any]):
        self.codec, self.variables = HCodec(cfg, scan=False), variables
        self.outputs: dict[str, Any] = {}

    def __call__(self, method: str, *args) -> Any:
        """Calls a method of the codec."""
        out, found = self.codec.apply(
            self.variables, *args, method=method, capture_intermediates=True, mutable=["intermediates"]
        )
        for path, leaf in jax.tree_util.tree_leaves_with_path(found.get("intermediates", {})):
            name = "/".join(str(getattr(k, "key", k)) for k in path if getattr(k, "key", "") != "__call__")
            self.outputs.setdefault(name.rsplit("/[", 1)[0].removesuffix("/0"), leaf)
        return out


def _channels_last(x) -> np.ndarray:
    return first(x).detach().numpy().swapaxes(1, 2)


def _channels_first(x) -> np.ndarray:
    return np.asarray(x).swapaxes(1, 2)


def _relative(ours, theirs) -> float:
    theirs = np.asarray(theirs)
    return float(np.abs(np.asarray(ours) - theirs).max() / max(np.abs(theirs).max(), 1e-9))


def unstacked(variables: Mapping[str, Any]) -> dict[str, Any]:
    """Variables with the parameters of stacked layers split by layer, as in the original."""
    return {**variables, "params": unstack_params(variables["params"])}


def compare(
    cfg: HCodecConfig,
    variables: Mapping[str, Any],
    model,
    wave_BxS: np.ndarray,
    features_BxTxD: np.ndarray,
    tolerance: float,
) -> list[Comparison]:
    """Compares all outputs of one recording; `part` names the first module that differs by more than `tolerance`.

    variables: with `unstacked` parameters.
    """
    ours, watched = RecordedCodec(cfg, variables), RecordedModel(model)
    results = compare_codebooks(cfg, ours.variables["codebooks"], watched)
    frames = ours("encode_frames", wave_BxS, features_BxTxD)
    wave = wave_BxS[:, None] if cfg.sample_rate == 16000 else wave_BxS
    if isinstance(cfg.encoder, SpectralEncoderConfig):
        acoustic = _compare_spectral(cfg, watched, wave, frames.acoustic_BxTxD, results)
    else:
        acoustic = _channels_last(watched("encoder", wave))
        results.append(Comparison("acoustic embedding", _relative(frames.acoustic_BxTxD, acoustic), part="encoder"))
    semantic = _channels_last(watched("semantic_encoder", _channels_first(features_BxTxD)))
    difference = _relative(frames.semantic_BxTxD, semantic)
    results.append(Comparison("semantic embedding", difference, part="semantic_encoder"))
    emb = frames
    streams: tuple[np.ndarray, ...] = (acoustic, semantic)
    mine = frames.acoustic_BxTxD, frames.semantic_BxTxD
    if cfg.aggregation is not None:
        emb = ours("embed", wave_BxS, features_BxTxD)
        count = int(emb.mask_BxT.sum())
        alignment = np.asarray(jax.nn.one_hot(emb.groups.segment_BxT, count)).swapaxes(1, 2)
        counts = np.asarray([count], np.int64)
        streams = tuple(
            _channels_last(watched(f"{s}_aggregator", _channels_first(x), alignment, counts))
            for (s, _), x in zip(STREAMS, streams, strict=True)
        )
        mine = emb.acoustic_BxTxD[:, :count], emb.semantic_BxTxD[:, :count]
        for (stream, _), a, b in zip(STREAMS, mine, streams, strict=True):
            results.append(
                Comparison(f"{stream} groups (grouped as ours)", _relative(a, b), part=f"{stream}_aggregator")
            )
    codes = ours("quantize", emb)
    both = codes.acoustic_BxTxK, codes.semantic_BxTxK
    for (stream, part), k, x, own in zip(STREAMS, both, mine, streams, strict=True):
        exact = exact_codes(ours.variables["codebooks"][part]["books"].embed_KxVxD, x)
        for name, y in ((f"{stream} codes (our embedding)", x), (f"{stream} codes", own)):
            theirs = _codes(watched, part, np.asarray(y))
            results.append(_compare_codes(name, part, k, theirs, float((theirs == exact).mean())))
    plain = Codes(*both, cfg.frame_rate, None, codes.durations_BxT)
    plain = expand_codes(plain, frames.acoustic_BxTxD.shape[1])
    vectors = ours("dequantize", plain)
    for (stream, part), x, k in zip(STREAMS, vectors, (plain.acoustic_BxTxK, plain.semantic_BxTxK), strict=True):
        theirs = watched(part, np.asarray(k, np.int64), method="get_output_from_indices").numpy()
        results.append(Comparison(f"{stream} vectors of the same codes", _relative(x, theirs), part=part))
    mixed = np.concatenate([_channels_first(x) for x in vectors], axis=1)
    if cfg.aggregation is not None:
        mixed = first(watched("bottleneck_transformer", mixed)).numpy()
        difference = _relative(ours("concat_streams", *vectors), _channels_first(mixed))
        results.append(Comparison("bottleneck of the same codes", difference, part="bottleneck_transformer"))
    wave = first(watched("decoder", mixed)).numpy().reshape(wave_BxS.shape)
    results.append(Comparison("wave of the same codes", _relative(ours("synthesize", *vectors), wave), part="decoder"))
    predicted = _channels_last(watched("semantic_decoder", _channels_first(vectors[1])))
    difference = _relative(ours("predict_features", vectors[1]), predicted)
    results.append(Comparison("features of the same codes", difference, part="semantic_decoder"))
    watched.close()
    off = differences(cfg, watched.outputs, ours.outputs)
    found = {name: text for name, (difference, text) in off.items() if not difference <= tolerance}
    worst = max((difference for difference, _ in off.values()), default=0.0)
    results.append(Comparison(f"each of {len(off)} modules", worst, part=next(iter(found.values()), "")))
    return [row if row.exact else dataclasses.replace(row, part=_located(row.part, found)) for row in results]


def _located(part: str, found: Mapping[str, str]) -> str:
    """The first differing module within a part of the original; else the first of all, or the part."""
    within = (text for name, text in found.items() if name == part or name.startswith(f"{part}."))
    return next(
        within, next(iter(found.values()), part) if part.startswith(("quantizer", "semantic_quantizer")) else part
    )


def compare_codebooks(cfg: HCodecConfig, codebooks: Mapping[str, Any], watched: RecordedModel) -> list[Comparison]:
    """Compares every entry of every codebook by the original's lookup; the part is the first codebook that differs."""
    rows = []
    sizes = cfg.acoustic_quantizer, cfg.semantic_quantizer
    for (stream, part), size in zip(STREAMS, sizes, strict=True):
        every = np.broadcast_to(
            np.arange(size.codebook_size)[None, :, None], (1, size.codebook_size, size.num_codebooks)
        )
        theirs = watched(part, every, method="get_codes_from_indices").numpy()[:, 0]
        mine = np.asarray(codebooks[part]["books"].embed_KxVxD)
        off = [_relative(a, b) for a, b in zip(mine, theirs, strict=True)]
        first = next((i for i, x in enumerate(off) if x), None)
        where = part
        if first is not None:
            entry = int(np.abs(mine[first] - theirs[first]).max(-1).argmax())
            where = f"{part}.layers.{first}._codebook (entry {entry}), off by {off[first]:.1e}"
        rows.append(Comparison(f"{stream} codebooks", max(off), part=where, exact=True))
    return rows


def _codes(watched: RecordedModel, part: str, x_BxTxD: np.ndarray) -> np.ndarray:
    return watched(part, np.ascontiguousarray(x_BxTxD))[1].numpy()


def exact_codes(books_KxVxD, x_BxTxD) -> np.ndarray:
    """Codes (B, T, K) of a residual nearest-neighbor search in float64.

    Where two entries are equally near in float32's precision, either code is right.
    """
    residual, codes = np.asarray(x_BxTxD, np.float64), []
    for book_VxD in np.asarray(books_KxVxD, np.float64):
        codes.append(((book_VxD**2).sum(-1) - 2 * residual @ book_VxD.T).argmin(-1))
        residual = residual - book_VxD[codes[-1]]
    return np.stack(codes, -1)


def _compare_codes(name: str, part: str, ours, theirs: np.ndarray, own: float | None = None) -> Comparison:
    """Compares codes; the part is the first codebook that differs, after which the residuals differ."""
    same = np.asarray(ours)[:, : theirs.shape[1]] == theirs
    first = next((k for k in range(same.shape[-1]) if not same[..., k].all()), None)
    return Comparison(
        name, 1 - float(same.mean()), float(same.mean()), part if first is None else f"{part}.layers.{first}", own
    )


def compare_arrays(name: str, part: str, ours: np.ndarray, theirs: np.ndarray) -> Comparison:
    """Compares real values."""
    return Comparison(name, _relative(ours, theirs), part=part)


def compare_ids(name: str, part: str, ours: np.ndarray, theirs: np.ndarray) -> Comparison:
    """Compares generated ids (N,)."""
    equal = float((ours == theirs).mean()) if ours.shape == theirs.shape else 0.0
    return Comparison(name, 1 - equal, equal, part)


def _compare_spectral(cfg: HCodecConfig, watched: RecordedModel, wave_BxS, acoustic_BxTxD, results: list) -> np.ndarray:
    """Compares H-Codec 2.0's acoustic encoder on our spectrum, where it must agree, and on its own.

    Phases of bins without energy are rounding noise, so the result on its own spectrum is compared with the original's
    with its STFT in float64. Returns the original's embedding of our spectrum.
    """
    assert isinstance(cfg.encoder, SpectralEncoderConfig)
    pad = (cfg.encoder.n_fft - cfg.encoder.hop) // 2
    spectrum = stft(jnp.pad(jnp.asarray(wave_BxS), ((0, 0), (pad, pad))), cfg.encoder.n_fft, cfg.encoder.hop)
    with watched.spectrum(_channels_first(spectrum)):
        same = _channels_last(watched("encoder", wave_BxS))
    results.append(Comparison("acoustic embedding (our spectrum)", _relative(acoustic_BxTxD, same), part="encoder"))
    alone = RecordedModel(watched.model)
    own = _channels_last(alone("encoder", wave_BxS))
    theirs = alone.outputs["encoder.stft"]
    results.append(Comparison("spectrum", _relative(_channels_first(spectrum), theirs), part="encoder.stft"))
    with alone.double_stft():
        double = _channels_last(alone("encoder", wave_BxS))
    codes, exact = _codes(alone, "quantizer", own), _codes(alone, "quantizer", double)
    alone.close()
    results.append(
        Comparison("acoustic embedding", _relative(acoustic_BxTxD, own), part="encoder", own=_relative(double, own))
    )
    mine = _codes(watched, "quantizer", np.asarray(acoustic_BxTxD))
    results.append(
        _compare_codes("acoustic codes (its spectrum)", "quantizer", mine, codes, float((codes == exact).mean()))
    )
    return same


def differences(cfg: HCodecConfig, theirs: Mapping, ours: Mapping) -> dict[str, tuple[float, str]]:
    """(relative difference, description) of the outputs of each of the original's modules, in order of execution."""
    pairs, found = {}, {}
    rules = [rule for rule in table(cfg) if isinstance(rule, Rule)]
    for name, path, layer in match_torch(rules, list(torch_shapes(cfg))):
        head, _, leaf = path.replace(f"/{STACKED}/", f"/{STACKED}_{layer}/").rpartition("/")
        if leaf not in OWN_OUTPUT and head.startswith("params/"):
            pairs[name.rpartition(".")[0]] = head.removeprefix("params/")
    for name, output in theirs.items():
        mine = ours.get(pairs.get(name, ""))
        if mine is None:
            continue
        mine = _fitted(np.asarray(mine), output.shape)
        if mine is not None:
            off = _relative(mine, output)
            found[name] = off, f"{name} (ours: {pairs[name]}), off by {off:.1e}"
    return found


def _fitted(mine: np.ndarray, shape: tuple[int, ...]) -> np.ndarray | None:
    """Our output in the original's layout without unused groups; None if the shapes do not match."""
    if mine.ndim == 3:
        for x in (mine, mine.swapaxes(1, 2)):
            cut = x[:, : shape[1], : shape[2]] if len(shape) == 3 else x
            if cut.shape == shape and (x.shape[1] == shape[1] or x.shape[2] == shape[2]):
                return cut
    return mine if mine.shape == shape else None


def compare_features(
    extractor: Extractor, folder: pathlib.Path, wave_S: np.ndarray, sample_rate: int, hop: int
) -> Comparison:
    """Compares the SSL features of one recording, with its length as an argument, with transformers' model."""
    import torch
    import transformers

    model = transformers.AutoModel.from_pretrained(folder).eval().float()
    assert extractor.cfg is not None
    recipe, lengths = extractor.recipe, jnp.asarray([len(wave_S)], jnp.int32)
    wave_BxS = jnp.asarray(wave_S)[None]
    ours = extractor(extractor.params, wave_BxS, sample_rate, hop, extractor.cfg.dim, lengths_B=lengths)
    wave = torch.from_numpy(np.array(wave_S))[None]
    if sample_rate != SSL_RATE:
        import torchaudio

        wave = torchaudio.transforms.Resample(sample_rate, SSL_RATE)(wave)
    with torch.inference_mode():
        padded = torch.nn.functional.pad(wave, (SSL_MARGIN, SSL_MARGIN))
        states = model(padded, output_hidden_states=True).hidden_states
    chosen = torch.stack([states[i] for i in recipe.layers or range(len(states))]).mean(0)
    # Comparison before the compression, which is steep at 0.
    mine, theirs = np.asarray(ours), chosen.numpy()
    mine = np.sign(mine) * np.abs(mine) ** (1 / 0.3) if recipe.compress else mine
    return Comparison(
        f"SSL features of {len(wave_S) / sample_rate:.1f} s", _relative(mine, theirs), part="the SSL model"
    )

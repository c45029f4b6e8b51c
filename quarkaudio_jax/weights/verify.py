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
from quarkaudio_jax.nn.stft import stft
from quarkaudio_jax.ssl.features import SSL_MARGIN, SSL_RATE, Extractor
from quarkaudio_jax.types import Codes
from quarkaudio_jax.weights.comparison import (
    Comparison,
    RecordedModule,
    channels_first,
    channels_last,
    compare_codes,
    compare_tables,
    module_pairs,
    relative,
    with_modules,
)
from quarkaudio_jax.weights.hcodec import table, torch_shapes
from quarkaudio_jax.weights.rules import Rule
from quarkaudio_jax.weights.upstream import RecordedModel, first

STREAMS = (("acoustic", "quantizer"), ("semantic", "semantic_quantizer"))


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
    ours, watched = RecordedModule(HCodec(cfg, scan=False), variables), RecordedModel(model)
    books = {part: stored["books"].embed_KxVxD for part, stored in ours.variables["codebooks"].items()}
    results = [compare_codebooks(stream, part, books[part], watched) for stream, part in STREAMS]
    frames = ours("encode_frames", wave_BxS, features_BxTxD)
    wave = wave_BxS[:, None] if cfg.sample_rate == 16000 else wave_BxS
    if isinstance(cfg.encoder, SpectralEncoderConfig):
        acoustic = _compare_spectral(cfg, watched, wave, frames.acoustic_BxTxD, results)
    else:
        acoustic = channels_last(watched("encoder", wave))
        results.append(Comparison("acoustic embedding", relative(frames.acoustic_BxTxD, acoustic), part="encoder"))
    semantic = channels_last(watched("semantic_encoder", channels_first(features_BxTxD)))
    difference = relative(frames.semantic_BxTxD, semantic)
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
            channels_last(watched(f"{s}_aggregator", channels_first(x), alignment, counts))
            for (s, _), x in zip(STREAMS, streams, strict=True)
        )
        mine = emb.acoustic_BxTxD[:, :count], emb.semantic_BxTxD[:, :count]
        for (stream, _), a, b in zip(STREAMS, mine, streams, strict=True):
            results.append(
                Comparison(f"{stream} groups (grouped as ours)", relative(a, b), part=f"{stream}_aggregator")
            )
    codes = ours("quantize", emb)
    both = codes.acoustic_BxTxK, codes.semantic_BxTxK
    for (stream, part), k, x, own in zip(STREAMS, both, mine, streams, strict=True):
        exact = exact_codes(books[part], x)
        for name, y in ((f"{stream} codes (our embedding)", x), (f"{stream} codes", own)):
            theirs = original_codes(watched, part, np.asarray(y))
            results.append(compare_codes(name, part, k, theirs, float((theirs == exact).mean())))
    plain = Codes(*both, cfg.frame_rate, None, codes.durations_BxT)
    plain = expand_codes(plain, frames.acoustic_BxTxD.shape[1])
    vectors = ours("dequantize", plain)
    for (stream, part), x, k in zip(STREAMS, vectors, (plain.acoustic_BxTxK, plain.semantic_BxTxK), strict=True):
        theirs = watched(part, np.asarray(k, np.int64), method="get_output_from_indices").numpy()
        results.append(Comparison(f"{stream} vectors of the same codes", relative(x, theirs), part=part))
    mixed = np.concatenate([channels_first(x) for x in vectors], axis=1)
    if cfg.aggregation is not None:
        mixed = first(watched("bottleneck_transformer", mixed)).numpy()
        difference = relative(ours("concat_streams", *vectors), channels_first(mixed))
        results.append(Comparison("bottleneck of the same codes", difference, part="bottleneck_transformer"))
    wave = first(watched("decoder", mixed)).numpy().reshape(wave_BxS.shape)
    results.append(Comparison("wave of the same codes", relative(ours("synthesize", *vectors), wave), part="decoder"))
    predicted = channels_last(watched("semantic_decoder", channels_first(vectors[1])))
    difference = relative(ours("predict_features", vectors[1]), predicted)
    results.append(Comparison("features of the same codes", difference, part="semantic_decoder"))
    watched.close()
    return with_modules(results, codec_pairs(cfg), watched.outputs, ours.outputs, tolerance)


def codec_pairs(cfg: HCodecConfig) -> dict[str, str]:
    """The modules of a codec: the original's name -> ours."""
    rules = [
        dataclasses.replace(rule, path=rule.path.removeprefix("params/"))
        for rule in table(cfg)
        if isinstance(rule, Rule) and rule.path.startswith("params/")
    ]
    return module_pairs(rules, torch_shapes(cfg))


def compare_codebooks(stream: str, part: str, books_KxVxD, watched: RecordedModel) -> Comparison:
    """Compares every entry of a stream's codebooks by the original's lookup; the part is the first codebook that differs."""
    mine = np.asarray(books_KxVxD)
    every = np.broadcast_to(np.arange(mine.shape[1])[None, :, None], (1, mine.shape[1], mine.shape[0]))
    theirs = watched(part, every, method="get_codes_from_indices").numpy()[:, 0]
    name = f"{stream} codebooks"
    found = [
        compare_tables(name, f"{part}.layers.{k}._codebook", a, b)
        for k, (a, b) in enumerate(zip(mine, theirs, strict=True))
    ]
    equal = Comparison(name, 0.0, part=part, exact=True)
    return next((row for row in found if row.difference), equal)


def original_codes(watched: RecordedModel, part: str, x_BxTxD: np.ndarray) -> np.ndarray:
    """Codes (B, T, K) of the original's quantizer `part`."""
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


def _compare_spectral(cfg: HCodecConfig, watched: RecordedModel, wave_BxS, acoustic_BxTxD, results: list) -> np.ndarray:
    """Compares H-Codec 2.0's acoustic encoder on our spectrum, where it must agree, and on its own.

    Phases of bins without energy are rounding noise, so the result on its own spectrum is compared with the original's
    with its STFT in float64. Returns the original's embedding of our spectrum.
    """
    assert isinstance(cfg.encoder, SpectralEncoderConfig)
    pad = (cfg.encoder.n_fft - cfg.encoder.hop) // 2
    spectrum = stft(jnp.pad(jnp.asarray(wave_BxS), ((0, 0), (pad, pad))), cfg.encoder.n_fft, cfg.encoder.hop)
    with watched.spectrum(channels_first(spectrum)):
        same = channels_last(watched("encoder", wave_BxS))
    results.append(Comparison("acoustic embedding (our spectrum)", relative(acoustic_BxTxD, same), part="encoder"))
    alone = RecordedModel(watched.model)
    own = channels_last(alone("encoder", wave_BxS))
    theirs = alone.outputs["encoder.stft"]
    results.append(Comparison("spectrum", relative(channels_first(spectrum), theirs), part="encoder.stft"))
    with alone.double_stft():
        double = channels_last(alone("encoder", wave_BxS))
    codes, exact = original_codes(alone, "quantizer", own), original_codes(alone, "quantizer", double)
    alone.close()
    results.append(
        Comparison("acoustic embedding", relative(acoustic_BxTxD, own), part="encoder", own=relative(double, own))
    )
    mine = original_codes(watched, "quantizer", np.asarray(acoustic_BxTxD))
    results.append(
        compare_codes("acoustic codes (its spectrum)", "quantizer", mine, codes, float((codes == exact).mean()))
    )
    return same


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
    if recipe.padded:
        ours = extractor(extractor.params, wave_BxS, sample_rate, hop, extractor.cfg.dim, lengths_B=lengths)
    else:
        ours = extractor.states(extractor.params, wave_BxS, lengths)
    wave = torch.from_numpy(np.array(wave_S))[None]
    if recipe.normalize:
        prepared = transformers.Wav2Vec2FeatureExtractor()(wave_S, sampling_rate=SSL_RATE, return_tensors="np")
        wave = torch.from_numpy(prepared.input_values)
    if sample_rate != SSL_RATE:
        import torchaudio

        wave = torchaudio.transforms.Resample(sample_rate, SSL_RATE)(wave)
    with torch.inference_mode():
        margin = SSL_MARGIN if recipe.padded else 0
        padded = torch.nn.functional.pad(wave, (margin, margin))
        states = model(padded, output_hidden_states=True).hidden_states
    chosen = torch.stack([states[i] for i in recipe.layers or range(len(states))]).mean(0)
    # Comparison before the compression, which is steep at 0.
    mine, theirs = np.asarray(ours), chosen.numpy()
    mine = np.sign(mine) * np.abs(mine) ** (1 / 0.3) if recipe.compress else mine
    return Comparison(
        f"SSL features of {len(wave_S) / sample_rate:.1f} s", relative(mine, theirs), part="the SSL model"
    )

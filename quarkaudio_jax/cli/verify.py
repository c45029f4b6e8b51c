"""`quarkaudio convert verify`: our models beside the public code, run with the same weights."""

import argparse
import functools
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from quarkaudio_jax.cli.common import exit_if_failed
from quarkaudio_jax.errors import QuarkAudioError, UserError, is_exhausted, named, system_errors
from quarkaudio_jax.report.progress import progress, show
from quarkaudio_jax.types import round_up

FEATURE_SECONDS = 13.0
"""Seconds of each file, repeated if it is shorter, on which the SSL features are compared, at least."""


def run(args: argparse.Namespace) -> None:
    """Prints a row for every output; SystemExit names those that differ, and the first module that does.

    A file that can't be read is reported, and the others are compared.
    """
    from quarkaudio_jax.io import audio

    files: list[pathlib.Path] = []
    for path in map(pathlib.Path, args.audio):
        files += audio.find(path) if path.is_dir() else [path]
    if not files:
        raise UserError(f"no audio files in {', '.join(args.audio)}")
    compare = _comparison(args)
    print("| file | output | largest difference | equal codes | |\n| --- | --- | ---: | ---: | --- |")
    failed: list[str] = []
    for path in progress(files, len(files)):
        try:
            with system_errors(path):
                for row in compare(path):
                    failed += _show_row(args, path, row)
        except QuarkAudioError as error:
            if is_exhausted(error):
                raise
            failed.append(named(path, error))
    exit_if_failed(failed)


def _comparison(args: argparse.Namespace) -> Callable[[pathlib.Path], Iterator[Any]]:
    """The comparison of a file by the kind of the checkpoint."""
    from quarkaudio_jax.weights.repository import parse_hub_name
    from quarkaudio_jax.weights.saved_bicodec import FOLDER, bicodec_folder

    if args.codec:
        return _unise_comparison(args)
    hub = parse_hub_name(args.checkpoint)
    if bicodec_folder(args.checkpoint) or (hub is not None and hub.path == FOLDER):
        return _bicodec_comparison(args)
    return _codec_comparison(args)


def _codec_comparison(args: argparse.Namespace) -> Callable[[pathlib.Path], Iterator[Any]]:
    """The comparison of a file by an H-Codec."""
    from quarkaudio_jax.codec.variants import published_front_end
    from quarkaudio_jax.weights import comparison, saved_codec, ssl, upstream

    location = upstream.module_location(saved_codec.read_codec_config(args.checkpoint))
    module, missing = upstream.import_upstream(args.upstream, *location)
    _show_missing(missing)
    trained, variables, features = saved_codec.read_any_codec(args.checkpoint)
    cfg = published_front_end(trained)
    if cfg != trained:
        print(f"{trained.name} is compared as {cfg.name}: the public code knows no fading of phases\n")
    use_random = args.features == "random"
    extractor = None if use_random else ssl.codec_extractor(features, args.features)
    model = upstream.load_upstream(module, cfg, variables)
    variables = comparison.unstacked(variables)  # replaces the stacked ones, to save memory
    print(f"{cfg.name}: the original took the weights (strict)\n")
    return lambda path: _compare(args, path, cfg, variables, (extractor, features), model)


def _show_missing(packages: list[str]) -> None:
    if packages:
        print(f"not installed, and not used by inference: {', '.join(packages)}")


def _compare(args: argparse.Namespace, path: pathlib.Path, cfg, variables, features, model) -> Iterator[Any]:
    """A row for every output of a file. features: the extractor and its source."""
    import jax.numpy as jnp

    from quarkaudio_jax.codec.spatial import mid_of
    from quarkaudio_jax.data.simulation.head import Position, spatialize
    from quarkaudio_jax.io import audio
    from quarkaudio_jax.io.transforms import resample, to_mono
    from quarkaudio_jax.weights import ssl, verify, verify_stereo

    extractor, source = features
    samples, rate = audio.read(path)
    if cfg.channels > 1 and samples.shape[1] > 1:
        full = resample(audio.with_channels(samples, cfg.channels, path), rate, cfg.sample_rate)
    else:
        full = resample(to_mono(samples), rate, cfg.sample_rate)
        full = spatialize(full, cfg.sample_rate, Position(30, 0, 1)) if cfg.channels > 1 else full
    frames = min(cfg.num_frames(len(full)), max(round(args.seconds * cfg.frame_rate), 1))
    wave = full[: frames * cfg.frame_hop]
    wave = np.pad(wave, [(0, frames * cfg.frame_hop - len(wave))] + [(0, 0)] * (wave.ndim - 1))[None]
    shape = (1, frames * cfg.semantic.stride, cfg.semantic.feature_dim)
    if extractor is None:
        feats = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    else:
        lengths = np.asarray([wave.shape[1]], np.int32)
        size = (cfg.sample_rate, cfg.feature_hop, shape[-1])
        feats = np.asarray(extractor(extractor.params, mid_of(jnp.asarray(wave)), *size, lengths_B=lengths))
    compare = verify.compare if cfg.channels == 1 else verify_stereo.compare
    yield from compare(cfg, variables, model, wave, feats, args.tolerance)
    if extractor is not None and extractor.cfg is not None:
        long = round_up(round(FEATURE_SECONDS * cfg.sample_rate), cfg.frame_hop)
        long = np.resize(np.asarray(mid_of(jnp.asarray(full[None]))[0]), max(long, wave.shape[1]))
        folder = ssl.find_ssl(source.recipe, args.features or source.weights, source.model).folder
        yield verify.compare_features(extractor, folder, long, cfg.sample_rate, cfg.feature_hop)


def _unise_comparison(args: argparse.Namespace) -> Callable[[pathlib.Path], Iterator[Any]]:
    """The comparison of a file by UniSE, from wave to wave; the file is also the reference of extraction."""
    from quarkaudio_jax.inference.unise import load_unise
    from quarkaudio_jax.weights import ssl
    from quarkaudio_jax.weights.repository import locate
    from quarkaudio_jax.weights.upstream_unise import UniseParts, UpstreamUnise, compare_parts

    weights, codec = locate(args.checkpoint), locate(args.codec)
    folder = ssl.find_ssl("wavlm", args.features).folder
    theirs = UpstreamUnise(args.upstream, weights, codec.parent if codec.is_file() else codec, folder)
    _show_missing(theirs.missing)
    ours = load_unise(weights, codec, folder)
    assert ours.extractor.cfg is not None
    parts = UniseParts(ours.cfg, ours.codec_cfg, ours.extractor.cfg, ours.params)
    print("UniSE: the original took the weights (strict)\n")
    compare = functools.partial(compare_parts, parts, theirs, tolerance=args.tolerance)
    return lambda path: _compare_unise(args, path, ours, theirs, compare)


def _compare_unise(args: argparse.Namespace, path: pathlib.Path, ours, theirs, compare: Callable) -> Iterator[Any]:
    """Rows for the parts, then for the ids and waves of each task, which name the first module that differs.

    compare: rows of the parts, of a segment and the original's ids of it.
    """
    from quarkaudio_jax.inference.unise import reference_segment
    from quarkaudio_jax.io.audio import read_mono
    from quarkaudio_jax.weights.comparison import compare_arrays, compare_ids
    from quarkaudio_jax.weights.upstream_unise import MODES

    wave, _ = read_mono(path, ours.sample_rate)
    length = round(args.seconds * ours.sample_rate)
    wave, voice = wave[:length], wave[-length:]
    first_fault = ""
    for task in MODES:
        reference = (voice, ours.sample_rate) if task == "extraction" else None
        waves, ids = theirs(task, wave, None if reference is None else reference_segment(voice, ours.sample_rate))
        with ours.recorded() as outputs:
            found = ours.separate(wave) if task == "separation" else [ours(task, wave, reference=reference)]
        if task == "restoration":
            segment = reference_segment(wave, ours.sample_rate)
            rows = compare(segment, tuple(part[:1] for part in ids[0]))
            first_fault = next((row.part for row in rows if not row.holds(args.tolerance, args.min_equal)), "")
            yield from rows
        for name, part in enumerate(("globals_BxN", "semantic_BxT")):
            mine = np.concatenate([getattr(output, part).reshape(-1) for output in outputs])
            original = np.concatenate([pair[name].reshape(-1) for pair in ids])
            part = first_fault or "the language model"
            yield compare_ids(f"{task}: {('global', 'semantic')[name]} ids", part, mine, original)
        for number, (mine, original) in enumerate(zip(found, waves, strict=True), 1):
            label = f"{task}: wave {number}" if len(waves) > 1 else f"{task}: wave"
            yield compare_arrays(label, first_fault or "BiCodec", mine, original)


def _bicodec_comparison(args: argparse.Namespace) -> Callable[[pathlib.Path], Iterator[Any]]:
    """The comparison of a file by BiCodec."""
    from quarkaudio_jax.inference.bicodec import RECIPE, load_bicodec
    from quarkaudio_jax.nn.stack import unstack_params
    from quarkaudio_jax.weights import ssl
    from quarkaudio_jax.weights.repository import locate
    from quarkaudio_jax.weights.saved_bicodec import bicodec_folder, read_bicodec, ssl_folder
    from quarkaudio_jax.weights.upstream_bicodec import load_upstream_bicodec

    folder = bicodec_folder(locate(args.checkpoint))
    assert folder is not None
    theirs, missing = load_upstream_bicodec(args.upstream, folder)
    _show_missing(missing)
    features, extractor = None, None
    if args.features == "random":
        cfg, params = read_bicodec(folder)
    else:
        ours = load_bicodec(folder, args.features)
        cfg, params, extractor = ours.cfg, ours.params, ours.extractor
        features = ssl.find_ssl(RECIPE, ssl_folder(folder, args.features)).folder
    params = unstack_params(params)
    print("BiCodec: the original took the weights\n")
    return lambda path: _compare_bicodec(args, path, cfg, params, (extractor, features), theirs)


def _compare_bicodec(args: argparse.Namespace, path: pathlib.Path, cfg, params, features, model) -> Iterator[Any]:
    """A row for every output of a file. features: the extractor and the folder of its SSL model."""
    from quarkaudio_jax.inference.bicodec import reference_clip
    from quarkaudio_jax.io.audio import read_mono
    from quarkaudio_jax.weights.upstream_bicodec import compare_bicodec
    from quarkaudio_jax.weights.verify import compare_features

    extractor, folder = features
    full, _ = read_mono(path, cfg.sample_rate)
    wave = full[: round(args.seconds * cfg.sample_rate)]
    if extractor is None:
        shape = (1, len(wave) // cfg.hop, cfg.feature_dim)
        states = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    else:
        states = np.asarray(extractor.states(extractor.params, wave[None], np.asarray([len(wave)], np.int32)))
    yield from compare_bicodec(cfg, params, model, states, reference_clip(cfg, wave)[None], args.tolerance)
    if extractor is not None:
        long = np.resize(full, max(round(FEATURE_SECONDS * cfg.sample_rate), len(wave)))
        yield compare_features(extractor, folder, long, cfg.sample_rate, cfg.hop)


def _show_row(args: argparse.Namespace, path: pathlib.Path, row) -> list[str]:
    """Prints a row; returns a line if it is outside the limits."""
    good = row.holds(args.tolerance, args.min_equal)
    equal = "" if row.equal is None else f"{100 * row.equal:.2f} %"
    difference = f"{row.difference:.1e}" if row.equal is None else ""
    if row.own is not None:
        value = f"{100 * row.own:.2f} %" if row.equal is not None else f"{row.own:.1e}"
        equal, difference = (f"{x} (its own {value})" if x else "" for x in (equal, difference))
    show(f"| {path} | {row.name} | {difference} | {equal} | {'' if good else 'FAILS'} |")
    return [] if good else [f"{path}: {row.name} differs; the first module to differ is {row.part}"]

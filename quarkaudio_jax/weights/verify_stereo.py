"""Comparison of a stereo codec with the public PyTorch code; see `weights.verify`."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from quarkaudio_jax.codec.hcodec import HCodec, HCodecConfig
from quarkaudio_jax.codec.spatial import mid_side, position_indices
from quarkaudio_jax.weights import verify
from quarkaudio_jax.weights.comparison import (
    Comparison,
    RecordedModule,
    channels_first,
    channels_last,
    compare_arrays,
    compare_codes,
    with_modules,
)
from quarkaudio_jax.weights.upstream import RecordedModel, first

POSITION = np.array([[45.0, 10.0, 1.5]], np.float32)
"""Azimuth, elevation and distance at which mono to stereo is compared."""

PART = "spatial_quantizer"


def mono_part(cfg: HCodecConfig, variables: Mapping[str, Any]) -> tuple[HCodecConfig, dict[str, Any]]:
    """The mono codec inside a stereo codec: (configuration, variables)."""
    kept = {
        kind: {name: value for name, value in tree.items() if not name.startswith("spatial_")}
        for kind, tree in variables.items()
    }
    return dataclasses.replace(cfg, spatial=None), kept


def compare(
    cfg: HCodecConfig,
    variables: Mapping[str, Any],
    model,
    wave_BxSxC: np.ndarray,
    features_BxTxD: np.ndarray,
    tolerance: float,
) -> list[Comparison]:
    """Compares the mono part on the mid, then the third stream, both channels and the mapping; see `verify.compare`."""
    mid_BxS, side_BxS = (np.asarray(x) for x in mid_side(jnp.asarray(wave_BxSxC)))
    mono, mono_variables = mono_part(cfg, variables)
    same = verify.compare(mono, mono_variables, model, mid_BxS, features_BxTxD, tolerance)
    ours, watched = RecordedModule(HCodec(cfg, scan=False), variables), RecordedModel(model)
    books = ours.variables["codebooks"][PART]["books"].embed_KxVxD
    results = [verify.compare_codebooks("spatial", PART, books, watched)]
    emb = ours("embed", wave_BxSxC, features_BxTxD)
    mine = np.asarray(emb.spatial_BxTxD)
    theirs = channels_last(watched("spatial_encoder", side_BxS[:, None]))
    results.append(compare_arrays("spatial embedding", "spatial_encoder", mine, theirs))
    codes = ours("quantize", emb)
    exact = verify.exact_codes(books, mine)
    found = verify.original_codes(watched, PART, mine)
    share = float((found == exact).mean())
    row = compare_codes("spatial codes (our embedding)", PART, codes.spatial_BxTxK, found, share)
    acoustic, semantic, spatial = ours("dequantize", codes)
    indices = np.asarray(codes.spatial_BxTxK, np.int64)
    looked_up = watched(PART, indices, method="get_output_from_indices").numpy()
    results += [row, compare_arrays("spatial vectors of the same codes", PART, spatial, looked_up)]
    results.append(_compare_waves(ours, watched, acoustic, semantic, spatial, "waves of the same codes"))
    if cfg.can_spatialize:
        side = ours("map_side", acoustic, semantic, POSITION)
        rows = np.asarray(position_indices(jnp.asarray(POSITION)), np.int64)
        plain = [channels_first(x) for x in (acoustic, semantic)]
        theirs = channels_last(watched("spatial_mapping", *plain, rows))
        results.append(compare_arrays("side vectors of a position", "spatial_mapping", side, theirs))
        results.append(_compare_waves(ours, watched, acoustic, semantic, side, "waves of a position"))
    watched.close()
    return same + with_modules(results, verify.codec_pairs(cfg), watched.outputs, ours.outputs, tolerance)


def _compare_waves(ours: RecordedModule, watched: RecordedModel, acoustic, semantic, side, name: str) -> Comparison:
    """Compares left and right, decoded from the sum and the difference of mid and side vectors."""
    mine = ours("synthesize", acoustic, semantic, None, side)
    vectors = [np.concatenate([acoustic + sign * side, semantic], axis=-1) for sign in (1, -1)]
    mixed = channels_first(np.concatenate([np.asarray(x) for x in vectors]))
    left, right = np.split(first(watched("decoder", mixed)).numpy(), 2)
    return compare_arrays(name, "decoder", np.asarray(mine), np.stack([left, right], axis=-1))

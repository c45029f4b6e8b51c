"""The public BiCodec of a checkout, compared with ours on the same weights, features and reference clip."""

import os
import pathlib
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from quarkaudio_jax.codec.bicodec.model import BiCodec, BiCodecConfig, mel_frames
from quarkaudio_jax.weights.bicodec import table
from quarkaudio_jax.weights.comparison import (
    Comparison,
    RecordedModule,
    channels_first,
    channels_last,
    compare_arrays,
    compare_ids,
    compare_tables,
    module_pairs,
    with_modules,
)
from quarkaudio_jax.weights.rules import Rule
from quarkaudio_jax.weights.upstream import RecordedModel, first, import_upstream

FOLDER, MODULE = "QuarkAudio-UniSE", "model.bicodec.bicodec"
"""Folder in the repository, and module in it."""


def load_upstream_bicodec(checkout: str | os.PathLike, folder: str | os.PathLike) -> tuple[Any, list[str]]:
    """(the original with the weights of a folder, packages that it imports without need and that are missing)."""
    module, missing = import_upstream(pathlib.Path(checkout), FOLDER, MODULE)
    return module.BiCodec.load_from_checkpoint(pathlib.Path(folder)), missing


def compare_bicodec(
    cfg: BiCodecConfig,
    params: Mapping[str, Any],
    model: Any,
    features_BxTxD: np.ndarray,
    reference_BxS: np.ndarray,
    tolerance: float,
) -> list[Comparison]:
    """Compares all outputs of one recording; `part` names the first module that differs by more than `tolerance`.

    params: of unstacked layers.
    """
    ours, watched = RecordedModule(BiCodec(cfg, scan=False), {"params": params}), RecordedModel(model)
    mel = channels_last(watched("mel_transformer", reference_BxS))
    globals_BxN, semantic_BxT = (np.asarray(x) for x in ours("encode", features_BxTxD, reference_BxS))
    theirs = watched("encoder", channels_first(features_BxTxD))
    own_ids = watched("quantizer", channels_last(theirs).swapaxes(1, 2), method="tokenize").numpy()
    exact = exact_codes(params["quantizer"], np.asarray(channels_last(theirs)))
    rows = [
        compare_arrays("mel frames", "mel_transformer", np.asarray(mel_frames(cfg, jnp.asarray(reference_BxS))), mel),
        compare_arrays("semantic embedding", "encoder", np.asarray(ours.outputs["encoder"]), channels_last(theirs)),
        compare_ids("semantic ids", "quantizer", semantic_BxT, own_ids, float((own_ids == exact).mean())),
        compare_ids(
            "global ids",
            "speaker_encoder",
            globals_BxN,
            watched("speaker_encoder", mel, method="tokenize").numpy().reshape(globals_BxN.shape),
        ),
    ]
    x_vector = watched("speaker_encoder", mel)[0].numpy()
    our_vector = ours(lambda module, x: module.speaker.x_vector(x), mel)
    rows.append(compare_arrays("x-vector of the same frames", "speaker_encoder", np.asarray(our_vector), x_vector))
    rows += compare_decoding(ours, watched, globals_BxN, semantic_BxT)
    watched.close()
    return with_modules(rows, bicodec_pairs(cfg, model), watched.outputs, ours.outputs, tolerance)


def bicodec_pairs(cfg: BiCodecConfig, model: Any) -> dict[str, str]:
    """The modules of BiCodec: the original's name -> ours."""
    return module_pairs([rule for rule in table(cfg) if isinstance(rule, Rule)], model.state_dict())


def compare_decoding(
    ours: RecordedModule, watched: RecordedModel, globals_BxN: np.ndarray, semantic_BxT: np.ndarray
) -> list[Comparison]:
    """Compares the codebook, and all outputs of decoding the same ids, each from our own outputs before it."""
    codebook = np.asarray(ours.variables["params"]["quantizer"]["codebook"])
    entries = watched("quantizer.codebook", np.arange(len(codebook))).numpy()
    rows = [compare_tables("semantic codebook", "quantizer.codebook", codebook, entries)]
    vectors = watched("quantizer", semantic_BxT.astype(np.int64), method="detokenize")
    ids = globals_BxN[:, None].astype(np.int64)
    speaker_BxD = watched("speaker_encoder", ids, method="detokenize").numpy()
    frames, our_speaker = ours("latents", globals_BxN, semantic_BxT)
    rows.append(compare_arrays("speaker of the same ids", "speaker_encoder", np.asarray(our_speaker), speaker_BxD))
    hidden = watched("prenet", first(vectors).numpy(), speaker_BxD)
    rows.append(compare_arrays("frames of the same ids", "prenet", np.asarray(frames), channels_last(hidden), True))
    wave, predicted = ours(
        lambda module, x, speaker: (module.generator(x + speaker[:, None]), module.postnet(x)), frames, our_speaker
    )
    features = channels_last(watched("postnet", hidden.numpy()))
    rows.append(compare_arrays("features of the same ids", "postnet", np.asarray(predicted), features, True))
    samples = watched("decoder", hidden.numpy() + speaker_BxD[..., None]).numpy().reshape(wave.shape)
    rows.append(compare_arrays("wave of the same ids", "decoder", np.asarray(wave), samples, True))
    return rows


def exact_codes(quantizer: Mapping[str, Any], x_BxTxD: np.ndarray) -> np.ndarray:
    """Codes (B, T) of a lookup by cosine similarity in float64; where two entries are equally near, either is right."""
    project = {name: np.asarray(value, np.float64) for name, value in quantizer["project_in"].items()}
    x = np.asarray(x_BxTxD, np.float64) @ project["kernel"] + project["bias"]
    book_VxD = np.asarray(quantizer["codebook"], np.float64)
    return (x @ (book_VxD / np.linalg.norm(book_VxD, axis=-1, keepdims=True)).T).argmax(-1)

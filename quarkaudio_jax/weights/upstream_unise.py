"""The public UniSE of a checkout, run from wave to wave with the weights that ours reads, and compared module by module."""

import dataclasses
import os
import pathlib
import sys
import types
from collections.abc import Mapping
from typing import Any

import numpy as np
import yaml

from quarkaudio_jax.codec.bicodec.model import BiCodec, BiCodecConfig
from quarkaudio_jax.lm.unise import Unise, UniseConfig
from quarkaudio_jax.nn.stack import unstack_params
from quarkaudio_jax.ssl.features import SSL_MARGIN
from quarkaudio_jax.ssl.model import SSLConfig, SSLEncoder
from quarkaudio_jax.tokens.unise import UNISE_TASKS
from quarkaudio_jax.weights.backbone import unise_table
from quarkaudio_jax.weights.comparison import (
    Comparison,
    RecordedModule,
    compare_arrays,
    compare_tables,
    module_pairs,
    with_modules,
)
from quarkaudio_jax.weights.files import read_tensors
from quarkaudio_jax.weights.ssl import module_pairs as ssl_module_pairs
from quarkaudio_jax.weights.upstream import RecordedModel, UpstreamError, import_upstream
from quarkaudio_jax.weights.upstream_bicodec import FOLDER, bicodec_pairs, compare_decoding

MODULE, CONFIG = "model.model", "conf/config.yaml"
"""Module and configuration in `FOLDER` of the repository."""

MODES = {"restoration": "se", "extraction": "tse", "separation": "ss"}
"""The original's names of tasks. Its test runs no reverse extraction alone; separation includes it."""

COMPUTED = ("num_batches_tracked", "inv_freq")
"""Ends of names of buffers that `read_tensors` leaves out: counts of training, and functions of the configuration."""


class UpstreamUnise:
    """The original's test pipeline.

    ssl, lm, codec: its parts. missing: packages that it imports without using them, and that are not installed.
    """

    def __init__(
        self, checkout: str | os.PathLike, weights: str | os.PathLike, codec: str | os.PathLike, ssl: str | os.PathLike
    ):
        import torch
        import transformers

        self._torch = torch
        module, self.missing = import_upstream(pathlib.Path(checkout), FOLDER, MODULE)
        assert module.__file__ is not None
        config = yaml.safe_load((pathlib.Path(module.__file__).parents[1] / CONFIG).read_text())
        # Its constructor would download the SSL models, one of which only training uses.
        self._model = model = object.__new__(module.Model)
        if isinstance(model, torch.nn.Module):
            torch.nn.Module.__init__(model)
        model.config, model.stft_conf = {"save_enhanced": "."}, config["stft_config"]
        self.lm = model.dnn = _with_weights(module.LLM_SFT(**config["llm_config"]), weights)
        self.ssl = model.semantic_model = transformers.AutoModel.from_pretrained(os.fspath(ssl)).eval().float()
        bicodec = sys.modules[f"{module.BiCodecTokenizer.__module__.rpartition('.')[0]}.bicodec"].BiCodec
        self.codec = decoder = bicodec.load_from_checkpoint(pathlib.Path(codec)).eval()
        model.tokenizer = types.SimpleNamespace(detokenize=lambda ids, semantic: decoder.detokenize(semantic, ids))
        self._waves: list[np.ndarray] = []
        self._ids: list[tuple[np.ndarray, np.ndarray]] = []
        generate = model.dnn.generate

        def recorded(*arguments: Any, **named: Any) -> Any:
            found = generate(*arguments, **named)
            self._ids.append((found[0].numpy(), found[1].numpy()))
            return found

        model.dnn.generate = recorded
        # It writes 16-bit files; its float32 samples are compared.
        vars(module)["sf"] = types.SimpleNamespace(
            write=lambda _, wave, samplerate: self._waves.append(np.asarray(wave))
        )

    def __call__(
        self, task: str, wave_S: np.ndarray, reference_S: np.ndarray | None = None
    ) -> tuple[list[np.ndarray], list[tuple[np.ndarray, np.ndarray]]]:
        """(waves (S,), (globals (B, N), semantic ids (B, T)) of each generation). reference_S: 5 s, scaled."""
        self._waves.clear()
        self._ids.clear()
        reference = None if reference_S is None else self._torch.from_numpy(reference_S[None])
        batch = (MODES[task], reference, self._torch.from_numpy(wave_S[None]), None, [16000], None, ["wave"])
        with self._torch.inference_mode():
            self._model.test_step(batch, 0)
        return list(self._waves), list(self._ids)


TABLES = {"task_embedding": "tasks", "mix_sos_embedding": "mixture_start", "enroll_sos_embedding": "enrolment_start"}
TABLES |= {"codec_embedding": "words"}
"""The language model's embeddings: the original's module -> our parameter."""


@dataclasses.dataclass(frozen=True)
class UniseParts:
    """Our UniSE. params: of the parts `lm`, `codec` and `ssl`, the first two unstacked."""

    cfg: UniseConfig
    codec_cfg: BiCodecConfig
    ssl_cfg: SSLConfig
    params: Mapping[str, Any]


def compare_parts(
    ours: UniseParts, theirs: UpstreamUnise, wave_S: np.ndarray, ids: tuple[np.ndarray, np.ndarray], tolerance: float
) -> list[Comparison]:
    """Compares SSL model, language model and BiCodec on one segment and the original's (globals, semantic) ids of it.

    Each part gets the original's input, so that `part` names the first module that differs by more than `tolerance`.
    """
    features_BxTxD, rows = _compare_ssl(ours, theirs, wave_S, tolerance)
    rows += _compare_lm(ours, theirs, features_BxTxD, ids, tolerance)
    return rows + _compare_codec(ours, theirs, ids, tolerance)


def _named(part: str, rows: list[Comparison]) -> list[Comparison]:
    return [dataclasses.replace(row, name=f"{part}: {row.name}") for row in rows]


def _compare_ssl(
    ours: UniseParts, theirs: UpstreamUnise, wave_S: np.ndarray, tolerance: float
) -> tuple[np.ndarray, list[Comparison]]:
    """(the original's features, rows of the SSL model)."""
    padded = np.pad(wave_S, SSL_MARGIN)[None]
    model = RecordedModule(SSLEncoder(ours.ssl_cfg, scan=False), {"params": unstack_params(ours.params["ssl"])})
    mine = np.asarray(model("__call__", padded)).mean(0)
    watched = RecordedModel(theirs.ssl)
    states = watched("", padded, output_hidden_states=True).hidden_states
    watched.close()
    original = np.mean([state.numpy() for state in states], axis=0)
    pairs = ssl_module_pairs(ours.ssl_cfg, theirs.ssl.state_dict())
    rows = [compare_arrays("features", "the SSL model", mine, original, True)]
    return original, _named("SSL model", with_modules(rows, pairs, watched.outputs, model.outputs, tolerance))


def _compare_lm(
    ours: UniseParts,
    theirs: UpstreamUnise,
    features_BxTxD: np.ndarray,
    ids: tuple[np.ndarray, np.ndarray],
    tolerance: float,
) -> list[Comparison]:
    """Rows of the language model on the same features and ids."""
    params, state = ours.params["lm"], theirs.lm.state_dict()
    rows = [compare_tables(name, name, params[path], state[f"{name}.weight"].numpy()) for name, path in TABLES.items()]
    model = RecordedModule(Unise(ours.cfg, scan=False), {"params": params})
    task = np.full(1, UNISE_TASKS["restoration"])
    small = (part.astype(np.int32) for part in ids)
    _, _, mine = model(lambda m, x, *ids: m.loss(m.prefix(task, x, None), *ids), features_BxTxD, *small)
    watched = RecordedModel(theirs.lm)
    given: dict[str, Any] = dict(enroll_mel=None, enroll_feats=None, mix_mel=features_BxTxD, mix_feats=features_BxTxD)
    watched("", MODES["restoration"], global_ids=ids[0], semantic_ids=ids[1], **given)
    watched.close()
    rows.append(compare_arrays("logits of the same ids", "output_head", mine, watched.outputs["output_head"], True))
    pairs = module_pairs(unise_table(ours.cfg), state)
    return _named("language model", with_modules(rows, pairs, watched.outputs, model.outputs, tolerance))


def _compare_codec(
    ours: UniseParts, theirs: UpstreamUnise, ids: tuple[np.ndarray, np.ndarray], tolerance: float
) -> list[Comparison]:
    """Rows of BiCodec's decoder on the same ids."""
    model = RecordedModule(BiCodec(ours.codec_cfg, scan=False), {"params": ours.params["codec"]})
    watched = RecordedModel(theirs.codec)
    rows = compare_decoding(model, watched, *ids)
    watched.close()
    pairs = bicodec_pairs(ours.codec_cfg, theirs.codec)
    return _named("BiCodec", with_modules(rows, pairs, watched.outputs, model.outputs, tolerance))


def _with_weights(model: Any, weights: str | os.PathLike) -> Any:
    """The language model in evaluation mode with the weights of a file, all of them and no others.

    `COMPUTED` buffers keep the original's values.
    """
    import torch

    state = {name.removeprefix("dnn."): torch.from_numpy(x) for name, x in read_tensors(weights).items()}
    try:
        found = model.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise UpstreamError(f"the original does not accept {weights} ({' '.join(str(error).split())})") from error
    missing = [name for name in found.missing_keys if not name.endswith(COMPUTED)]
    if missing or found.unexpected_keys:
        raise UpstreamError(f"{weights} lacks {missing[:3]} of the original, which has no {found.unexpected_keys[:3]}")
    return model.eval()

"""Runs the public UniSE of a checkout, from wave to wave, with the weights that ours reads."""

import os
import pathlib
import sys
import types
from typing import Any

import numpy as np
import yaml

from quarkaudio_jax.weights.files import read_tensors
from quarkaudio_jax.weights.upstream import UpstreamError, import_upstream

FOLDER, MODULE, CONFIG = "QuarkAudio-UniSE", "model.model", "conf/config.yaml"
"""Folder in the repository, and module and configuration in it."""

MODES = {"restoration": "se", "extraction": "tse", "separation": "ss"}
"""The original's names of tasks. Its test runs no reverse extraction alone; separation includes it."""

COMPUTED = ("num_batches_tracked", "inv_freq")
"""Ends of names of buffers that `read_tensors` leaves out: counts of training, and functions of the configuration."""


class UpstreamUnise:
    """The original's test pipeline. missing: packages that it imports without using them, and that are not installed."""

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
        model.dnn = _with_weights(module.LLM_SFT(**config["llm_config"]), weights)
        model.semantic_model = transformers.AutoModel.from_pretrained(os.fspath(ssl)).eval().float()
        bicodec = sys.modules[f"{module.BiCodecTokenizer.__module__.rpartition('.')[0]}.bicodec"].BiCodec
        decoder = bicodec.load_from_checkpoint(pathlib.Path(codec)).eval()
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

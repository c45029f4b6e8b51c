"""Baselines: the public codecs EnCodec, DAC and Mimi in transformers, with weights by hub name or folder."""

import math
from collections.abc import Iterator

import numpy as np

from quarkaudio_jax.errors import UserError
from quarkaudio_jax.report.progress import progress

CLASSES = {"encodec": "EncodecModel", "dac": "DacModel", "mimi": "MimiModel"}
"""Option of each, and its class in transformers."""


class Baseline:
    """A public codec. rate: sample rate in Hz of input and output."""

    def __init__(self, kind: str, weights: str):
        try:
            import torch
            import transformers

            self._torch = torch
            self._model = getattr(transformers, CLASSES[kind]).from_pretrained(weights).eval()
        except ImportError as error:
            raise UserError(f"--{kind} needs the packages torch and transformers (pip install {error.name})") from error
        except (OSError, ValueError) as error:
            reason = str(error).strip().splitlines()[0][:200]
            raise UserError(f"--{kind}={weights} can't be loaded as a folder or hub name ({reason})") from error
        self._kind, self._config = kind, self._model.config
        self.name, self.rate = CLASSES[kind].removesuffix("Model"), self._config.sampling_rate

    def settings(self) -> list[float]:
        """Its settings, ascending: bandwidths in kbit/s of EnCodec, numbers of codebooks of the others."""
        if self._kind == "encodec":
            return sorted(self._config.target_bandwidths)
        books = self._config.n_codebooks if self._kind == "dac" else self._config.num_quantizers
        return [float(k) for k in range(1, books + 1)]

    def __call__(self, wave_S: np.ndarray, setting: float) -> tuple[np.ndarray, float]:
        """(reconstruction (S,), bits of its codes)."""
        torch, model = self._torch, self._model
        wave = torch.from_numpy(np.ascontiguousarray(wave_S, np.float32))[None, None]
        with torch.inference_mode():
            if self._kind == "encodec":
                found = model.encode(wave, bandwidth=setting)
                out = model.decode(found.audio_codes, found.audio_scales)[0]
                bits = found.audio_codes.numel() * math.log2(self._config.codebook_size)
            elif self._kind == "dac":
                codes = model.encode(wave, n_quantizers=int(setting)).audio_codes
                out = model.decode(audio_codes=codes)[0]
                bits = codes.numel() * math.log2(self._config.codebook_size)
            else:
                codes = model.encode(wave, num_quantizers=int(setting)).audio_codes
                out = model.decode(codes)[0]
                bits = codes.numel() * math.log2(self._config.codebook_size)
        wave = out.numpy().reshape(-1)[: len(wave_S)]
        return np.pad(wave, (0, len(wave_S) - len(wave))), bits


def reconstruct(baseline: Baseline, waves: list[np.ndarray]) -> Iterator[tuple[str, float, list[np.ndarray]]]:
    """(name of the setting, total bits, reconstructions) of each setting."""
    for setting in baseline.settings():
        found = [baseline(wave, setting) for wave in progress(waves, len(waves))]
        unit = "kbit/s" if baseline.name == "Encodec" else "codebooks"
        yield f"{setting:g} {unit}", sum(bits for _, bits in found), [wave for wave, _ in found]

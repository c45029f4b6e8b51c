"""Public codecs of transformers, to draw beside ours: EnCodec, DAC and Mimi, with weights by hub name or folder."""

import math
from collections.abc import Iterator

import numpy as np

from quarkaudio_jax.errors import UserError

KINDS = {"encodec": "EncodecModel", "dac": "DacModel", "mimi": "MimiModel"}
"""The name of each, and its class."""


class Peer:
    """One public codec. rate: Hz, of what goes in and comes out."""

    def __init__(self, kind: str, weights: str):
        try:
            import torch
            import transformers

            self._torch = torch
            self._model = getattr(transformers, KINDS[kind]).from_pretrained(weights).eval()
        except ImportError as error:
            raise UserError(f"--{kind} needs the packages torch and transformers (pip install {error.name})") from error
        except (OSError, ValueError) as error:
            reason = str(error).strip().splitlines()[0][:200]
            raise UserError(f"--{kind}={weights} is neither a folder nor a name that can be read ({reason})") from error
        self._kind, self._config = kind, self._model.config
        self.name, self.rate = KINDS[kind].removesuffix("Model"), self._config.sampling_rate

    def settings(self) -> list[float]:
        """What can be chosen, least first: EnCodec's bandwidths in kbit/s, codebooks of the others."""
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


def points(peer: Peer, waves: list[np.ndarray]) -> Iterator[tuple[str, float, list[np.ndarray]]]:
    """(setting in words, bits in all, reconstructions) for each setting."""
    for setting in peer.settings():
        found = [peer(wave, setting) for wave in waves]
        unit = "kbit/s" if peer.name == "Encodec" else "codebooks"
        yield f"{setting:g} {unit}", sum(bits for _, bits in found), [wave for wave, _ in found]

"""A trained codec ready to use: what the verbs encode and decode with."""

import pathlib
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from quarkaudio_jax.codec import chunked
from quarkaudio_jax.codec.container import ContainerError, Header
from quarkaudio_jax.codec.hcodec import HCodec, HCodecConfig
from quarkaudio_jax.nn.stack import unstack_params
from quarkaudio_jax.ssl.features import get_recipe
from quarkaudio_jax.types import Codes

CHUNK_SECONDS, CONTEXT_SECONDS = 20.0, 2.0


class CodecRunner:
    """Encodes and decodes single recordings of any length, chunk by chunk, compiled per window length."""

    def __init__(self, cfg: HCodecConfig, params, codebooks, recipe: str):
        self.cfg = cfg
        self.recipe = get_recipe(recipe)
        if self.recipe.extract is None:
            raise ValueError(
                f"this codec was trained on {recipe} features; encoding needs a recipe that can be computed"
            )
        self._codec = HCodec(cfg, scan=False)
        self._variables = {"params": unstack_params(params), "codebooks": codebooks}
        frames = [max(round(s * cfg.frame_rate), 1) for s in (CHUNK_SECONDS, CONTEXT_SECONDS)]
        self.grid = chunked.Grid(*frames)
        self._encode = jax.jit(self._encode_window)
        self._decode = jax.jit(self._decode_window)

    def _encode_window(self, variables, wave_S, length):
        cfg = self.cfg
        wave_BxS = wave_S[None]
        features = self.recipe.extract(wave_BxS, cfg.sample_rate, cfg.feature_hop, cfg.semantic.feature_dim)
        codes = self._codec.apply(variables, wave_BxS, features, length[None], method="encode")
        return codes.acoustic_BxTxK[0], codes.semantic_BxTxK[0]

    def _decode_window(self, variables, acoustic_TxK, semantic_TxK, length):
        codes = Codes(acoustic_TxK[None], semantic_TxK[None], self.cfg.frame_rate, length[None])
        return self._codec.apply(variables, codes, method="decode")[0]

    def encode(self, read: chunked.ReadSamples, num_samples: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """(acoustic, semantic) codes (T, K) chunk by chunk; read(start, stop) gives samples at the codec's rate."""

        def window(wave, length):
            return tuple(np.asarray(c) for c in self._encode(self._variables, wave, jnp.int32(length)))

        return chunked.encode(window, read, num_samples, self.cfg.frame_hop, self.grid)

    def encode_wave(self, wave_S: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Both codes (T, K) of a whole wave."""
        parts = list(self.encode(lambda start, stop: wave_S[start:stop], len(wave_S)))
        return tuple(np.concatenate([p[i] for p in parts]) for i in (0, 1))

    def decode(
        self, acoustic_TxK, semantic_TxK, num_samples: int, grid: chunked.Grid | None = None
    ) -> Iterator[np.ndarray]:
        """Samples chunk by chunk, `num_samples` in all."""

        def window(acoustic, semantic, length):
            return np.asarray(self._decode(self._variables, acoustic, semantic, jnp.int32(length)))

        hop = self.cfg.frame_hop
        return chunked.decode(window, acoustic_TxK, semantic_TxK, num_samples, hop, grid or self.grid)

    def reconstruct(self, wave_S: np.ndarray) -> np.ndarray:
        """decode(encode(wave)), of the same length."""
        return np.concatenate(list(self.decode(*self.encode_wave(wave_S), len(wave_S))))

    def header(self, num_samples: int, source_rate: int, source_channels: int) -> Header:
        """The header of a token file of this codec."""
        cfg = self.cfg
        quantizers = (cfg.acoustic_quantizer, cfg.semantic_quantizer)
        return Header(
            codec=cfg.name,
            sample_rate=cfg.sample_rate,
            frame_hop=cfg.frame_hop,
            num_samples=num_samples,
            codebooks=tuple(q.num_codebooks for q in quantizers),
            codebook_sizes=tuple(q.codebook_size for q in quantizers),
            chunk_frames=self.grid.chunk,
            context_frames=self.grid.context,
            features=self.recipe.name,
            source_rate=source_rate,
            source_channels=source_channels,
        )

    def check(self, header: Header, name: str) -> None:
        """ContainerError unless the token file belongs to this codec."""
        ours = self.header(header.num_samples, header.source_rate, header.source_channels)
        for field in ("sample_rate", "frame_hop", "codebooks", "codebook_sizes", "codec"):
            theirs, own = getattr(header, field), getattr(ours, field)
            if theirs != own:
                raise ContainerError(
                    f"{name}: made with codec {header.codec} ({header.sample_rate} Hz, {field} {theirs}), but the "
                    f"checkpoint is {ours.codec} ({ours.sample_rate} Hz, {field} {own}); give the checkpoint it was made with"
                )


def load_runner(checkpoint: str | pathlib.Path) -> CodecRunner:
    """The codec of a checkpoint (a work directory, its checkpoints folder or one step); averaged weights if it has them."""
    from flax.linen import meta

    from quarkaudio_jax.training.checkpoint import find_checkpoint, read_config, read_model
    from quarkaudio_jax.training.codec_program import abstract_model, configured_codec

    folder = find_checkpoint(checkpoint)
    cfg, _ = read_config(folder)
    model = read_model(folder, meta.unbox(abstract_model(cfg)))
    params = model.params if model.ema is None else model.ema
    return CodecRunner(configured_codec(cfg.codec), params, model.codebooks, cfg.features.recipe)

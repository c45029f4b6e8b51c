"""The library's front door: a codec loaded from anywhere, waves in, codes out, and back.

import quarkaudio_jax
codec = quarkaudio_jax.load_codec("runs/mine")
codes = codec.encode(wave, sample_rate)     # wave: (S,) or (B, S) float32 in [-1, 1]
wave = codec.decode(codes)                  # a Wave: samples_BxS, sample_rate, lengths_B
"""

import dataclasses
import functools
import os
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from quarkaudio_jax.codec import chunked
from quarkaudio_jax.codec.aggregate import expand
from quarkaudio_jax.codec.container import Header, TokenFile, require_same_codec
from quarkaudio_jax.codec.hcodec import HCodec, HCodecConfig, expand_codes
from quarkaudio_jax.data.transforms import resample
from quarkaudio_jax.nn.stack import unstack_params
from quarkaudio_jax.ssl.features import Extractor, get_recipe
from quarkaudio_jax.types import Codes, Wave

CHUNK_SECONDS, CONTEXT_SECONDS = 20.0, 2.0


class Codec:
    """An H-Codec with its weights and the extractor of its SSL features; see `load_codec`.

    Compiled once per length, rounded up to a power of two frames; more than 24 s go in chunks of 20 s.
    """

    def __init__(self, cfg: HCodecConfig, variables: dict[str, Any], extractor: Extractor):
        self.cfg = cfg
        self.extractor = dataclasses.replace(extractor, params=jax.device_put(extractor.params))
        self._codec = HCodec(cfg, scan=False)
        variables = {"params": unstack_params(variables["params"]), "codebooks": variables["codebooks"]}
        self._variables = jax.device_put(variables)
        frames = [max(round(s * cfg.frame_rate), 1) for s in (CHUNK_SECONDS, CONTEXT_SECONDS)]
        self.grid = chunked.Grid(*frames)
        self._encode = jax.jit(self._encode_batch)
        self._decode = jax.jit(lambda variables, codes: self._codec.apply(variables, codes, method="decode"))

    @property
    def name(self) -> str:
        """The variant's name."""
        return self.cfg.name

    @property
    def sample_rate(self) -> int:
        """Hz, of what goes in and comes out."""
        return self.cfg.sample_rate

    @property
    def frame_rate(self) -> float:
        """Code frames a second; of an adaptive codec before frames are grouped, the most that can occur."""
        return self.cfg.frame_rate

    @property
    def num_codebooks(self) -> tuple[int, int]:
        """Codebooks of the acoustic and of the semantic stream."""
        return self.cfg.acoustic_quantizer.num_codebooks, self.cfg.semantic_quantizer.num_codebooks

    @property
    def codebook_size(self) -> tuple[int, int]:
        """Entries of each codebook, acoustic and semantic."""
        return self.cfg.acoustic_quantizer.codebook_size, self.cfg.semantic_quantizer.codebook_size

    @property
    def bitrate(self) -> float:
        """Bits a second of all codebooks; of an adaptive codec the most that can occur."""
        return self.cfg.bitrate

    @property
    def is_adaptive(self) -> bool:
        """Whether a code may stand for several frames (`Codes.durations_BxT`)."""
        return self.cfg.aggregation is not None

    def fingerprint(self) -> int:
        """A checksum of all weights."""
        leaves = jax.tree.leaves(self._variables)
        return functools.reduce(lambda crc, x: zlib.crc32(np.ascontiguousarray(x).tobytes(), crc), leaves, 0)

    def _encode_batch(self, variables, frozen, wave_BxS, lengths_B, threshold, max_group, starts_BxT):
        """Codes, and for an adaptive codec the group of each frame."""
        cfg = self.cfg
        whole = cfg.num_frames(lengths_B) * cfg.frame_hop
        size = (cfg.sample_rate, cfg.feature_hop, cfg.semantic.feature_dim)
        features = self.extractor(frozen, wave_BxS, *size, lengths_B=whole)
        rule = (threshold, max_group, starts_BxT) if self.is_adaptive else ()
        emb = self._codec.apply(variables, wave_BxS, features, lengths_B, *rule, method="embed")
        return self._codec.apply(variables, emb, method="quantize"), emb.groups

    def _grouping(self, threshold, max_group) -> tuple[float, int]:
        """The rule of grouping, checked; any numbers for a codec without."""
        rule = self.cfg.aggregation
        if rule is None:
            if threshold is not None or max_group is not None:
                raise ValueError(f"{self.name} has a fixed frame rate: it takes no threshold or group length")
            return 0.0, 1
        max_group = rule.max_group if max_group is None else max_group
        if not 1 <= max_group <= rule.max_group:
            raise ValueError(f"groups of at most {max_group} frames: {self.name} allows 1 to {rule.max_group}")
        return (rule.threshold if threshold is None else float(threshold)), max_group

    def encode(
        self,
        wave: Wave | np.ndarray,
        sample_rate: int | None = None,
        lengths: Sequence[int] | None = None,
        *,
        num_codebooks: int | None = None,
        threshold: float | None = None,
        max_group: int | None = None,
    ) -> Codes:
        """Codes (B, T, K) of a wave (S,) or a batch (B, S), float32 in [-1, 1].

        sample_rate: of `wave` in Hz (default: the codec's); another rate is converted. lengths:
        valid samples of each item. num_codebooks: keep only the first of each stream.
        threshold, max_group: of an adaptive codec, instead of its own (cosine similarity at or
        below which a new group starts; frames a group holds at most).
        """
        if isinstance(wave, Wave):
            wave, sample_rate, lengths = wave.samples_BxS, wave.sample_rate, wave.lengths_B
        samples_BxS = np.atleast_2d(np.asarray(wave, np.float32))
        if samples_BxS.ndim != 2 or samples_BxS.shape[1] == 0:
            raise ValueError(f"wave has shape {np.shape(wave)}; it should be (samples,) or (batch, samples), not empty")
        lengths = np.full(len(samples_BxS), samples_BxS.shape[1]) if lengths is None else np.asarray(lengths)
        if len(lengths) != len(samples_BxS) or lengths.min() < 1 or lengths.max() > samples_BxS.shape[1]:
            raise ValueError(f"lengths {lengths.tolist()} do not fit a batch of shape {samples_BxS.shape}")
        items = [x[:n] for x, n in zip(samples_BxS, lengths, strict=True)]
        if sample_rate not in (None, self.sample_rate):
            items = [resample(x[:, None], sample_rate, self.sample_rate)[:, 0] for x in items]
        rule = self._grouping(threshold, max_group)
        lengths = np.asarray([len(x) for x in items], np.int32)
        frames = int(self.cfg.num_frames(int(lengths.max())))
        if frames > self.grid.window:
            parts = [chunked.joined(self._windows(lambda a, b, x=x: x[a:b], len(x), *rule)) for x in items]
            parts = [chunked.collapse(*part) for part in parts] if self.is_adaptive else parts
            (acoustic, semantic, *durations), counts = chunked.stacked(parts)
            codes = Codes(acoustic, semantic, self.frame_rate, counts, *durations)
        else:
            batch = np.zeros((len(items), self.grid.padded(frames) * self.cfg.frame_hop), np.float32)
            for row, item in zip(batch, items, strict=True):
                row[: len(item)] = item
            codes, _ = self._encode(self._variables, self.extractor.params, batch, lengths, *rule, None)
            used = max(int(codes.lengths_B.max()), 1)
            durations = None if codes.durations_BxT is None else codes.durations_BxT[:, :used]
            streams = (c[:, :used] for c in (codes.acoustic_BxTxK, codes.semantic_BxTxK))
            codes = Codes(*streams, codes.frame_rate, codes.lengths_B, durations)
        if num_codebooks is None:
            return codes
        if not 1 <= num_codebooks <= min(self.num_codebooks):
            raise ValueError(f"num_codebooks is {num_codebooks}; {self.name} has 1 to {min(self.num_codebooks)}")
        streams = (c[..., :num_codebooks] for c in (codes.acoustic_BxTxK, codes.semantic_BxTxK))
        return Codes(*streams, codes.frame_rate, codes.lengths_B, codes.durations_BxT)

    def decode(self, codes: Codes, num_samples: Sequence[int] | int | None = None) -> Wave:
        """The wave of codes (B, T, K), whole frames long; num_samples: valid samples of each item, if fewer."""
        expanded = expand_codes(codes)
        acoustic, semantic = (np.asarray(c) for c in (expanded.acoustic_BxTxK, expanded.semantic_BxTxK))
        frames, hop = acoustic.shape[1], self.cfg.frame_hop
        valid = np.full(len(acoustic), frames) if expanded.lengths_B is None else np.asarray(expanded.lengths_B)
        if frames > self.grid.window:
            rows = [
                np.concatenate(list(self.decode_stream(a[:n], s[:n], int(n) * hop)))
                for a, s, n in zip(acoustic, semantic, valid, strict=True)
            ]
            samples = np.stack([np.pad(row, (0, frames * hop - len(row))) for row in rows])
        else:
            pad = ((0, 0), (0, self.grid.padded(frames) - frames), (0, 0))
            padded = Codes(np.pad(acoustic, pad), np.pad(semantic, pad), codes.frame_rate, valid.astype(np.int32))
            samples = np.asarray(self._decode(self._variables, padded))[:, : frames * hop]
        lengths = valid * hop if num_samples is None else np.minimum(valid * hop, num_samples)
        samples = np.where(np.arange(samples.shape[1]) < lengths[:, None], samples, 0.0)[:, : int(lengths.max())]
        return Wave(samples.astype(np.float32), self.sample_rate, lengths.astype(np.int32))

    def reconstruct(self, wave_S: np.ndarray) -> np.ndarray:
        """decode(encode(wave)) of one wave at the codec's rate, of the same length."""
        return self.decode(self.encode(wave_S), len(wave_S)).samples_BxS[0]

    def _windows(self, read: chunked.ReadSamples, num_samples: int, threshold, max_group):
        """(acoustic (T, K), semantic (T, K)[, whether a group starts (T,)]) chunk by chunk, frame by frame."""

        def window(wave_S, valid_samples, keep):
            starts = None
            if self.is_adaptive:
                starts = np.zeros((1, len(wave_S) // self.cfg.frame_hop), bool)
                starts[0, [i for i in (keep.start, keep.stop) if i < starts.shape[1]]] = True
            lengths = np.asarray([valid_samples], np.int32)
            arguments = (wave_S[None], lengths, threshold, max_group, starts)
            codes, groups = self._encode(self._variables, self.extractor.params, *arguments)
            streams = [codes.acoustic_BxTxK, codes.semantic_BxTxK]
            if groups is None:
                return tuple(np.asarray(c[0]) for c in streams)
            segment = np.asarray(groups.segment_BxT[0])
            streams = [np.asarray(expand(c, groups.segment_BxT)[0]) for c in streams]
            return *streams, np.diff(segment, prepend=-1) > 0

        return chunked.encode(window, read, num_samples, self.cfg.frame_hop, self.grid)

    def encode_stream(
        self,
        read: chunked.ReadSamples,
        num_samples: int,
        *,
        threshold: float | None = None,
        max_group: int | None = None,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """(acoustic, semantic, durations or None) of one recording that `read(start, stop)` gives piece by piece."""
        part = chunked.joined(self._windows(read, num_samples, *self._grouping(threshold, max_group)))
        return chunked.collapse(*part) if self.is_adaptive else (*part, None)

    def decode_stream(
        self,
        acoustic_TxK: np.ndarray,
        semantic_TxK: np.ndarray,
        num_samples: int,
        grid: chunked.Grid | None = None,
        durations_T: np.ndarray | None = None,
    ) -> Iterator[np.ndarray]:
        """Samples of one recording chunk by chunk, `num_samples` in all."""
        if durations_T is not None:
            acoustic_TxK, semantic_TxK = (np.repeat(c, durations_T, axis=0) for c in (acoustic_TxK, semantic_TxK))

        def window(acoustic, semantic, length):
            codes = Codes(acoustic[None], semantic[None], self.frame_rate, jnp.asarray([length], jnp.int32))
            return np.asarray(self._decode(self._variables, codes)[0])

        hop = self.cfg.frame_hop
        return chunked.decode(window, acoustic_TxK, semantic_TxK, num_samples, hop, grid or self.grid)

    def header(self, num_samples: int, source_rate: int, source_channels: int, num_groups: int = 0) -> Header:
        """The header of a token file of this codec."""
        return Header(
            codec=self.name,
            sample_rate=self.sample_rate,
            frame_hop=self.cfg.frame_hop,
            num_samples=num_samples,
            codebooks=self.num_codebooks,
            codebook_sizes=self.codebook_size,
            chunk_frames=self.grid.chunk,
            context_frames=self.grid.context,
            features=self.extractor.name,
            source_rate=source_rate,
            source_channels=source_channels,
            max_group=self.cfg.aggregation.max_group if self.is_adaptive else 0,
            num_groups=num_groups,
        )

    def check(self, file: TokenFile, name: str) -> None:
        """ContainerError unless the token file belongs to this codec."""
        theirs = file.header
        require_same_codec(theirs, self.header(theirs.num_samples, theirs.source_rate, theirs.source_channels), name)


def load_codec(
    source: str | os.PathLike, features: str | os.PathLike = "", encoding: bool = True, download: bool = False
) -> Codec:
    """A codec from a checkpoint or from PyTorch weights.

    source: a work directory of `train` or `convert`, one of its checkpoints, or a weight file
    of the public code (.safetensors, .pt, .pth, .ckpt, .bin), whose variant is recognised.
    features: folder or hub name of the SSL model's weights, where they can't be found by
    themselves. encoding: False leaves the SSL model out, for decoding alone. download: the SSL
    model may be downloaded from the Hugging Face hub. Averaged weights are used if the checkpoint
    has them.
    """
    from quarkaudio_jax.bridge.ssl import codec_extractor
    from quarkaudio_jax.training.saved_codec import read_any

    cfg, variables, wanted = read_any(source)
    if not encoding:
        return Codec(cfg, variables, Extractor(get_recipe(wanted.recipe)))
    return Codec(cfg, variables, codec_extractor(wanted, features, download))

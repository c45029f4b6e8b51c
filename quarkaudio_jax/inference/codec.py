"""Codecs: from waves to codes and back.

import quarkaudio_jax
codec = quarkaudio_jax.load_codec("runs/mine")
codes = codec.encode(wave, sample_rate)     # wave: (S,) or (B, S) floats in [-1, 1]
wave = codec.decode(codes)                  # a Wave: samples_BxS, sample_rate, lengths_B

Inputs are arrays of NumPy, JAX or PyTorch (on the CPU); outputs are NumPy arrays.
"""

import dataclasses
import logging
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from quarkaudio_jax.codec import chunked, inputs
from quarkaudio_jax.codec.aggregate import expand
from quarkaudio_jax.codec.hcodec import HCodec, HCodecConfig
from quarkaudio_jax.config import FeatureConfig
from quarkaudio_jax.errors import UserError
from quarkaudio_jax.io.token_file import TokenFile
from quarkaudio_jax.io.token_header import ContainerError, Header, require_same_codec
from quarkaudio_jax.io.transforms import resample
from quarkaudio_jax.nn.stack import stack_params, unstack_params
from quarkaudio_jax.ssl.features import Extractor, get_recipe
from quarkaudio_jax.types import Array, Codes, Wave
from quarkaudio_jax.weights.pretrained import write_codec
from quarkaudio_jax.weights.record import checksum
from quarkaudio_jax.weights.saved_codec import read_any_codec
from quarkaudio_jax.weights.ssl import codec_extractor

CHUNK_SECONDS, CONTEXT_SECONDS = 20.0, 2.0

LARGEST_WINDOW = 5
"""Longest chunks of a token file that are decoded, as a multiple of the codec's own: a bound on memory."""

logger = logging.getLogger(__name__)


class Codec:
    """An H-Codec with its weights and the extractor of its SSL features; see `load_codec`.

    Compiled once for every length in frames, rounded up to a power of two; more than 24 s are processed in chunks of
    20 s. Picklable, with its weights, for worker processes.
    """

    def __init__(self, cfg: HCodecConfig, variables: dict[str, Any], extractor: Extractor):
        self.cfg = cfg
        self.extractor = dataclasses.replace(extractor, params=jax.device_put(extractor.params))
        self._codec = HCodec(cfg, scan=False)
        variables = {"params": unstack_params(variables["params"]), "codebooks": variables["codebooks"]}
        self._variables = jax.device_put(variables)
        frames = [max(round(s * cfg.frame_rate), 1) for s in (CHUNK_SECONDS, CONTEXT_SECONDS)]
        self.chunk_spec = chunked.ChunkSpec(*frames)
        self._encode = jax.jit(self._encode_batch)
        self._decode = jax.jit(lambda variables, codes: self._codec.apply(variables, codes, method="decode"))
        self._fingerprint: int | None = None
        self._warned = False

    def __reduce__(self):
        extractor = dataclasses.replace(self.extractor, params=jax.device_get(self.extractor.params))
        state = {"chunk_spec": self.chunk_spec, "_fingerprint": self._fingerprint}
        return type(self), (self.cfg, jax.device_get(self._variables), extractor), state

    @property
    def name(self) -> str:
        """Name of the variant."""
        return self.cfg.name

    @property
    def sample_rate(self) -> int:
        """Sample rate of input and output in Hz."""
        return self.cfg.sample_rate

    @property
    def frame_rate(self) -> float:
        """Code frames a second; of an adaptive codec before grouping, an upper bound."""
        return self.cfg.frame_rate

    @property
    def num_codebooks(self) -> tuple[int, int]:
        """Numbers of codebooks of the acoustic and the semantic stream."""
        return self.cfg.acoustic_quantizer.num_codebooks, self.cfg.semantic_quantizer.num_codebooks

    @property
    def codebook_size(self) -> tuple[int, int]:
        """Entries of an acoustic and of a semantic codebook."""
        return self.cfg.acoustic_quantizer.codebook_size, self.cfg.semantic_quantizer.codebook_size

    @property
    def bitrate(self) -> float:
        """Bits a second of all codebooks; of an adaptive codec an upper bound."""
        return self.cfg.bitrate

    @property
    def is_adaptive(self) -> bool:
        """Whether a code can last several frames (`Codes.durations_BxT`)."""
        return self.cfg.aggregation is not None

    def num_windows(self, num_samples: int) -> int:
        """The number of windows in which `encode_stream` computes a recording of that length."""
        return self.chunk_spec.num_windows(int(self.cfg.num_frames(num_samples)))

    def fingerprint(self) -> int:
        """CRC-32 of all weights and codebooks as float32, in the order of their names; computed once.

        Equal for a checkpoint, its export to PyTorch and a reimport of that.
        """
        if self._fingerprint is None:
            self._fingerprint = checksum(self._variables)
        return self._fingerprint

    def save_pretrained(self, folder: str | os.PathLike, details: Mapping[str, Any] | None = None) -> pathlib.Path:
        """Writes model.safetensors (of the public code's names and shapes), config.json and a model card.

        `load_codec` reads the folder. details: further rows of the card, such as data, steps, metrics and license.
        """
        variables = {**self._variables, "params": stack_params(self._variables["params"])}
        features = FeatureConfig(self.extractor.name, model=self.extractor.model)
        return write_codec(folder, self.cfg, jax.device_get(variables), features, details)

    def _encode_batch(self, variables, frozen, wave_BxS, lengths_B, threshold, max_group, starts_BxT):
        """Codes, and for an adaptive codec the group of each frame."""
        cfg = self.cfg
        aligned_B = cfg.num_frames(lengths_B) * cfg.frame_hop
        size = (cfg.sample_rate, cfg.feature_hop, cfg.semantic.feature_dim)
        features = self.extractor(frozen, wave_BxS, *size, lengths_B=aligned_B)
        rule = (threshold, max_group, starts_BxT) if self.is_adaptive else ()
        emb = self._codec.apply(variables, wave_BxS, features, lengths_B, *rule, method="embed")
        return self._codec.apply(variables, emb, method="quantize"), emb.groups

    def _grouping(self, threshold, max_group) -> tuple[float, int]:
        """The checked threshold and group length; (0.0, 1) for a codec with a fixed frame rate."""
        rule = self.cfg.aggregation
        if rule is None:
            if threshold is not None or max_group is not None:
                raise UserError(f"{self.name} has a fixed frame rate: it takes no threshold or group length")
            return 0.0, 1
        max_group = rule.max_group if max_group is None else max_group
        max_group = inputs.as_int(max_group, "max_group", 1, rule.max_group, f"{self.name} allows")
        return inputs.as_number(rule.threshold if threshold is None else threshold, "threshold"), max_group

    def _kept(self, num_codebooks: int | None) -> int | None:
        """The checked number of codebooks to keep of each stream; None: all."""
        if num_codebooks is None:
            return None
        return inputs.as_int(num_codebooks, "num_codebooks", 1, min(self.num_codebooks), f"{self.name} has")

    def encode(
        self,
        wave: Wave | Array,
        sample_rate: int | None = None,
        lengths: Sequence[int] | np.ndarray | None = None,
        *,
        num_codebooks: int | None = None,
        threshold: float | None = None,
        max_group: int | None = None,
    ) -> Codes:
        """Encodes a wave (S,) or a batch (B, S) of floats in [-1, 1] to codes (B, T, K), int32.

        sample_rate: of `wave` in Hz (default: the codec's); other rates are resampled. lengths: valid samples of each
        item; samples after them are ignored. num_codebooks: keep only the first of each stream. threshold, max_group:
        of an adaptive codec, instead of its own (cosine similarity at or below which a new group starts; most frames of
        a group). UserError for integers, NaN or channels.
        """
        items, rate = inputs.check_waves(wave, sample_rate, lengths, self.sample_rate)
        if rate != self.sample_rate:
            items = [resample(x, rate, self.sample_rate) for x in items]
        rule, kept = self._grouping(threshold, max_group), self._kept(num_codebooks)
        counts = np.asarray([len(x) for x in items], np.int32)
        frames = int(self.cfg.num_frames(int(counts.max())))
        if frames > self.chunk_spec.window:
            parts = [chunked.concatenate(self._windows(_reader(x), len(x), *rule)) for x in items]
            parts = [chunked.run_length(*part) for part in parts] if self.is_adaptive else parts
            (acoustic, semantic, *durations), lengths_B = chunked.pad_stack(parts)
        else:
            batch = np.zeros((len(items), self.chunk_spec.padded(frames) * self.cfg.frame_hop), np.float32)
            for row, item in zip(batch, items, strict=True):
                row[: len(item)] = item
            codes, _ = self._encode(self._variables, self.extractor.params, batch, counts, *rule, None)
            lengths_B = np.array(codes.lengths_B)
            arrays = (codes.acoustic_BxTxK, codes.semantic_BxTxK, codes.durations_BxT)
            acoustic, semantic, *durations = (np.array(x[:, : lengths_B.max()]) for x in arrays if x is not None)
        return Codes(acoustic[..., :kept], semantic[..., :kept], self.frame_rate, lengths_B, *durations)

    def decode(self, codes: Codes, num_samples: Sequence[int] | int | None = None) -> Wave:
        """Decodes codes (B, T, K) to a wave of complete frames, float32.

        num_samples: valid samples of each item, if fewer. Streams may hold the first codebooks only. Codes after an
        item's `lengths_B` are ignored. Without durations, each code of an adaptive codec lasts a frame. UserError for
        codes that do not suit the codec.
        """
        acoustic, semantic, valid, durations = inputs.check_codes(self.cfg, codes)
        counts = None
        if num_samples is not None:
            counts = inputs.as_array(num_samples, "num_samples")
            counts = np.full(len(valid), counts) if counts.ndim == 0 else counts
            counts = inputs.as_counts(counts, "num_samples", len(valid), 0, None)
        if durations is not None:
            groups = zip(acoustic, semantic, durations, strict=True)
            (acoustic, semantic), valid = chunked.pad_stack([(a.repeat(d, 0), s.repeat(d, 0)) for a, s, d in groups])
        frames, hop = max(int(valid.max()), 1), self.cfg.frame_hop
        acoustic, semantic = acoustic[:, :frames], semantic[:, :frames]
        if frames > self.chunk_spec.window:
            rows = [
                np.concatenate(list(self._decode_chunks(a[:n], s[:n], int(n) * hop, self.chunk_spec)))
                for a, s, n in zip(acoustic, semantic, valid, strict=True)
            ]
            samples = np.stack([np.pad(row, (0, frames * hop - len(row))) for row in rows])
        else:
            pad = ((0, 0), (0, self.chunk_spec.padded(frames) - acoustic.shape[1]), (0, 0))
            padded = Codes(np.pad(acoustic, pad), np.pad(semantic, pad), self.frame_rate, valid)
            samples = np.asarray(self._decode(self._variables, padded))[:, : frames * hop]
        lengths = valid.astype(np.int64) * hop
        lengths = lengths if counts is None else np.minimum(lengths, counts)
        samples = np.where(np.arange(samples.shape[1]) < lengths[:, None], samples, 0.0)[:, : int(lengths.max())]
        return Wave(samples.astype(np.float32), self.sample_rate, lengths.astype(np.int32))

    def reconstruct(self, wave_S: np.ndarray) -> np.ndarray:
        """Encodes and decodes a wave (S,) at the codec's sample rate; returns the same length."""
        wave_S = inputs.check_wave(wave_S)
        return self.decode(self.encode(wave_S), len(wave_S)).samples_BxS[0]

    def _windows(self, read: chunked.ReadSamples, num_samples: int, threshold, max_group):
        """Yields (acoustic (T, K), semantic (T, K)[, whether a group starts (T,)]) of each chunk, by frames."""

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

        return chunked.encode(window, read, num_samples, self.cfg.frame_hop, self.chunk_spec)

    def encode_stream(
        self,
        read: chunked.ReadSamples,
        num_samples: int,
        *,
        threshold: float | None = None,
        max_group: int | None = None,
        num_codebooks: int | None = None,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Encodes a recording that is read in pieces by `read(start, stop)`; returns (acoustic, semantic, durations or None)."""
        rule, kept = self._grouping(threshold, max_group), self._kept(num_codebooks)
        num_samples = inputs.as_int(num_samples, "num_samples", 1, 1 << 53)
        part = chunked.concatenate(self._windows(inputs.checked_reader(read), num_samples, *rule))
        acoustic, semantic, *durations = chunked.run_length(*part) if self.is_adaptive else part
        return acoustic[:, :kept], semantic[:, :kept], durations[0] if durations else None

    def decode_stream(
        self,
        acoustic_TxK: np.ndarray,
        semantic_TxK: np.ndarray,
        num_samples: int,
        chunk_spec: chunked.ChunkSpec | None = None,
        durations_T: np.ndarray | None = None,
    ) -> Iterator[np.ndarray]:
        """Yields the samples of a recording in chunks, `num_samples` in total; codes as for `decode`, of one item."""
        one = (
            None if x is None else inputs.as_array(x, "codes")[None] for x in (acoustic_TxK, semantic_TxK, durations_T)
        )
        acoustic, semantic, durations = one
        codes = Codes(acoustic, semantic, self.frame_rate, None, durations)
        acoustic, semantic, _, durations = inputs.check_codes(self.cfg, codes)
        if durations is not None:
            acoustic, semantic = (c.repeat(durations[0], 1) for c in (acoustic, semantic))
        num_samples = inputs.as_int(num_samples, "num_samples", 0, acoustic.shape[1] * self.cfg.frame_hop)
        return self._decode_chunks(acoustic[0], semantic[0], num_samples, chunk_spec or self.chunk_spec)

    def _decode_chunks(
        self, acoustic_TxK, semantic_TxK, num_samples: int, chunk_spec: chunked.ChunkSpec
    ) -> Iterator[np.ndarray]:
        def window(acoustic, semantic, length):
            codes = Codes(acoustic[None], semantic[None], self.frame_rate, np.asarray([length], np.int32))
            return np.asarray(self._decode(self._variables, codes)[0])

        return chunked.decode(window, acoustic_TxK, semantic_TxK, num_samples, self.cfg.frame_hop, chunk_spec)

    def _description(self) -> dict[str, Any]:
        """Fields of a token file's header that describe the codec."""
        return dict(
            codec=self.name,
            sample_rate=self.sample_rate,
            frame_hop=self.cfg.frame_hop,
            codec_codebooks=self.num_codebooks,
            codebook_sizes=self.codebook_size,
            max_group=0 if self.cfg.aggregation is None else self.cfg.aggregation.max_group,
            fingerprint=f"{self.fingerprint():08x}",
        )

    def header(
        self,
        num_samples: int,
        source_rate: int,
        source_channels: int,
        num_groups: int = 0,
        num_codebooks: int | None = None,
    ) -> Header:
        """The header of a token file. num_groups: of an adaptive codec. num_codebooks: if only the first are stored."""
        kept = self._kept(num_codebooks)
        return Header(
            **self._description(),
            num_samples=num_samples,
            codebooks=self.num_codebooks if kept is None else (kept, kept),
            chunk_frames=self.chunk_spec.chunk,
            context_frames=self.chunk_spec.context,
            features=self.extractor.name,
            source_rate=source_rate,
            source_channels=source_channels,
            num_groups=num_groups if self.is_adaptive else 0,
        )

    def check(self, file: TokenFile, name: str, any_weights: bool = False) -> None:
        """ContainerError unless this codec made the token file, with these weights (any_weights: or others)."""
        header = file.header
        require_same_codec(header, self._description(), name, any_weights)
        window = min(chunked.ChunkSpec(header.chunk_frames, header.context_frames).window, header.num_frames)
        if window > LARGEST_WINDOW * self.chunk_spec.window:
            raise ContainerError(
                f"{name}: its chunks are {window / self.frame_rate:.0f} s long; {self.name} decodes "
                f"{LARGEST_WINDOW * self.chunk_spec.window / self.frame_rate:.0f} s at once at most"
            )
        if not header.fingerprint and not self._warned and not any_weights:
            self._warned = True
            logger.warning("%s: does not say which weights made it, as no file of version 1 does; not checked", name)


def _reader(wave_S: np.ndarray) -> chunked.ReadSamples:
    """read(start, stop) of samples in memory."""
    return lambda start, stop: wave_S[start:stop]


def load_codec(
    source: str | os.PathLike, features: str | os.PathLike = "", encoding: bool = True, download: bool = False
) -> Codec:
    """Loads a codec from a checkpoint or from PyTorch weights.

    source: a work directory of `train` or `convert`, one of its checkpoints, a folder of `save_pretrained`, a weight file
    of the public code (.safetensors, .pt, .pth, .ckpt, .bin), whose variant is detected, or a model of the Hugging Face
    hub, ORG/NAME[@REVISION][:FILE], which is downloaded unless its cache has it. features: folder or hub name of the SSL model's
    weights, where they are not found automatically. encoding: False loads no SSL model, for decoding only. download:
    whether the SSL model may be downloaded from the Hugging Face hub. Uses the EMA of the weights if the checkpoint has
    one.
    """
    cfg, variables, wanted = read_any_codec(source)
    if not encoding:
        return Codec(cfg, variables, Extractor(get_recipe(wanted.recipe), model=wanted.model))
    return Codec(cfg, variables, codec_extractor(wanted, features, download))

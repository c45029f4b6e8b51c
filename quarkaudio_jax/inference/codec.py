"""Codecs: from waves to codes and back.

import quarkaudio_jax
codec = quarkaudio_jax.load_codec("runs/mine")
codes = codec.encode(wave, sample_rate)     # wave: (S,) or (B, S) floats in [-1, 1]; stereo (S, 2) or (B, S, 2)
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
from quarkaudio_jax.codec.hcodec import HCodec, HCodecConfig, wave_shape
from quarkaudio_jax.codec.spatial import mid_of
from quarkaudio_jax.config import FeatureConfig
from quarkaudio_jax.errors import UserError
from quarkaudio_jax.inference.streaming import Streaming
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
        self._decode = jax.jit(
            lambda variables, codes, position: self._codec.apply(
                variables, codes, position_Bx3=position, method="decode"
            )
        )
        self._fingerprint: int | None = None
        self._warned = False

    def __reduce__(self):
        extractor = dataclasses.replace(self.extractor, params=jax.device_get(self.extractor.params))
        state = {"chunk_spec": self.chunk_spec, "_fingerprint": self._fingerprint}
        return type(self), (self.cfg, jax.device_get(self._variables), extractor), state

    def __repr__(self) -> str:
        rate = f"up to {self.frame_rate:g}" if self.is_adaptive else f"{self.frame_rate:g}"
        books = " + ".join(map(str, self.num_codebooks))
        sizes = "/".join(map(str, dict.fromkeys(self.codebook_size)))
        return (
            f"<Codec {self.name}: {self.sample_rate} Hz, {'mono' if self.channels == 1 else 'stereo'}, {rate} frames a second, "
            f"{books} codebooks of {sizes}, {self.bitrate / 1000:g} kbit/s, features {self.extractor.name}>"
        )

    @property
    def name(self) -> str:
        """Name of the variant."""
        return self.cfg.name

    @property
    def sample_rate(self) -> int:
        """Sample rate of input and output in Hz."""
        return self.cfg.sample_rate

    @property
    def hop_length(self) -> int:
        """Samples per frame of codes."""
        return self.cfg.frame_hop

    @property
    def frame_rate(self) -> float:
        """Code frames a second; of an adaptive codec before grouping, an upper bound."""
        return self.cfg.frame_rate

    @property
    def channels(self) -> int:
        """Channels of waves: 1, or 2 (left, right) of a stereo codec."""
        return self.cfg.channels

    @property
    def num_codebooks(self) -> tuple[int, ...]:
        """Numbers of codebooks of the acoustic, the semantic and, of a stereo codec, the spatial stream."""
        return tuple(quantizer.num_codebooks for quantizer in self.cfg.quantizers.values())

    @property
    def codebook_size(self) -> tuple[int, ...]:
        """Entries of a codebook of each stream."""
        return tuple(quantizer.codebook_size for quantizer in self.cfg.quantizers.values())

    @property
    def bitrate(self) -> float:
        """Bits a second of all codebooks; of an adaptive codec an upper bound."""
        return self.cfg.bitrate

    @property
    def is_adaptive(self) -> bool:
        """Whether a code can last several frames (`Codes.durations_BxT`)."""
        return self.cfg.aggregation is not None

    @property
    def can_spatialize(self) -> bool:
        """Whether the codec renders mono codes at a position (`spatialize`)."""
        return self.cfg.can_spatialize

    def require_mono(self, purpose: str) -> None:
        """UserError for a stereo codec, whose third stream `purpose` can't use."""
        if self.channels > 1:
            raise UserError(f"{self.name} is a stereo codec; {purpose}: name a mono codec")

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
        features = self.extractor(frozen, mid_of(wave_BxS), *size, lengths_B=aligned_B)
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
        return inputs.as_int(num_codebooks, "num_codebooks", 1, max(self.num_codebooks), f"{self.name} has")

    def kept_codebooks(self, num_codebooks: int | None) -> tuple[int, ...]:
        """Numbers of codebooks of each stream of what `encode` returns with that `num_codebooks`."""
        kept = self._kept(num_codebooks)
        return tuple(n if kept is None else min(kept, n) for n in self.num_codebooks)

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

        A stereo codec takes (S, 2) or (B, S, 2), left and right, or mono waves, whose channel it doubles. sample_rate: of
        `wave` in Hz (default: the codec's); other rates are resampled. lengths: valid samples of each item; samples after
        them are ignored. num_codebooks: keep only the first of each stream. threshold, max_group: of an adaptive codec,
        instead of its own (cosine similarity at or below which a new group starts; most frames of a group). UserError for
        integers, NaN, or channels that the codec does not have.
        """
        items, rate = inputs.check_waves(wave, sample_rate, lengths, self.sample_rate, self.channels)
        if rate != self.sample_rate:
            items = [resample(x, rate, self.sample_rate) for x in items]
        rule, kept = self._grouping(threshold, max_group), self._kept(num_codebooks)
        counts = np.asarray([len(x) for x in items], np.int32)
        frames = int(self.cfg.num_frames(int(counts.max())))
        if frames > self.chunk_spec.window:
            parts = [chunked.concatenate(self._windows(_reader(x), len(x), *rule)) for x in items]
            parts = [chunked.run_length(part[:-1], part[-1]) for part in parts] if self.is_adaptive else parts
            arrays, lengths_B = chunked.pad_stack(parts)
        else:
            batch = np.zeros(wave_shape(self.cfg, len(items), self._padded(frames)), np.float32)
            for row, item in zip(batch, items, strict=True):
                row[: len(item)] = item
            codes, _ = self._encode(self._variables, self.extractor.params, batch, counts, *rule, None)
            lengths_B = np.array(codes.lengths_B)
            found = (*codes.streams, codes.durations_BxT)
            arrays = [np.array(x[:, : lengths_B.max()]) for x in found if x is not None]
        acoustic, semantic, *spatial = (x[..., :kept] for x in arrays[: len(self.num_codebooks)])
        durations = arrays[-1] if self.is_adaptive else None
        return Codes(acoustic, semantic, self.frame_rate, lengths_B, durations, *spatial)

    def _padded(self, frames: int) -> int:
        """Samples of the padded window that holds that many frames."""
        return self.chunk_spec.padded(frames) * self.cfg.frame_hop

    def decode(self, codes: Codes, num_samples: Sequence[int] | int | None = None) -> Wave:
        """Decodes codes (B, T, K) to a wave of complete frames, float32; of a stereo codec (B, S, 2).

        num_samples: valid samples of each item, if fewer. Streams may hold the first codebooks only; a stereo codec decodes
        codes without spatial stream to equal channels. Codes after an item's `lengths_B` are ignored. Without durations,
        each code of an adaptive codec lasts a frame. UserError for codes that do not suit the codec.
        """
        return self._decode_batch(codes, num_samples, None)

    def spatialize(
        self,
        codes: Codes,
        azimuth: float | Sequence[float],
        elevation: float | Sequence[float] = 0.0,
        distance: float | Sequence[float] = 1.0,
        num_samples: Sequence[int] | int | None = None,
    ) -> Wave:
        """Decodes codes of mono sound to a stereo wave (B, S, 2), as heard from a position; see `decode`.

        azimuth: degrees, 0 in front, 90 to the left, -90 or 270 to the right. elevation: degrees, 90 above. distance: m, 0
        to 5. Each is a number or one for each item, taken down to a degree or 0.1 m. Spatial codes are not used. UserError
        for positions out of range, and of a codec without a mapping to stereo (`can_spatialize`).
        """
        if not self.can_spatialize:
            raise UserError(f"{self.name} has no mapping of mono to stereo: load a mono2stereo codec")
        codes = dataclasses.replace(codes, spatial_BxTxK=None) if isinstance(codes, Codes) else codes
        batch = len(inputs.check_codes(self.cfg, codes)[1])
        return self._decode_batch(codes, num_samples, inputs.check_position(azimuth, elevation, distance, batch))

    def _decode_batch(self, codes: Codes, num_samples, position_Bx3: np.ndarray | None) -> Wave:
        streams, valid, durations = inputs.check_codes(self.cfg, codes)
        counts = None
        if num_samples is not None:
            counts = inputs.as_array(num_samples, "num_samples")
            counts = np.full(len(valid), counts) if counts.ndim == 0 else counts
            counts = inputs.as_counts(counts, "num_samples", len(valid), 0, None)
        if durations is not None:
            groups = [[codes.repeat(d, 0) for codes in item] for *item, d in zip(*streams, durations, strict=True)]
            streams, valid = chunked.pad_stack([tuple(item) for item in groups])
        frames, hop = max(int(valid.max()), 1), self.cfg.frame_hop
        streams = [x[:, :frames] for x in streams]
        if frames > self.chunk_spec.window:
            samples = np.zeros(wave_shape(self.cfg, len(valid), frames * hop), np.float32)
            for i, count in enumerate(int(n) for n in valid):
                position = None if position_Bx3 is None else position_Bx3[i : i + 1]
                item = [x[i, :count] for x in streams]
                blocks = list(self._decode_chunks(item, count * hop, self.chunk_spec, position))
                samples[i, : count * hop] = np.concatenate(blocks)
        else:
            pad = ((0, 0), (0, self.chunk_spec.padded(frames) - frames), (0, 0))
            padded = self._codes([np.pad(x, pad) for x in streams], valid)
            samples = np.asarray(self._decode(self._variables, padded, position_Bx3))[:, : frames * hop]
        lengths = valid.astype(np.int64) * hop
        lengths = lengths if counts is None else np.minimum(lengths, counts)
        invalid_BxS = np.arange(samples.shape[1]) >= lengths[:, None]
        samples = np.array(samples, np.float32)
        samples[invalid_BxS] = 0.0
        return Wave(samples[:, : int(lengths.max())], self.sample_rate, lengths.astype(np.int32))

    def _codes(self, streams: Sequence[np.ndarray], lengths_B: np.ndarray) -> Codes:
        """Codes of streams in stored order."""
        acoustic, semantic, *spatial = streams
        return Codes(acoustic, semantic, self.frame_rate, lengths_B, None, *spatial)

    def reconstruct(self, wave: np.ndarray) -> np.ndarray:
        """Encodes and decodes a wave (S,), of a stereo codec also (S, 2), at the codec's sample rate, to the same length.

        The result has the codec's channels.
        """
        samples = inputs.as_samples(wave)
        if samples.ndim != 1 + (self.channels > 1 and samples.ndim == 2):
            samples = inputs.check_wave(samples)
        return self.decode(self.encode(samples), len(samples)).samples_BxS[0]

    def _windows(self, read: chunked.ReadSamples, num_samples: int, threshold, max_group):
        """Yields (codes (T, K) of each stream, ...[, whether a group starts (T,)]) of each chunk, by frames."""
        window = self._window_encoder(threshold, max_group)
        return chunked.encode(window, read, num_samples, self.cfg.frame_hop, self.chunk_spec)

    def _window_encoder(self, threshold: float, max_group: int) -> chunked.EncodeWindow:
        """What encodes a window; of an adaptive codec the last array says where groups start."""

        def window(wave, valid_samples, keep):
            starts = None
            if self.is_adaptive:
                starts = np.zeros((1, len(wave) // self.cfg.frame_hop), bool)
                starts[0, [i for i in (keep.start, keep.stop) if i < starts.shape[1]]] = True
            lengths = np.asarray([valid_samples], np.int32)
            arguments = (wave[None], lengths, threshold, max_group, starts)
            codes, groups = self._encode(self._variables, self.extractor.params, *arguments)
            if groups is None:
                return tuple(np.asarray(c[0]) for c in codes.streams)
            segment = np.asarray(groups.segment_BxT[0])
            streams = [np.asarray(expand(c, groups.segment_BxT)[0]) for c in codes.streams]
            return *streams, np.diff(segment, prepend=-1) > 0

        return window

    def encode_stream(
        self,
        read: chunked.ReadSamples,
        num_samples: int,
        *,
        threshold: float | None = None,
        max_group: int | None = None,
        num_codebooks: int | None = None,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray | None, np.ndarray | None]:
        """Encodes a recording that is read in pieces by `read(start, stop)`.

        Returns (acoustic (T, K), semantic, durations (T,) or None, spatial or None). What is read is (S,), of a stereo codec
        also (S, 2).
        """
        rule, kept = self._grouping(threshold, max_group), self._kept(num_codebooks)
        num_samples = inputs.as_int(num_samples, "num_samples", 1, 1 << 53)
        part = chunked.concatenate(self._windows(inputs.checked_reader(read, self.channels), num_samples, *rule))
        part = chunked.run_length(part[:-1], part[-1]) if self.is_adaptive else part
        acoustic, semantic, *spatial = (codes[:, :kept] for codes in part[: len(self.num_codebooks)])
        return acoustic, semantic, part[-1] if self.is_adaptive else None, spatial[0] if spatial else None

    def decode_stream(
        self,
        acoustic_TxK: np.ndarray,
        semantic_TxK: np.ndarray,
        num_samples: int,
        chunk_spec: chunked.ChunkSpec | None = None,
        durations_T: np.ndarray | None = None,
        spatial_TxK: np.ndarray | None = None,
        position: tuple[float, float, float] | None = None,
    ) -> Iterator[np.ndarray]:
        """Yields the samples of a recording in chunks, (S,) or (S, 2), `num_samples` in total.

        Codes are as for `decode`, of one item. position: azimuth, elevation and distance as for `spatialize`.
        """
        given = (acoustic_TxK, semantic_TxK, durations_T, None if position is not None else spatial_TxK)
        acoustic, semantic, *rest = (None if x is None else inputs.as_array(x, "codes")[None] for x in given)
        if position is not None and not self.can_spatialize:
            raise UserError(f"{self.name} has no mapping of mono to stereo: it takes no position")
        position_Bx3 = None if position is None else inputs.check_position(*position, 1)
        streams, _, durations = inputs.check_codes(self.cfg, Codes(acoustic, semantic, self.frame_rate, None, *rest))
        if durations is not None:
            streams = [codes.repeat(durations[0], 1) for codes in streams]
        num_samples = inputs.as_int(num_samples, "num_samples", 0, streams[0].shape[1] * self.cfg.frame_hop)
        item = [codes[0] for codes in streams]
        return self._decode_chunks(item, num_samples, chunk_spec or self.chunk_spec, position_Bx3)

    def _decode_chunks(
        self, streams: Sequence[np.ndarray], num_samples: int, chunk_spec: chunked.ChunkSpec, position_Bx3=None
    ) -> Iterator[np.ndarray]:
        window = self._window_decoder(position_Bx3)
        return chunked.decode(window, streams, num_samples, self.cfg.frame_hop, chunk_spec)

    def _window_decoder(self, position_Bx3: np.ndarray | None = None) -> chunked.DecodeWindow:
        """What decodes a window."""

        def window(streams: list[np.ndarray], length: int) -> np.ndarray:
            codes = self._codes([x[None] for x in streams], np.asarray([length], np.int32))
            return np.asarray(self._decode(self._variables, codes, position_Bx3)[0])

        return window

    def streaming(
        self,
        chunk_seconds: float = 1.0,
        context_seconds: float = 0.5,
        *,
        num_codebooks: int | None = None,
        threshold: float | None = None,
        max_group: int | None = None,
    ) -> Streaming:
        """A session that encodes samples, and decodes codes, as they arrive; see `Streaming`.

        chunk_seconds, context_seconds: what is computed at a time and what around it is computed with it, in whole frames.
        The other options are those of `encode`.
        """
        seconds = {"chunk_seconds": chunk_seconds, "context_seconds": context_seconds}
        frames = (round(inputs.as_number(value, name) * self.frame_rate) for name, value in seconds.items())
        encode = self._window_encoder(*self._grouping(threshold, max_group))
        kept = self.kept_codebooks(num_codebooks)
        return Streaming(self.cfg, chunked.ChunkSpec(*frames), encode, self._window_decoder(), kept)

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
        return Header(
            **self._description(),
            num_samples=num_samples,
            codebooks=self.kept_codebooks(num_codebooks),
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
    hub, `ORG/NAME[@REVISION][:FILE]`, which is downloaded unless its cache has it. features: folder or hub name of the SSL
    model's weights, where they are not found automatically. encoding: False loads no SSL model, for decoding only.
    download: whether the SSL model may be downloaded from the Hugging Face hub. Uses the EMA of the weights if the
    checkpoint has one.
    """
    cfg, variables, wanted = read_any_codec(source)
    if not encoding:
        return Codec(cfg, variables, Extractor(get_recipe(wanted.recipe), model=wanted.model))
    return Codec(cfg, variables, codec_extractor(wanted, features, download))

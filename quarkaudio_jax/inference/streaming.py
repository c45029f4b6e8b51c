"""A codec that encodes samples and decodes codes as they arrive."""

from typing import Any

import numpy as np

from quarkaudio_jax.codec import chunked, inputs
from quarkaudio_jax.codec.hcodec import HCodecConfig
from quarkaudio_jax.errors import UserError
from quarkaudio_jax.types import Codes, ceil_div


class Streaming:
    """Encoding and decoding step by step, in bounded memory.

    with codec.streaming(chunk_seconds=1.0, context_seconds=0.5) as session:
        for samples in microphone:                      # (S,) of any length, at the codec's rate; stereo (S, 2)
            wave = session.decode(session.push(samples))
        wave = session.decode(session.finish(), last=True)

    A sample's codes come `latency` seconds later at most (the first ones a context later), a code's samples again as much.
    Made by `Codec.streaming`; num_codebooks: that are kept of each stream. Codes and samples are those of `encode_stream` and
    `decode_stream` in the same chunks, however they were pushed.
    """

    def __init__(
        self,
        cfg: HCodecConfig,
        chunk_spec: chunked.ChunkSpec,
        encode: chunked.EncodeWindow,
        decode: chunked.DecodeWindow,
        num_codebooks: tuple[int, ...],
    ):
        self.chunk_spec = chunk_spec
        self._cfg, self._encode, self._decode, self._kept = cfg, encode, decode, num_codebooks
        self._adaptive = cfg.aggregation is not None
        self._pushed, self._given = chunked.OpenWindows(self.chunk_spec), chunked.OpenWindows(self.chunk_spec)
        self._samples = np.zeros((0,) if cfg.channels == 1 else (0, cfg.channels), np.float32)
        self._codes: list[np.ndarray] | None = None
        self._first_sample = self._first_code = 0
        self._ended = False

    def __enter__(self) -> "Streaming":
        return self

    def __exit__(self, *error: Any) -> None:
        self._ended = True

    @property
    def latency(self) -> float:
        """Seconds that a sample waits at most for its codes, or a code for its samples, besides the time of computing."""
        return (self.chunk_spec.chunk + self.chunk_spec.context) / self._cfg.frame_rate

    def push(self, samples: np.ndarray) -> Codes:
        """Takes the next samples, and returns the codes (1, T, K) that they complete; T may be 0."""
        if self._ended:
            raise UserError("this session has ended: begin another by codec.streaming()")
        wave = np.asarray(inputs.as_samples(samples), np.float32)
        if wave.ndim == 1 and self._cfg.channels > 1:
            wave = np.repeat(wave[:, None], self._cfg.channels, axis=1)
        if wave.shape[1:] != self._samples.shape[1:]:
            raise UserError(f"samples are {wave.shape}; {self._cfg.name} has {self._cfg.channels} channels")
        self._samples = np.concatenate([self._samples, wave])
        return self._encoded(ended=False)

    def finish(self) -> Codes:
        """The codes of what was pushed and has none yet; no samples can follow."""
        self._ended = True
        return self._encoded(ended=True)

    def _encoded(self, ended: bool) -> Codes:
        total = self._first_sample + len(self._samples)
        frames = ceil_div(total, self._cfg.frame_hop) if ended else total // self._cfg.frame_hop
        found = []
        for window in self._pushed.ready(frames, ended):
            start = window.start * self._cfg.frame_hop - self._first_sample
            samples = self._samples[start : window.stop * self._cfg.frame_hop - self._first_sample]
            arrays = chunked.encode_one(self._encode, window, samples, self._cfg.frame_hop, self.chunk_spec)
            found.append(chunked.run_length(arrays[:-1], arrays[-1]) if self._adaptive else arrays)
        done = self._pushed.needed * self._cfg.frame_hop - self._first_sample
        self._samples, self._first_sample = self._samples[done:], self._first_sample + done
        parts = chunked.concatenate(iter(found)) if found else ()
        empty = [np.zeros((0, count), np.int32) for count in self._kept]
        streams = [x[:, :count] for x, count in zip(parts, self._kept, strict=False)] if parts else empty
        acoustic, semantic, *spatial = (x[None] for x in streams)
        durations = None
        if self._adaptive:
            durations = parts[-1][None] if parts else np.zeros((1, 0), np.int32)
        return Codes(acoustic, semantic, self._cfg.frame_rate, None, durations, *spatial)

    def decode(self, codes: Codes, last: bool = False) -> np.ndarray:
        """Takes the next codes (1, T, K), and returns the samples (S,) or (S, 2) that they complete; last: no more follow."""
        if codes.acoustic_BxTxK.shape[1]:
            streams, _, durations = inputs.check_codes(self._cfg, codes)
            item = [x[0] if durations is None else x[0].repeat(durations[0], 0) for x in streams]
            held = self._codes or [x[:0] for x in item]
            self._codes = [np.concatenate(pair) for pair in zip(held, item, strict=True)]
        empty = self._samples[:0]
        if self._codes is None:
            return empty
        found = []
        for window in self._given.ready(self._first_code + len(self._codes[0]), last):
            part = [x[window.start - self._first_code : window.stop - self._first_code] for x in self._codes]
            found.append(chunked.decode_one(self._decode, window, part, self._cfg.frame_hop, self.chunk_spec))
        done = self._given.needed - self._first_code
        self._codes, self._first_code = [x[done:] for x in self._codes], self._first_code + done
        return np.concatenate(found) if found else empty

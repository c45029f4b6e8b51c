"""The header of a token file, with a check of every field; see `io.token_file`."""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from quarkaudio_jax.errors import QuarkAudioError
from quarkaudio_jax.types import STREAMS, ceil_div


class ContainerError(QuarkAudioError, ValueError):
    """A token file that is damaged, in another format, or of another codec."""


RANGES = {
    "sample_rate": (1, 10**7),
    "frame_hop": (1, 1 << 24),
    "num_samples": (1, 1 << 53),
    "codebooks": (1, 1024),
    "codebook_sizes": (2, 1 << 24),
    "chunk_frames": (1, 1 << 24),
    "context_frames": (0, 1 << 24),
    "source_rate": (1, 1 << 32),
    "source_channels": (1, 1 << 16),
    "max_group": (0, 1 << 16),
    "num_groups": (0, 1 << 53),
    "codec_codebooks": (1, 1024),
}
"""Field -> (smallest, largest) value of the numbers in the header."""

PER_STREAM = ("codebooks", "codebook_sizes", "codec_codebooks")
"""Fields with a number for each stream."""

WIDEST_CONTEXT = 16
"""Largest ratio of context frames to chunk frames: decoding time grows with it."""


@dataclasses.dataclass(frozen=True)
class Header:
    """Header of a token file; ContainerError for an invalid field.

    codec: name of its variant. sample_rate: of the codec, in Hz; num_samples: of the recording at that rate. codebooks,
    codebook_sizes: per stream, acoustic, semantic and, of a stereo codec, spatial. chunk_frames, context_frames: chunks
    of `codec.chunked`; decoding uses the same. features: recipe of the SSL features. source_rate, source_channels: of the
    encoded file. max_group, num_groups: of an adaptive codec, maximum frames per group and groups in the payload; 0
    otherwise. fingerprint: CRC-32 of the codec's weights as eight hexadecimal digits (`Codec.fingerprint`), empty if
    unknown. codec_codebooks: codebooks of the codec per stream, of which the file holds the first `codebooks` (the
    default: all).
    """

    codec: str
    sample_rate: int
    frame_hop: int
    num_samples: int
    codebooks: tuple[int, ...]
    codebook_sizes: tuple[int, ...]
    chunk_frames: int
    context_frames: int
    features: str
    source_rate: int
    source_channels: int
    max_group: int = 0
    num_groups: int = 0
    fingerprint: str = ""
    codec_codebooks: tuple[int, ...] = ()

    def __post_init__(self):
        if self.codec_codebooks == ():
            object.__setattr__(self, "codec_codebooks", self.codebooks)
        for field in dataclasses.fields(self):
            _check_field(field.name, getattr(self, field.name))
        for name in PER_STREAM[1:]:
            if len(getattr(self, name)) != len(self.codebooks):
                raise wrong(name, getattr(self, name), f"{len(self.codebooks)} integers, one for each of codebooks")
        if any(kept > count for kept, count in zip(self.codebooks, self.codec_codebooks, strict=True)):
            raise wrong("codebooks", self.codebooks, f"at most codec_codebooks, {self.codec_codebooks}")
        if self.context_frames > WIDEST_CONTEXT * self.chunk_frames:
            raise wrong("context_frames", self.context_frames, f"at most {WIDEST_CONTEXT} times chunk_frames")
        if self.max_group and not 1 <= self.num_groups <= self.num_frames:
            raise wrong("num_groups", self.num_groups, f"1 to {self.num_frames}, the recording's frames")

    @property
    def num_frames(self) -> int:
        """Code frames of the recording."""
        return ceil_div(self.num_samples, self.frame_hop)

    @property
    def num_rows(self) -> int:
        """Rows of the payload: frames, or groups of frames."""
        return self.num_groups if self.max_group else self.num_frames

    @property
    def bits(self) -> list[int]:
        """Bits of each number in a row, in order."""
        pairs = zip(self.codebooks, self.codebook_sizes, strict=True)
        bits = [(size - 1).bit_length() for count, size in pairs for _ in range(count)]
        return [*bits, (self.max_group - 1).bit_length()] if self.max_group else bits

    @property
    def limits(self) -> list[int]:
        """Exclusive upper limit of each number in a row, in order."""
        pairs = zip(self.codebooks, self.codebook_sizes, strict=True)
        sizes = [size for count, size in pairs for _ in range(count)]
        return [*sizes, self.max_group] if self.max_group else sizes

    @property
    def payload_bits(self) -> int:
        """Bits of all codes."""
        return self.num_rows * sum(self.bits)

    @property
    def seconds(self) -> float:
        """Duration of the recording."""
        return self.num_samples / self.sample_rate


def wrong(field: str, value: Any, what: str) -> ContainerError:
    """The error for an invalid field."""
    text = repr(value)
    text = text if len(text) <= 60 else text[:57] + "..."
    return ContainerError(f"the header's {field} is {text}; it should be {what}")


def _check_field(name: str, value: Any) -> None:
    """Raises ContainerError unless a field has the right type and is in its range."""
    if name == "fingerprint":
        if not isinstance(value, str) or not re.fullmatch(r"[0-9a-f]{8}|", value):
            raise wrong(name, value, "eight hexadecimal digits")
    elif name in ("codec", "features"):
        if not isinstance(value, str) or not 1 <= len(value) <= 200 or not value.isprintable():
            raise wrong(name, value, "a name")
    else:
        low, high = RANGES[name]
        several = name in PER_STREAM
        values = value if several else (value,)
        fits = isinstance(values, tuple) and len(values) in ((2, len(STREAMS)) if several else (1,))
        if not fits or not all(type(v) is int and low <= v <= high for v in values):
            raise wrong(name, value, f"{'two or three integers' if several else 'an integer'}, {low} to {high}")


def require_same_codec(theirs: Header, ours: Mapping[str, Any], name: str, any_weights: bool = False) -> None:
    """Raises ContainerError, with the difference, unless the codec with the fields `ours` can decode the file `name`.

    any_weights: accept other weights of the same codec.
    """
    for field in ("sample_rate", "frame_hop", "codec_codebooks", "codebook_sizes", "max_group", "codec"):
        value, own = getattr(theirs, field), ours[field]
        if value != own:
            raise ContainerError(
                f"{name}: made with codec {theirs.codec} ({theirs.sample_rate} Hz, {field} {value}), but the checkpoint "
                f"is {ours['codec']} ({ours['sample_rate']} Hz, {field} {own}); give the checkpoint it was made with"
            )
    if theirs.fingerprint not in ("", ours["fingerprint"]) and not any_weights:
        raise ContainerError(
            f"{name}: made with weights {theirs.fingerprint} of {theirs.codec}, but the checkpoint has weights "
            f"{ours['fingerprint']}; give the checkpoint it was made with (--any-weights decodes it all the same)"
        )

"""CLAP's audio encoder (arXiv:2211.06687): HTS-AT (arXiv:2202.00874), a Swin transformer (arXiv:2103.14030) on log mel.

The spectrogram of ten seconds is cut in time into `fold` pieces that are stacked along frequency, so that a square
image enters a Swin transformer. Computed as transformers does, for windows of one length.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from quarkaudio_jax.errors import UserError
from quarkaudio_jax.io.mel import mel_filters
from quarkaudio_jax.nn.init import logical
from quarkaudio_jax.nn.linear import Linear
from quarkaudio_jax.nn.norm import LayerNorm
from quarkaudio_jax.nn.stft import stft

BATCH_NORM_EPS = PATCH_NORM_EPS = 1e-5
FAR = -100.0
"""Added to the scores of two places that only the cyclic shift made neighbors."""


@dataclasses.dataclass(frozen=True)
class ClapAudioConfig:
    """dim, depths, heads: of the first stage, and of every stage; a later stage is twice as wide as the one before.

    window: places a side within which attention acts. image: the spectrogram's side in bins, `fold` times `bands`.
    projected: the embedding's width. sample_rate (Hz), seconds, n_fft, hop, low and high (Hz): of the spectrogram; htk:
    triangles of the HTK scale without Slaney's norm, as the models with feature fusion have. padding: what fills a
    short recording up, "repeatpad" (whole repetitions, then zeros), "repeat" or "pad".
    """

    dim: int = 96
    depths: tuple[int, ...] = (2, 2, 6, 2)
    heads: tuple[int, ...] = (4, 8, 16, 32)
    window: int = 8
    image: int = 256
    bands: int = 64
    patch: int = 4
    hidden_ratio: float = 4.0
    projected: int = 512
    eps: float = 1e-5
    sample_rate: int = 48000
    seconds: int = 10
    n_fft: int = 1024
    hop: int = 480
    low: float = 50.0
    high: float = 14000.0
    htk: bool = False
    padding: str = "repeatpad"

    @property
    def samples(self) -> int:
        """Of a window, the encoder's input."""
        return self.seconds * self.sample_rate

    @property
    def fold(self) -> int:
        """Pieces of the time axis that are stacked along frequency."""
        return self.image // self.bands

    @property
    def sides(self) -> tuple[int, ...]:
        """Places a side at every stage."""
        return tuple(self.image // self.patch // 2**stage for stage in range(len(self.depths)))

    def __post_init__(self):
        if self.padding not in ("repeatpad", "repeat", "pad"):
            raise UserError(f"CLAP: padding is {self.padding!r}; it should be repeatpad, repeat or pad")
        if self.image % self.bands or self.image % (self.patch * 2 ** (len(self.depths) - 1)):
            raise UserError(f"CLAP: an image of {self.image} does not fold from {self.bands} bands or into its stages")
        for side in self.sides:
            if side % self.window:
                raise UserError(f"CLAP: a stage of {side} places a side does not split into windows of {self.window}")
        if self.samples // self.hop + 1 > self.image * self.fold:
            raise UserError(
                f"CLAP: {self.seconds} s are more frames than {self.image * self.fold}, which the image holds"
            )


CLAP_AUDIO = ClapAudioConfig()


def clap_windows(wave_S: np.ndarray, cfg: ClapAudioConfig) -> np.ndarray:
    """A recording as windows (N, cfg.samples): one, filled up as `cfg.padding` says, or as few as cover a longer one.

    The windows of a longer recording lie evenly, the first at its start and the last at its end.
    """
    size = len(wave_S)
    if not size:
        raise UserError("CLAP: the recording is empty")
    if size < cfg.samples:
        if cfg.padding == "repeat":
            wave_S = np.tile(wave_S, cfg.samples // size + 1)[: cfg.samples]
        elif cfg.padding == "repeatpad":
            wave_S = np.tile(wave_S, cfg.samples // size)
        return np.pad(wave_S, (0, cfg.samples - len(wave_S)))[None].astype(np.float32)
    starts = np.linspace(0, size - cfg.samples, -(-size // cfg.samples)).round().astype(int)
    return np.stack([wave_S[i : i + cfg.samples] for i in starts]).astype(np.float32)


def clap_mel(wave_BxS: jax.Array, cfg: ClapAudioConfig) -> jax.Array:
    """Log mel power in dB, (B, S // hop + 1, bands) float32; frames are centered, the ends reflected."""
    pad = cfg.n_fft // 2
    spectrum = stft(jnp.pad(wave_BxS, ((0, 0), (pad, pad)), mode="reflect"), cfg.n_fft, cfg.hop)
    power = jnp.square(spectrum.real) + jnp.square(spectrum.imag)
    mel = power @ mel_filters(cfg.sample_rate, cfg.n_fft, cfg.bands, cfg.low, cfg.high, cfg.htk)
    return 10.0 * jnp.log10(jnp.maximum(mel, 1e-10))


def bicubic(size: int, wanted: int) -> np.ndarray:
    """(wanted, size) float32: the matrix that resamples an axis by cubic convolution (Keys 1981, a = -0.75).

    The ends of both axes coincide, and what lies beyond them repeats the last value, as PyTorch does.
    """
    places = np.arange(wanted) * ((size - 1) / max(wanted - 1, 1))
    base = np.floor(places).astype(int)
    matrix = np.zeros((wanted, size))
    for tap in range(-1, 3):
        x = np.abs(places - base - tap)
        near = (1.25 * x - 2.25) * x * x + 1
        far = -0.75 * (((x - 5) * x + 8) * x - 4)
        weight = np.where(x <= 1, near, np.where(x < 2, far, 0.0))
        np.add.at(matrix, (np.arange(wanted), np.clip(base + tap, 0, size - 1)), weight)
    return matrix.astype(np.float32)


def relative_index(window: int) -> np.ndarray:
    """(window^2, window^2) rows of the bias table, by the distance between two places of a window."""
    y, x = np.divmod(np.arange(window * window), window)
    span = 2 * window - 1
    return (y[:, None] - y[None] + window - 1) * span + x[:, None] - x[None] + window - 1


def shift_mask(side: int, window: int, shift: int) -> np.ndarray:
    """(windows, window^2, window^2) float32: FAR between places that the cyclic shift brought together, otherwise 0."""
    region = (np.arange(side) >= side - window).astype(int) + (np.arange(side) >= side - shift)
    kind = np.asarray(split_windows(3 * region[None, :, None, None] + region[None, None, :, None], window))[..., 0]
    return np.where(kind[:, None] != kind[:, :, None], FAR, 0.0).astype(np.float32)


def split_windows(x_BxHxWxC: jax.Array, window: int) -> jax.Array:
    """(B * windows, window^2, C)."""
    batch, height, width, channels = x_BxHxWxC.shape
    x = x_BxHxWxC.reshape(batch, height // window, window, width // window, window, channels)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(-1, window * window, channels)


def join_windows(x_NxLxC: jax.Array, window: int, side: int) -> jax.Array:
    """The inverse of `split_windows` for an image of `side` places a side."""
    x = x_NxLxC.reshape(-1, side // window, side // window, window, window, x_NxLxC.shape[-1])
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(-1, side, side, x_NxLxC.shape[-1])


class WindowBlock(nn.Module):
    """Attention within windows, which lie half a window further in every second block, and a GELU MLP."""

    cfg: ClapAudioConfig
    num_heads: int
    shifted: bool
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x_BxHxWxD: jax.Array) -> jax.Array:
        cfg, (batch, side, _, dim) = self.cfg, x_BxHxWxD.shape
        window = cfg.window
        shift = window // 2 if self.shifted and side > window else 0
        x = jnp.roll(LayerNorm(cfg.eps, self.dtype, name="attention_norm")(x_BxHxWxD), (-shift, -shift), (1, 2))
        x_NxLxD = split_windows(x, window)
        q, k, v = (
            Linear(dim, dtype=self.dtype, axes=("embed", "heads"), name=name)(x_NxLxD).reshape(
                -1, window * window, self.num_heads, dim // self.num_heads
            )
            for name in ("query", "key", "value")
        )
        init = logical(nn.initializers.normal(0.02), None, "heads")
        table = self.param("relative_bias", init, ((2 * window - 1) ** 2, self.num_heads))
        bias = table[relative_index(window)].transpose(2, 0, 1)[None]
        if shift:
            bias = bias + jnp.tile(shift_mask(side, window, shift), (batch, 1, 1))[:, None]
        x = jax.nn.dot_product_attention(q, k, v, bias=bias.astype(self.dtype)).reshape(-1, window * window, dim)
        x = Linear(dim, dtype=self.dtype, axes=("heads", "embed"), name="out")(x)
        x_BxHxWxD = x_BxHxWxD + jnp.roll(join_windows(x, window, side), (shift, shift), (1, 2))
        x = LayerNorm(cfg.eps, self.dtype, name="mlp_norm")(x_BxHxWxD)
        x = nn.gelu(Linear(int(cfg.hidden_ratio * dim), dtype=self.dtype, name="up")(x), approximate=False)
        return x_BxHxWxD + Linear(dim, dtype=self.dtype, axes=("mlp", "embed"), name="down")(x)


class ClapAudioEncoder(nn.Module):
    """Windows (B, cfg.samples) at cfg.sample_rate -> embeddings (B, projected) float32, not normalized."""

    cfg: ClapAudioConfig
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, wave_BxS: jax.Array) -> jax.Array:
        cfg = self.cfg
        if wave_BxS.shape[1] != cfg.samples:
            raise ValueError(f"CLAP: a window has {cfg.samples} samples, not {wave_BxS.shape[1]}; see clap_windows")
        x = _BatchNorm(name="band_norm")(clap_mel(wave_BxS, cfg))
        x = jnp.einsum("ot,btf->bof", bicubic(x.shape[1], cfg.image * cfg.fold), x)
        x = x.reshape(-1, cfg.fold, cfg.image, cfg.bands).swapaxes(2, 3).reshape(-1, cfg.image, cfg.image, 1)
        x = _Patches(cfg, self.dtype, name="patches")(x)
        for stage, (depth, num_heads) in enumerate(zip(cfg.depths, cfg.heads, strict=True)):
            if stage:
                x = jnp.concatenate([x[:, row::2, col::2] for col in range(2) for row in range(2)], axis=-1)
                x = LayerNorm(PATCH_NORM_EPS, self.dtype, name=f"merge_norm_{stage - 1}")(x)
                x = Linear(cfg.dim * 2**stage, use_bias=False, dtype=self.dtype, name=f"merge_{stage - 1}")(x)
            for i in range(depth):
                x = WindowBlock(cfg, num_heads, i % 2 == 1, self.dtype, name=f"stage_{stage}_block_{i}")(x)
        pooled = LayerNorm(PATCH_NORM_EPS, name="norm")(x).mean((1, 2))
        return Linear(cfg.projected, name="project_out")(nn.relu(Linear(cfg.projected, name="project_in")(pooled)))


class _BatchNorm(nn.Module):
    """Batch normalization over the last axis with the statistics that training left."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        def vector(name: str, init) -> jax.Array:
            return self.param(name, logical(init, "norm"), (x.shape[-1],))

        scale, bias = vector("scale", nn.initializers.ones), vector("bias", nn.initializers.zeros)
        mean, variance = vector("mean", nn.initializers.zeros), vector("variance", nn.initializers.ones)
        return (x - mean) * (scale * jax.lax.rsqrt(variance + BATCH_NORM_EPS)) + bias


class _Patches(nn.Module):
    """An image (B, H, W, 1) as a normalized vector per square of `patch` bins a side."""

    cfg: ClapAudioConfig
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x_BxHxWx1: jax.Array) -> jax.Array:
        size, side = self.cfg.patch, x_BxHxWx1.shape[1] // self.cfg.patch
        x = x_BxHxWx1.reshape(-1, side, size, side, size).swapaxes(2, 3).reshape(-1, side, side, size * size)
        x = Linear(self.cfg.dim, dtype=self.dtype, axes=(None, "embed"), name="linear")(x)
        return LayerNorm(PATCH_NORM_EPS, self.dtype, name="norm")(x)


class ClapAudio:
    """The encoder with its weights, over recordings of any lengths."""

    def __init__(self, cfg: ClapAudioConfig, params: Any, batch: int = 4):
        self.cfg, self._batch, self._params = cfg, batch, jax.device_put(params)
        self._embed = jax.jit(lambda params, wave: ClapAudioEncoder(cfg).apply({"params": params}, wave))

    def __call__(self, waves: Sequence[np.ndarray]) -> list[np.ndarray]:
        """(N, projected) float32 of each wave at cfg.sample_rate, of unit length, one a window (see `clap_windows`)."""
        windows = [clap_windows(wave, self.cfg) for wave in waves]
        joined, found = np.concatenate(windows), []
        for begin in range(0, len(joined), self._batch):
            part = joined[begin : begin + self._batch]
            padded = np.pad(part, ((0, self._batch - len(part)), (0, 0)))
            found.append(np.asarray(self._embed(self._params, padded))[: len(part)])
        found = np.concatenate(found)
        found /= np.linalg.norm(found, axis=-1, keepdims=True)
        return np.split(found, np.cumsum([len(w) for w in windows])[:-1])

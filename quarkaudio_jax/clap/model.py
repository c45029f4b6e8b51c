"""CLAP's audio encoder (arXiv:2211.06687): HTS-AT (arXiv:2202.00874), a Swin transformer (arXiv:2103.14030) on log mel.

The spectrogram of ten seconds is split in time into `fold` pieces that are stacked along frequency, to a square image for a
Swin transformer. Equal to the transformers library's, for windows of one length.
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
from quarkaudio_jax.types import ceil_div

BATCH_NORM_EPS = PATCH_NORM_EPS = 1e-5
SHIFT_MASK = -100.0
"""Attention bias between patches that are neighbors only through the cyclic shift."""


@dataclasses.dataclass(frozen=True)
class ClapAudioConfig:
    """Configuration of `ClapAudioEncoder`.

    dim: width of the first stage; each stage is twice as wide as the previous one. depths, heads: blocks and heads of the
    stages. window: side of the attention windows, in patches. image: side of the spectrogram image in bins, `fold` times
    `bands`. patch: side of a patch in bins. projected: width of the embedding. sample_rate (Hz), seconds, n_fft, hop, low
    and high (Hz): of the spectrogram. htk: HTK mel scale without Slaney's norm, as in the models with feature fusion.
    padding: of short recordings, "repeatpad" (complete repetitions, then zeros), "repeat" or "pad".
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
        """Samples of the encoder's input."""
        return self.seconds * self.sample_rate

    @property
    def fold(self) -> int:
        """Pieces of the time axis stacked along frequency."""
        return self.image // self.bands

    @property
    def sides(self) -> tuple[int, ...]:
        """Side of the image in patches at each stage."""
        return tuple(self.image // self.patch // 2**stage for stage in range(len(self.depths)))

    def __post_init__(self):
        if self.padding not in ("repeatpad", "repeat", "pad"):
            raise UserError(f"CLAP: padding is {self.padding!r}; it should be repeatpad, repeat or pad")
        if self.image % self.bands or self.image % (self.patch * 2 ** (len(self.depths) - 1)):
            raise UserError(f"CLAP: an image of {self.image} does not fold from {self.bands} bands or into its stages")
        for side in self.sides:
            if side % self.window:
                raise UserError(
                    f"CLAP: a stage of {side} by {side} patches does not split into windows of {self.window}"
                )
        if self.samples // self.hop + 1 > self.image * self.fold:
            raise UserError(
                f"CLAP: {self.seconds} s are more frames than {self.image * self.fold}, which the image holds"
            )


CLAP_AUDIO = ClapAudioConfig()


def clap_windows(wave_S: np.ndarray, cfg: ClapAudioConfig) -> np.ndarray:
    """Splits a recording into windows (N, cfg.samples); a short one is padded according to `cfg.padding`.

    A longer recording has the fewest evenly spaced windows that cover it, from its start to its end.
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
    starts = np.linspace(0, size - cfg.samples, ceil_div(size, cfg.samples)).round().astype(int)
    return np.stack([wave_S[i : i + cfg.samples] for i in starts]).astype(np.float32)


def clap_mel(wave_BxS: jax.Array, cfg: ClapAudioConfig) -> jax.Array:
    """Log mel power in dB, (B, S // hop + 1, bands) float32; from centered frames with reflection at the ends."""
    pad = cfg.n_fft // 2
    spectrum = stft(jnp.pad(wave_BxS, ((0, 0), (pad, pad)), mode="reflect"), cfg.n_fft, cfg.hop)
    power = jnp.square(spectrum.real) + jnp.square(spectrum.imag)
    mel = power @ mel_filters(cfg.sample_rate, cfg.n_fft, cfg.bands, cfg.low, cfg.high, cfg.htk)
    return 10.0 * jnp.log10(jnp.maximum(mel, 1e-10))


def bicubic(size: int, new_size: int) -> np.ndarray:
    """Matrix (new_size, size) float32 that resamples an axis by cubic convolution (Keys 1981, a = -0.75).

    The ends of both axes are aligned, and edge values are repeated beyond them, as in PyTorch with align_corners=True.
    """
    positions = np.arange(new_size) * ((size - 1) / max(new_size - 1, 1))
    base = np.floor(positions).astype(int)
    matrix = np.zeros((new_size, size))
    for tap in range(-1, 3):
        x = np.abs(positions - base - tap)
        near = (1.25 * x - 2.25) * x * x + 1
        far = -0.75 * (((x - 5) * x + 8) * x - 4)
        weight = np.where(x <= 1, near, np.where(x < 2, far, 0.0))
        np.add.at(matrix, (np.arange(new_size), np.clip(base + tap, 0, size - 1)), weight)
    return matrix.astype(np.float32)


def relative_index(window: int) -> np.ndarray:
    """Row of the bias table for each pair of patches of a window, (window^2, window^2)."""
    y, x = np.divmod(np.arange(window * window), window)
    span = 2 * window - 1
    return (y[:, None] - y[None] + window - 1) * span + x[:, None] - x[None] + window - 1


def shift_mask(side: int, window: int, shift: int) -> np.ndarray:
    """Attention bias (windows, window^2, window^2) float32: SHIFT_MASK between patches of different regions, else 0."""
    region = (np.arange(side) >= side - window).astype(int) + (np.arange(side) >= side - shift)
    region_of = np.asarray(split_windows(3 * region[None, :, None, None] + region[None, None, :, None], window))[..., 0]
    return np.where(region_of[:, None] != region_of[:, :, None], SHIFT_MASK, 0.0).astype(np.float32)


def split_windows(x_BxHxWxC: jax.Array, window: int) -> jax.Array:
    """Splits an image into windows, (B * windows, window^2, C)."""
    batch, height, width, channels = x_BxHxWxC.shape
    x = x_BxHxWxC.reshape(batch, height // window, window, width // window, window, channels)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(-1, window * window, channels)


def join_windows(x_NxLxC: jax.Array, window: int, side: int) -> jax.Array:
    """The inverse of `split_windows` for an image of `side` by `side` patches."""
    x = x_NxLxC.reshape(-1, side // window, side // window, window, window, x_NxLxC.shape[-1])
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(-1, side, side, x_NxLxC.shape[-1])


class WindowBlock(nn.Module):
    """Swin transformer layer: attention within windows, with `shifted` moved by half a window, and a GELU MLP."""

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
    """Batch normalization over the last axis in inference mode."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        def vector(name: str, init) -> jax.Array:
            return self.param(name, logical(init, "norm"), (x.shape[-1],))

        scale, bias = vector("scale", nn.initializers.ones), vector("bias", nn.initializers.zeros)
        mean, variance = vector("mean", nn.initializers.zeros), vector("variance", nn.initializers.ones)
        return (x - mean) * (scale * jax.lax.rsqrt(variance + BATCH_NORM_EPS)) + bias


class _Patches(nn.Module):
    """Patch embedding: an image (B, H, W, 1) to a normalized vector per patch."""

    cfg: ClapAudioConfig
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x_BxHxWx1: jax.Array) -> jax.Array:
        size, side = self.cfg.patch, x_BxHxWx1.shape[1] // self.cfg.patch
        x = x_BxHxWx1.reshape(-1, side, size, side, size).swapaxes(2, 3).reshape(-1, side, side, size * size)
        x = Linear(self.cfg.dim, dtype=self.dtype, axes=(None, "embed"), name="linear")(x)
        return LayerNorm(PATCH_NORM_EPS, self.dtype, name="norm")(x)


class ClapAudio:
    """CLAP's audio encoder with its weights, for recordings of any length."""

    def __init__(self, cfg: ClapAudioConfig, params: Any, batch: int = 4):
        self.cfg, self._batch, self._params = cfg, batch, jax.device_put(params)
        self._embed = jax.jit(lambda params, wave: ClapAudioEncoder(cfg).apply({"params": params}, wave))

    def __call__(self, waves: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Embeddings (N, projected) float32 of each wave at cfg.sample_rate, one per window, with norm 1."""
        windows = [clap_windows(wave, self.cfg) for wave in waves]
        stacked, parts = np.concatenate(windows), []
        for start in range(0, len(stacked), self._batch):
            part = stacked[start : start + self._batch]
            padded = np.pad(part, ((0, self._batch - len(part)), (0, 0)))
            parts.append(np.asarray(self._embed(self._params, padded))[: len(part)])
        embeddings = np.concatenate(parts)
        embeddings /= np.linalg.norm(embeddings, axis=-1, keepdims=True)
        return np.split(embeddings, np.cumsum([len(w) for w in windows])[:-1])

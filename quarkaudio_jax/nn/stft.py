"""Short-time Fourier transform and its inverse, in float32."""

import jax
import jax.numpy as jnp
import numpy as np

from quarkaudio_jax.errors import UserError
from quarkaudio_jax.nn import fourier
from quarkaudio_jax.nn.window import hann_window
from quarkaudio_jax.types import ceil_div


def frame(x_BxS: jax.Array, size: int, hop: int) -> jax.Array:
    """Overlapping frames (B, T, size) without padding, T = (S - size) // hop + 1.

    If `hop` divides `size`, frames are shifted slices, otherwise a gather.
    """
    num_frames = (x_BxS.shape[-1] - size) // hop + 1
    if num_frames < 1:
        raise UserError(f"frame: {x_BxS.shape[-1]} samples are fewer than one frame of {size}")
    if size % hop == 0:
        pieces = size // hop
        x_BxNxh = x_BxS[:, : (num_frames + pieces - 1) * hop].reshape(x_BxS.shape[0], -1, hop)
        return jnp.concatenate([x_BxNxh[:, i : i + num_frames] for i in range(pieces)], axis=-1)
    index_TxN = np.arange(num_frames)[:, None] * hop + np.arange(size)[None]
    return x_BxS[:, index_TxN]


def overlap_add(frames_BxTxNxC: jax.Array, hop: int) -> jax.Array:
    """Sums frames shifted by `hop`, (B, T, N, C) -> (B, (T - 1) * hop + N, C)."""
    batch, num_frames, size, channels = frames_BxTxNxC.shape
    pieces = ceil_div(size, hop)
    padded = jnp.pad(frames_BxTxNxC, ((0, 0), (0, 0), (0, pieces * hop - size), (0, 0)))
    padded = padded.reshape(batch, num_frames, pieces, hop, channels)
    terms = [jnp.pad(padded[:, :, i], ((0, 0), (i, pieces - 1 - i), (0, 0), (0, 0))) for i in range(pieces)]
    out = sum(terms[1:], terms[0]).reshape(batch, -1, channels)
    return out[:, : (num_frames - 1) * hop + size]


def stft(x_BxS: jax.Array, n_fft: int, hop: int, window: np.ndarray | None = None) -> jax.Array:
    """Spectrum (B, T, n_fft // 2 + 1) complex64 of frames of the signal, which is not padded.

    window: at most `n_fft` samples, centered in the frame; default: periodic Hann of `n_fft`.
    """
    window = hann_window(n_fft) if window is None else window
    short = n_fft - len(window)
    window = np.pad(window, (short // 2, short - short // 2))
    return fourier.rfft(frame(x_BxS.astype(jnp.float32), n_fft, hop) * window)


def reflect_stft(x_BxS: jax.Array, n_fft: int, hop: int) -> jax.Array:
    """`stft` of the signal with (n_fft - hop) // 2 samples of reflection padding on both sides.

    T = S // hop frames if hop divides S and n_fft - hop is even.
    """
    pad = (n_fft - hop) // 2
    if x_BxS.shape[-1] <= pad:
        raise UserError(f"stft: {x_BxS.shape[-1]} samples are too few to reflect {pad} at the edges")
    return stft(jnp.pad(x_BxS, ((0, 0), (pad, pad)), mode="reflect"), n_fft, hop)


def istft(spectrum_BxTxF: jax.Array, hop: int, mask_BxT: jax.Array | None = None) -> jax.Array:
    """Inverse STFT with "same" padding, (B, T * hop) float32.

    Frames are windowed by a periodic Hann of n_fft = 2 (F - 1), overlap-added, trimmed by (n_fft - hop) / 2 on both sides
    and divided by the envelope of the squared windows (Vocos, arXiv:2306.00814, section 3). Imaginary parts at DC and
    Nyquist are ignored. Frames outside `mask_BxT` (bool) are excluded from both sums, so that results do not depend on
    padding; samples without a frame are 0.
    """
    n_fft = 2 * (spectrum_BxTxF.shape[-1] - 1)
    window = hann_window(n_fft)
    frames_BxTxN = fourier.irfft(spectrum_BxTxF, n_fft) * window
    num_frames = frames_BxTxN.shape[1]
    trim = (n_fft - hop) // 2
    weights_BxT = np.ones((1, num_frames), np.float32) if mask_BxT is None else mask_BxT
    if mask_BxT is not None:
        frames_BxTxN = jnp.where(mask_BxT[..., None], frames_BxTxN, 0.0)
    squared_BxTxN = jnp.asarray(weights_BxT, jnp.float32)[..., None] * np.square(window)
    signal = overlap_add(frames_BxTxN[..., None], hop)[..., 0]
    envelope = overlap_add(squared_BxTxN[..., None], hop)[..., 0]
    cut = slice(trim, trim + num_frames * hop)
    signal, envelope = signal[:, cut], envelope[:, cut]
    return jnp.where(envelope > 1e-11, signal / jnp.maximum(envelope, 1e-11), 0.0)

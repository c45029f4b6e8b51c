"""Spectrogram pictures, and samples saved with them."""

import io
import pathlib
import re

import numpy as np

from quarkaudio_jax.io import audio
from quarkaudio_jax.io.transforms import to_mono

FFT = 1024
"""Samples of a spectrogram's window."""

FLOOR_DB = -100.0
"""Lowest level of the color scale; the highest is 0 dB."""


def spectrogram(wave_S: np.ndarray, rate: int, hop: int, min_samples: int = FFT) -> tuple[np.ndarray, ...]:
    """(levels (F, T) in dB, frequencies (F,) in Hz, times (T,) in seconds) with a Hann window of FFT samples.

    Of a stereo wave (S, 2), of the mean of its channels. A hop beyond the window skips frames. min_samples: shorter waves
    are padded with silence.
    """
    from scipy import signal

    wave_S = wave_S if wave_S.ndim == 1 else to_mono(wave_S)
    padded = np.pad(wave_S, (0, max(min_samples - len(wave_S), 0)))
    overlap = FFT - min(hop, FFT)
    freqs, times, power = signal.spectrogram(padded, rate, "hann", FFT, overlap, scaling="spectrum", mode="psd")
    step = round(hop / FFT) if hop > FFT else 1
    return 10 * np.log10(power[:, ::step] + 1e-10), freqs, times[::step]


def spectrogram_jpeg(wave_S: np.ndarray, rate: int, width: int, height: int) -> bytes:
    """A JPEG of the spectrogram without axes: time from left to right, 0 Hz at the bottom."""
    import matplotlib
    from PIL import Image

    hop = max(max(len(wave_S), FFT) // width, 64)
    levels = spectrogram(wave_S, rate, hop)[0][::-1]
    pixels = (matplotlib.colormaps["magma"](np.clip(1 - levels / FLOOR_DB, 0, 1))[..., :3] * 255).astype(np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR).save(out, "JPEG", quality=80)
    return out.getvalue()


def spectrogram_picture(waves: dict[str, np.ndarray], rate: int, title: str = "") -> np.ndarray:
    """Spectrograms with axes, one below the other, (height, width, 3) uint8."""
    import matplotlib

    matplotlib.use("Agg", force=False)
    import matplotlib.figure
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure = matplotlib.figure.Figure(figsize=(9, 2.6 * len(waves)), dpi=100, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.subplots(len(waves), 1, squeeze=False)[:, 0]
    for axis, (name, wave) in zip(axes, waves.items(), strict=True):
        levels, freqs, times = spectrogram(wave, rate, hop=FFT // 4, min_samples=2 * FFT)
        image = axis.imshow(
            levels,
            origin="lower",
            aspect="auto",
            extent=(times[0], times[-1], 0, freqs[-1] / 1000),
            vmin=FLOOR_DB,
            vmax=0,
            cmap="magma",
        )
        axis.set(ylabel="kHz", title=name)
        figure.colorbar(image, ax=axis, label="dB")
    axes[-1].set_xlabel("seconds")
    figure.suptitle(title)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def save_picture(path: str | pathlib.Path, picture: np.ndarray) -> None:
    """Writes a PNG."""
    import matplotlib.image

    pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
    matplotlib.image.imsave(str(path), picture)


def safe_name(name: str) -> str:
    """A clip's name as a file name."""
    return re.sub(r"[^\w.-]+", "_", name).strip("_")


def save_sample(folder: pathlib.Path, name: str, waves: dict[str, np.ndarray], rate: int) -> np.ndarray:
    """Writes each wave as FOLDER/NAME.KIND.wav and their spectrograms as FOLDER/NAME.png; returns the picture."""
    stem = safe_name(name)
    for kind, wave in waves.items():
        audio.write(folder / f"{stem}.{kind}.wav", wave, rate)
    picture = spectrogram_picture(waves, rate, name)
    save_picture(folder / f"{stem}.png", picture)
    return picture

"""Held-out evaluation with something to hear and to look at."""

import pathlib
import re

import numpy as np

from quarkaudio_jax.io import audio


def spectrogram_picture(waves: dict[str, np.ndarray], rate: int, title: str = "") -> np.ndarray:
    """Spectrograms (dB) one above the other, (height, width, 3) uint8."""
    import matplotlib

    matplotlib.use("Agg", force=False)
    import matplotlib.figure
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure = matplotlib.figure.Figure(figsize=(9, 2.6 * len(waves)), dpi=100, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.subplots(len(waves), 1, squeeze=False)[:, 0]
    for axis, (name, wave) in zip(axes, waves.items(), strict=True):
        padded = np.pad(wave, (0, max(2048 - len(wave), 0)))
        spectrum, freqs, times = _power(padded, rate)
        image = axis.imshow(
            10 * np.log10(spectrum + 1e-10),
            origin="lower",
            aspect="auto",
            extent=(times[0], times[-1], 0, freqs[-1] / 1000),
            vmin=-100,
            vmax=0,
            cmap="magma",
        )
        axis.set(ylabel="kHz", title=name)
        figure.colorbar(image, ax=axis, label="dB")
    axes[-1].set_xlabel("seconds")
    figure.suptitle(title)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _power(wave: np.ndarray, rate: int):
    from scipy import signal

    freqs, times, spectrum = signal.spectrogram(wave, rate, "hann", 1024, 768, scaling="spectrum", mode="psd")
    return spectrum, freqs, times


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

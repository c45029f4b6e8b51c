"""Sensitivity of the acoustic codes of 2.0 to rounding: equal codes with another FFT, in bfloat16 and in batches.

    python -m benchmarks.front_end FOLDER [--checkpoint=RUN]

Recordings of FOLDER, brought to 48 kHz, by their sample rate: the share of STFT bins under the clip of the log magnitude,
and the share of acoustic codes that stay when only the STFT is computed in float64, when the encoder computes in bfloat16,
and when eight recordings go at once. Without a checkpoint (a codec of 48 kHz): hcodec_48k_base and hcodec_48k_base_faded
on the same random weights (normal 0.02).
"""

import argparse
import collections
import pathlib
from unittest import mock

import numpy as np

from benchmarks.common import machine

SECONDS = 4.0


def read_waves(folder: str, frame_hop: int) -> dict[int, np.ndarray]:
    """{sample rate: (B, S) at 48 kHz} of the recordings that are long enough and not silent."""
    from quarkaudio_jax.io import audio
    from quarkaudio_jax.io.transforms import resample, to_mono

    samples, waves = int(SECONDS * 48000) // frame_hop * frame_hop, collections.defaultdict(list)
    for path in audio.find(pathlib.Path(folder)):
        recording, rate = audio.read(path)
        wave = resample(to_mono(recording), rate, 48000)[:samples]
        if len(wave) == samples and np.abs(wave).max() > 1e-3:
            waves[rate].append(wave)
    return {rate: np.stack(found) for rate, found in sorted(waves.items())}


def stft_in_float64(x_BxS, n_fft: int, hop: int):
    """`nn.stft.stft` on the host, in float64 until the spectrum is complete."""
    import jax
    import jax.numpy as jnp

    from quarkaudio_jax.nn.window import hann_window

    frames = (x_BxS.shape[1] - n_fft) // hop + 1

    def spectrum(x):
        index_TxN = np.arange(frames)[:, None] * hop + np.arange(n_fft)
        return np.fft.rfft(np.asarray(x, np.float64)[:, index_TxN] * hann_window(n_fft)).astype(np.complex64)

    shape = jax.ShapeDtypeStruct((x_BxS.shape[0], frames, n_fft // 2 + 1), jnp.complex64)
    return jax.pure_callback(spectrum, shape, x_BxS)


def acoustic_codes(cfg, variables, waves_BxS, batch: int, dtype="float32") -> np.ndarray:
    """Codes (B, T, K), `batch` recordings at a time."""
    import jax

    from quarkaudio_jax.codec.hcodec import HCodec

    codec = HCodec(cfg, dtype=dtype)
    encode = jax.jit(lambda w: codec.apply(variables, w, method=lambda m, x: m.quantizer.encode(m.encoder(x))))
    parts = (waves_BxS[i : i + batch] for i in range(0, len(waves_BxS), batch))
    return np.concatenate([np.asarray(encode(part)) for part in parts])


def row(cfg, variables, waves_BxS) -> list[float]:
    """Share of bins under the clip, then shares of equal codes."""
    from quarkaudio_jax.codec import spectral

    magnitude = spectral.log_magnitude_and_phase(waves_BxS, cfg.encoder.n_fft, cfg.encoder.hop)
    magnitude = magnitude[..., : cfg.encoder.n_fft // 2 + 1]
    codes = acoustic_codes(cfg, variables, waves_BxS, 1)
    with mock.patch.object(spectral, "stft", stft_in_float64):
        others = [acoustic_codes(cfg, variables, waves_BxS, 1)]
    others.append(acoustic_codes(cfg, variables, waves_BxS, 1, "bfloat16"))
    others.append(acoustic_codes(cfg, variables, waves_BxS, 8))
    return [float((magnitude <= np.log(spectral.CLIP)).mean()), *(float((codes == other).mean()) for other in others)]


def main() -> None:
    """Prints the table."""
    import jax

    from quarkaudio_jax.codec.variants import get_variant
    from quarkaudio_jax.weights.hcodec import abstract_variables
    from quarkaudio_jax.weights.saved_codec import read_codec

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", help="recordings")
    parser.add_argument("--checkpoint", default="", help="a codec of 48 kHz")
    args = parser.parse_args()
    if args.checkpoint:
        codecs = [read_codec(args.checkpoint)[:2]]
    else:
        rng, codecs = np.random.default_rng(0), []
        plain = get_variant("hcodec_48k_base")
        drawn = jax.tree.map(lambda s: 0.02 * rng.standard_normal(s.shape, dtype=np.float32), abstract_variables(plain))
        codecs = [(plain, drawn), (get_variant("hcodec_48k_base_faded"), drawn)]
    print(
        f"{machine()}\n\n| codec | rate, Hz | recordings | bins under the clip | STFT in float64 | bfloat16 | batch 8 |"
    )
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for cfg, variables in codecs:
        for rate, waves in read_waves(args.folder, cfg.frame_hop).items():
            shares = " | ".join(f"{100 * share:.2f} %" for share in row(cfg, variables, waves))
            print(f"| {cfg.name} | {rate} | {len(waves)} | {shares} |", flush=True)


if __name__ == "__main__":
    main()

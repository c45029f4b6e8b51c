"""Time of an evaluation: of each metric an hour of audio, of all LibriSpeech test-clean, and of the page to listen to.

    python -m benchmarks.evaluation --checkpoint=runs/first

Speech is the embedded corpus's, in pieces of 8 s. A set of the size of test-clean (5.4 hours) is extrapolated from the part
that is measured; nothing is downloaded.
"""

import argparse
import pathlib
import shutil
import tempfile
import time

from benchmarks.common import machine, median_seconds

HOURS, PIECES, SECONDS = 5.4, 12, 8.0


def speech(count: int, rate: int) -> list:
    """Pieces of generated speech, mono."""
    from quarkaudio_jax.data.sources import open_source
    from quarkaudio_jax.io.transforms import resample, to_mono, wrap_pad

    source, out = open_source("embedded:speech"), []
    for i in range(count):
        crop = source.read(i, None, 0.0)
        wave = resample(to_mono(crop.samples_SxC), crop.rate, rate)
        out.append(wrap_pad(wave, round(SECONDS * rate)))
    return out


def metrics(waves: list, rate: int) -> None:
    """Each metric's time, the first call left out."""
    import numpy as np

    from quarkaudio_jax.metrics.registry import METRICS

    print("| metric | seconds an hour of audio |\n| --- | ---: |")
    noise = 0.02 * np.random.default_rng(0).standard_normal(len(waves[0])).astype(np.float32)
    for metric in (m for m in METRICS.values() if m.compute):
        if metric.missing:
            print(f"| {metric.name} | ({metric.missing} is not installed) |")
            continue
        pair = (waves[0], waves[0] + noise, rate)
        seconds = median_seconds(lambda m=metric, p=pair: m.compute(*(p if m.needs else p[1:])), 5)
        print(f"| {metric.name} | {3600 * seconds / SECONDS:.0f} |", flush=True)


def clap() -> None:
    """CLAP's audio embedding of the published size with random weights, ours beside transformers', in turn."""
    import numpy as np
    import torch
    import transformers

    from quarkaudio_jax.clap.model import ClapAudio
    from quarkaudio_jax.weights.clap import clap_audio_config, import_clap_audio

    model = transformers.ClapModel(transformers.ClapConfig()).eval()
    prepare = transformers.ClapFeatureExtractor(truncation="rand_trunc", frequency_min=50)
    cfg = clap_audio_config(model.config.to_dict(), prepare.to_dict())
    ours = ClapAudio(cfg, import_clap_audio(cfg, {k: v.numpy() for k, v in model.state_dict().items()}))
    waves = [0.1 * np.random.default_rng(i).standard_normal(cfg.samples).astype(np.float32) for i in range(4)]

    def theirs():
        with torch.inference_mode():
            features = prepare(waves, sampling_rate=cfg.sample_rate, return_tensors="pt")["input_features"]
            return model.audio_projection(model.audio_model(features.float()).pooler_output).numpy()

    found, expected = np.concatenate(ours(waves)), theirs()
    gap = np.abs(found - expected / np.linalg.norm(expected, axis=-1, keepdims=True)).max()
    times = {
        name: median_seconds(run, 5) * 3600 / 40 for name, run in (("ours", lambda: ours(waves)), ("theirs", theirs))
    }
    print(
        f"CLAP audio, seconds an hour of audio: {times['ours']:.0f}, transformers {times['theirs']:.0f} "
        f"({times['theirs'] / times['ours']:.2f}x); unit vectors differ by at most {gap:.1e}",
        flush=True,
    )


def full_evaluation(checkpoint: str, waves: list, rate: int, workers: int) -> None:
    """The row librispeech over a slice, with all its metrics that need no weights."""
    from quarkaudio_jax.cli import evaluate
    from quarkaudio_jax.io import audio

    with tempfile.TemporaryDirectory() as temporary:
        root = pathlib.Path(temporary)
        chapter = root / "LibriSpeech" / "test-clean" / "1" / "2"
        for i, wave in enumerate(waves):
            audio.write(chapter / f"1-2-{i:04d}.flac", wave, rate)
        given = ["--benchmark=librispeech", f"--data={root}", f"--checkpoint={checkpoint}", f"--workers={workers}"]
        seconds = []
        for part, count in (("warm", 1), ("slice", len(waves))):
            start = time.perf_counter()
            evaluate.main(["evaluate", *given, f"--limit={count}", f"--output={root / part}"])
            seconds.append(time.perf_counter() - start)
    each = (seconds[1] - seconds[0]) / (len(waves) - 1)
    print(
        f"librispeech, {workers} workers: {seconds[0]:.0f} s to start, {each:.2f} s a file of {SECONDS:g} s; ", end=""
    )
    print(f"{HOURS} hours of audio: {each * HOURS * 3600 / SECONDS / 3600:.1f} hours", flush=True)


def page(rate: int, files: int = 100) -> None:
    """Size of a page of 100 files with four tracks, and the time until a browser makes the first sound."""
    from quarkaudio_jax.report.page import Clip, write_page

    waves = speech(10, rate)
    clips = [
        Clip(f"file {i}", [(n, lambda i=i: (waves[i % 10], rate)) for n in ("input", "output", "target", "ceiling")])
        for i in range(files)
    ]
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        path = write_page(pathlib.Path(folder), "benchmark", clips)
        written = time.perf_counter() - start
        print(
            f"page of {files} files x 4 tracks x {SECONDS:g} s at {rate} Hz: "
            f"{path.stat().st_size / 2**20:.1f} MiB, {written:.0f} s to write"
        )
        chromium = shutil.which("chromium")
        if chromium is None:
            print("no Chromium: time to first sound not measured")
            return
        from playwright.sync_api import sync_playwright

        flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync"]
        flags += ["--autoplay-policy=no-user-gesture-required"]
        times = []
        with sync_playwright() as driver:
            for _ in range(5):
                browser = driver.chromium.launch(executable_path=chromium, args=flags)
                tab = browser.new_page()
                start = time.perf_counter()
                tab.goto(path.as_uri())
                loaded = time.perf_counter() - start
                tab.keyboard.press(" ")
                tab.wait_for_function("listening.playing && listening.position > 0", polling=5)
                times.append((loaded, time.perf_counter() - start))
                browser.close()
        loaded, first = sorted(times)[2]
        print(f"loaded after {loaded:.2f} s, first sound after {first:.2f} s (headless Chromium, median of 5)")


def main() -> None:
    """Prints everything."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", required=True, help="a codec")
    parser.add_argument("--workers", type=int, default=1)
    args = parser.parse_args()
    print(machine(), flush=True)
    waves = speech(PIECES, 16000)
    metrics(waves, 16000)
    clap()
    full_evaluation(args.checkpoint, waves, 16000, args.workers)
    for rate in (16000, 48000):
        page(rate)


if __name__ == "__main__":
    main()

"""Batches of crops for codec training, by Grain: deterministic, sharded by host, resumable at any example."""

import dataclasses
import logging
from typing import Any

import grain
import numpy as np

from quarkaudio_jax.config import DataConfig
from quarkaudio_jax.data.crops import GRID_HZ
from quarkaudio_jax.data.position import ExampleBatches
from quarkaudio_jax.data.simulation.head import Position, draw_position, spatialize
from quarkaudio_jax.data.skipping import DataError, SkipMonitor
from quarkaudio_jax.data.source import Source
from quarkaudio_jax.data.sources import open_source, split_heldout
from quarkaudio_jax.data.workers import use_workers
from quarkaudio_jax.io.audio import AudioError, with_channels
from quarkaudio_jax.io.levels import SILENT_PEAK, scale_peak
from quarkaudio_jax.io.transforms import resample, to_mono, wrap_pad
from quarkaudio_jax.types import round_up

log = logging.getLogger(__name__)

DOMAINS = ("speech", "music", "events")


@dataclasses.dataclass(frozen=True)
class CropSpec:
    """Sizes of a batch. samples: length of a crop; feature_frames, feature_dim: of precomputed features, or 0.

    channels: 2 for stereo crops (S, 2), which have a `position` (3,), NaN where it is unknown; see `make_crop`.
    """

    sample_rate: int
    samples: int
    feature_frames: int = 0
    feature_dim: int = 0
    channels: int = 1

    @property
    def seconds(self) -> float:
        """Duration of a crop."""
        return self.samples / self.sample_rate


def crop_spec(
    cfg: DataConfig, sample_rate: int, frame_hop: int, feature_hop: int = 0, feature_dim: int = 0, channels: int = 1
) -> CropSpec:
    """A crop of `cfg.crop_seconds`, rounded up to complete code frames; feature_hop = 0: no precomputed features."""
    samples = round_up(round(cfg.crop_seconds * sample_rate), frame_hop)
    frames, dim = (samples // feature_hop, feature_dim) if feature_hop else (0, 0)
    return CropSpec(sample_rate, samples, frames, dim, channels)


def make_crop(
    source: Source, index: int, spec: CropSpec, position: float, place: Position | None = None
) -> dict[str, np.ndarray]:
    """Reads a crop, averages its channels, resamples and wraps it to length; AudioError names an unusable file.

    For a stereo codec, stereo files keep their channels, and mono ones are heard from `place`, or in both channels.
    """
    crop = source.read(index, spec.seconds, position)
    samples = crop.samples_SxC
    if not len(samples):
        raise AudioError(f"{source.name(index)}: holds no samples")
    if spec.channels > 1:
        return _stereo_crop(samples, crop.rate, spec, source.name(index), place)
    samples = resample(to_mono(samples), crop.rate, spec.sample_rate)
    if not spec.feature_frames:
        return {"wave": wrap_pad(samples, spec.samples)}
    features = crop.features_TxD
    if features is None:
        raise AudioError(f"{source.name(index)}: no precomputed features beside it (NAME.features.npy)")
    if features.shape[1] != spec.feature_dim:
        raise AudioError(
            f"{source.name(index)}: features are {features.shape[1]} wide, the codec wants {spec.feature_dim}"
        )
    hop = spec.samples // spec.feature_frames
    if spec.sample_rate != hop * GRID_HZ:
        raise DataError(f"precomputed features are at {GRID_HZ} Hz, the codec's at {spec.sample_rate / hop} Hz")
    frames = min(len(samples) // hop, len(features))
    if not frames:
        raise AudioError(f"{source.name(index)}: shorter than one feature frame")
    return {
        "wave": wrap_pad(samples[: frames * hop], spec.samples),
        "features": wrap_pad(np.asarray(features[:frames], np.float32), spec.feature_frames),
    }


def _stereo_crop(
    samples_SxC: np.ndarray, rate: int, spec: CropSpec, name: str, place: Position | None
) -> dict[str, np.ndarray]:
    """A crop with two channels, and its position."""
    if samples_SxC.shape[1] > 1 or place is None:
        wave = resample(with_channels(samples_SxC, spec.channels, name), rate, spec.sample_rate)
        return {"wave": wrap_pad(wave, spec.samples), "position": np.full(3, np.nan, np.float32)}
    mono = wrap_pad(resample(samples_SxC[:, 0], rate, spec.sample_rate), spec.samples)
    return {"wave": spatialize(mono, spec.sample_rate, place), "position": place.array()}


def _draw_place(spec: CropSpec, rng: np.random.Generator) -> Position | None:
    """A random position for a stereo crop; None, without a draw, for a mono one."""
    return draw_position(rng) if spec.channels > 1 else None


class _Load:
    """Maps an index to an example; for an unusable file, one with the reason as its `problem`."""

    def __init__(self, source: Source, spec: CropSpec, peak: tuple[float, float]):
        self._source, self._spec, self._peak = source, spec, peak

    def __call__(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        """Reads a crop at a random position and scales it to a random peak."""
        position, peak = rng.random(), rng.uniform(*self._peak)
        name = self._source.name(int(index))
        try:
            example = make_crop(self._source, int(index), self._spec, position, _draw_place(self._spec, rng))
        except AudioError as error:
            return {"problem": str(error), "name": name}
        example["wave"] = scale_peak(example["wave"], peak)
        return {**example, "problem": "", "name": name}


def open_domains(cfg: DataConfig) -> dict[str, tuple[Source, Source, float]]:
    """Opens the domains that have paths and a weight: {domain: (training source, held-out source, weight)}."""
    out = {}
    for name in DOMAINS:
        domain = getattr(cfg, name)
        if domain.paths.strip() and domain.weight > 0:
            out[name] = (*split_heldout(open_source(domain.paths, cfg.tfds_dir, name), cfg.heldout), domain.weight)
    if not out:
        raise DataError("no training data: set config.data.speech.paths (or music, events) and a positive weight")
    return out


def _check(cfg: DataConfig, process_count: int) -> None:
    if cfg.batch_size % process_count:
        raise DataError(f"config.data.batch_size is {cfg.batch_size}, not a multiple of the {process_count} hosts")
    if len(cfg.peak) != 2 or not 0 < cfg.peak[0] <= cfg.peak[1] <= 1:
        raise DataError(f"config.data.peak is {cfg.peak}, but should be two values with 0 < low <= high <= 1")


def training_batches(
    cfg: DataConfig, spec: CropSpec, seed: int, process_index: int = 0, process_count: int = 1
) -> tuple[ExampleBatches, SkipMonitor]:
    """Opens this host's endless batches {'wave': (B, S)[, 'features': (B, T, D)]}, and the monitor of skipped files.

    Of a stereo codec: {'wave': (B, S, 2), 'position': (B, 3)}.

    The mixture of domains, its order, crops and gains depend on `seed` alone; hosts take every process_count-th example.
    The iterator's get_state and set_states continue at the same example, also with another number of hosts.
    """
    _check(cfg, process_count)
    datasets, weights, sources = [], [], {}
    for number, (domain, (train, _, weight)) in enumerate(open_domains(cfg).items()):
        domain_seed = seed * len(DOMAINS) + number
        clips = grain.MapDataset.range(len(train)).seed(domain_seed).shuffle().repeat()
        datasets.append(clips.random_map(_Load(train, spec, (cfg.peak[0], cfg.peak[1]))))
        weights.append(weight)
        sources[f"number of {domain} recordings"] = len(train)
    mixed = grain.MapDataset.mix(datasets, weights)

    def open_order(start: int, step: int) -> grain.DatasetIterator:
        options = grain.ReadOptions(num_threads=cfg.threads, prefetch_buffer_size=cfg.prefetch)
        examples = mixed[start::step].to_iter_dataset(options)
        return iter(use_workers(examples, cfg.workers, 4))

    monitor = SkipMonitor(cfg.strict, sum(sources.values()))
    size = cfg.batch_size // process_count
    return ExampleBatches(open_order, monitor, size, process_index, process_count, sources), monitor


def heldout_clips(
    cfg: DataConfig, spec: CropSpec, count: int, process_index: int = 0, process_count: int = 1
) -> list[dict[str, Any]]:
    """Reads up to `count` held-out crops, taken from all domains in turn: {'wave', 'name'[, 'features' or 'position']}.

    Deterministic; several hosts divide them. Unusable files are skipped with a warning.
    """
    domains = [held for _, held, _ in open_domains(cfg).values()]
    wanted = [(domain, i) for i in range(max(len(d) for d in domains)) for domain in domains if i < len(domain)]
    clips: list[dict[str, Any]] = []
    silent = 0
    for domain, index in wanted:
        if len(clips) == count:
            break
        try:
            clip = make_crop(domain, index, spec, 0.5, _draw_place(spec, np.random.default_rng(index)))
            if np.abs(clip["wave"]).max() >= SILENT_PEAK:  # silence does not measure a codec
                clips.append({**clip, "name": domain.name(index)})
            else:
                silent += 1
        except AudioError as error:
            if cfg.strict:
                raise DataError(f"{error} (config.data.strict is on)") from error
            log.warning("held-out clip skipped: %s", error)
    if silent and not clips:
        log.warning("all %d held-out clips are silent: none is evaluated", silent)
    return clips[process_index::process_count]

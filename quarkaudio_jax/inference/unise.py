"""UniSE: WavLM features, a language model and BiCodec, from waves to waves.

import quarkaudio_jax
model = quarkaudio_jax.load_task_model("unise.ckpt", codec="BiCodec", features="wavlm-base-plus")
wave = model("restoration", wave, sample_rate)          # wave: (S,) float32 in [-1, 1]
wave = model("extraction", wave, sample_rate, reference=(voice, sample_rate))
first, second = model.separate(wave, sample_rate)
"""

import contextlib
import dataclasses
import functools
import os
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from quarkaudio_jax.codec.bicodec.model import BiCodec, BiCodecConfig
from quarkaudio_jax.errors import UserError
from quarkaudio_jax.inference.windows import OVERLAP_SECONDS, Read, WindowSpec, cross_fade
from quarkaudio_jax.io.transforms import resample, wrap_pad
from quarkaudio_jax.lm.sampling import Sampling
from quarkaudio_jax.lm.unise import Unise, UniseConfig
from quarkaudio_jax.nn.stack import unstack_params
from quarkaudio_jax.ssl.features import Extractor
from quarkaudio_jax.tokens.tasks import SEPARATION_STEPS
from quarkaudio_jax.tokens.unise import UNISE_TASKS
from quarkaudio_jax.weights.record import checksum
from quarkaudio_jax.weights.saved_bicodec import read_bicodec
from quarkaudio_jax.weights.saved_unise import read_any_unise
from quarkaudio_jax.weights.ssl import load_extractor

SECONDS = 5.0
"""Length of the segments and references in training; shorter audio is repeated to this length."""

HUB_BICODEC = "SparkAudio/Spark-TTS-0.5B:BiCodec"
"""Hub name of the published BiCodec, whose license forbids commercial use (docs/weights.md)."""

PEAK = 0.99
"""Largest absolute value that a reference is scaled to."""


@dataclasses.dataclass(frozen=True)
class UniseRequest:
    """A task and its reference.

    task: id in `tokens.unise.UNISE_TASKS`. reference_TxD: SSL features of the reference, or None. normalize: whether the
    source is scaled to peak 1.
    """

    task: int
    reference_TxD: np.ndarray | None = None
    normalize: bool = False


def reference_segment(reference_S: np.ndarray, rate: int, seconds: float = SECONDS) -> np.ndarray:
    """The first seconds of a reference, repeated if it is shorter, scaled to `PEAK`."""
    reference_S = wrap_pad(np.asarray(reference_S, np.float32), round(seconds * rate))
    return reference_S / (np.abs(reference_S).max() + np.float32(1e-5)) * np.float32(PEAK)


class UniseOutput(NamedTuple):
    """Of a batch of segments: generated ids globals_BxN and semantic_BxT, and the samples wave_BxS."""

    globals_BxN: Any
    semantic_BxT: Any
    wave_BxS: Any


class UniseModel:
    """UniSE with its codec and SSL model; see `load_task_model`.

    As in the public pipeline, a recording is cut into segments of 5 s, the last one padded with the beginning of the
    recording; with `cross_fade` they overlap and are cross-faded. `batch` segments are computed at a time. Restoration
    scales the recording to peak 1; the level of the output is the model's.
    """

    def __init__(
        self,
        cfg: UniseConfig,
        params: Any,
        codec_cfg: BiCodecConfig,
        codec_params: Any,
        extractor: Extractor,
        batch: int = 8,
        cross_fade: bool = False,
    ):
        sizes = (cfg.global_size, cfg.semantic_size)
        theirs = (int(np.prod(codec_cfg.speaker.levels)), codec_cfg.codebook_size)
        if sizes != theirs:
            raise UserError(f"the language model has {sizes} global and semantic codes, the codec {theirs}")
        extractor.check(codec_cfg.sample_rate, codec_cfg.hop, cfg.feature_dim)
        self.cfg, self.codec_cfg, self.extractor, self._batch = cfg, codec_cfg, extractor, batch
        self._lm, self._codec = Unise(cfg, scan=False), BiCodec(codec_cfg, scan=False)
        parts = {"lm": unstack_params(params), "codec": unstack_params(codec_params), "ssl": extractor.params}
        self.params = jax.device_put(parts)
        self._features = jax.jit(self._extract)
        self._record: list[UniseOutput] | None = None
        self._run = jax.jit(self._compute, static_argnames="task")
        overlap = round(OVERLAP_SECONDS * self.sample_rate) if cross_fade else 0
        self._windows = WindowSpec(round(SECONDS * self.sample_rate), overlap)

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of the tasks that the model was trained for."""
        return tuple(UNISE_TASKS)

    @property
    def sample_rate(self) -> int:
        """Sample rate of the output in Hz."""
        return self.codec_cfg.sample_rate

    @property
    def window_seconds(self) -> float:
        """Seconds of a segment."""
        return SECONDS

    def check_separation(self) -> None:
        """Does nothing: UniSE is trained for all tasks of SEPARATION_STEPS."""

    def request(self, task: str, text: str = "", reference_S: np.ndarray | None = None) -> UniseRequest:
        """Checks and encodes a task and its reference. reference_S: at `sample_rate`. UserError says what is missing."""
        if task not in UNISE_TASKS:
            raise UserError(f"UniSE was not trained for {task}; it knows {', '.join(UNISE_TASKS)}")
        if task == "restoration":
            return UniseRequest(UNISE_TASKS[task], normalize=True)
        if reference_S is None or not len(reference_S):
            raise UserError(f"{task} needs a reference recording of the speaker")
        reference = reference_segment(reference_S, self.sample_rate)
        return UniseRequest(UNISE_TASKS[task], np.asarray(self._features(self.params, reference[None])[0]))

    def __call__(
        self,
        task: str,
        wave: np.ndarray,
        sample_rate: int | None = None,
        *,
        text: str = "",
        reference: tuple[np.ndarray, int] | None = None,
        **options: Any,
    ) -> np.ndarray:
        """Runs a task on a recording (S,); returns as many samples at the model's sample rate.

        sample_rate: of `wave` in Hz (default: the model's). reference: (samples (S,), rate in Hz) of the speaker.
        """
        wave = self._at_rate(wave, sample_rate)
        reference_S = None if reference is None else self._at_rate(*reference)
        return self._run_recording(self.request(task, text, reference_S), wave, **options)

    def enroll(self, opening_S: np.ndarray, **options: Any) -> np.ndarray:
        """Restores one of the speakers of a recording's first 5 s: the enrollment of `separate`."""
        check_greedy(**options)
        segments = [wrap_pad(opening_S, self._windows.size)]
        return self.run_segments(UniseRequest(UNISE_TASKS[SEPARATION_STEPS[0]]), segments).wave_BxS[0]

    def separate(self, wave: np.ndarray, sample_rate: int | None = None, **options: Any) -> list[np.ndarray]:
        """Separates two speakers of a recording (S,), by SEPARATION_STEPS."""
        wave = self._at_rate(wave, sample_rate)
        enrollment = self.enroll(wave[: self._windows.size], **options)
        requests = [self.request(task, reference_S=enrollment) for task in SEPARATION_STEPS[1:]]
        return [self._run_recording(request, wave, **options) for request in requests]

    def _run_recording(self, request: UniseRequest, wave_S: np.ndarray, **options: Any) -> np.ndarray:
        levels = 0.0, float(np.abs(wave_S).max())
        return np.concatenate(list(self.stream(request, lambda a, b: wave_S[a:b], len(wave_S), levels, **options)))

    def _at_rate(self, wave: np.ndarray, rate: int | None) -> np.ndarray:
        wave = np.asarray(wave, np.float32)
        if wave.ndim != 1 or not len(wave):
            raise UserError(f"a recording has shape {wave.shape}; it should be (samples,), not empty")
        return wave if rate in (None, self.sample_rate) else resample(wave, rate, self.sample_rate)

    def num_windows(self, num_samples: int) -> int:
        """Number of segments of a recording of that length at the model's sample rate."""
        return self._windows.count(num_samples)

    def stream(
        self,
        request: UniseRequest,
        read: Read,
        num_samples: int,
        levels: tuple[float, float],
        **options: Any,
    ) -> Iterator[np.ndarray]:
        """Yields the output in blocks (S,). levels: (unused, peak) of the complete source."""
        check_greedy(**options)
        gain = np.float32(levels[1] if request.normalize and levels[1] else 1)
        outputs = self._run_windows(request, lambda a, b: read(a, b) / gain, num_samples)
        yield from cross_fade(outputs, self.num_windows(num_samples), self._windows.overlap)

    def _run_windows(self, request: UniseRequest, read: Read, num_samples: int) -> Iterator[np.ndarray]:
        """Yields the output (S,) of each window, as long as the window."""
        windows, size = self._windows.ranges(num_samples), self._windows.size
        opening, held, start = np.zeros(0, np.float32), np.zeros(0, np.float32), 0
        for begin in range(0, len(windows), self._batch):
            group, pieces = windows[begin : begin + self._batch], []
            for i, (next_start, stop) in enumerate(group, begin):
                held = np.concatenate([held[next_start - start :], read(start + len(held), stop)])
                start = next_start
                opening = held.copy() if i == 0 else opening
                # Pad with the beginning of the recording, repeated if it is shorter than a window.
                padding = wrap_pad(opening, size - len(held)) if i else wrap_pad(opening, size)[len(opening) :]
                pieces.append(np.concatenate([held, padding]))
            for (first, stop), output in zip(group, self.run_segments(request, pieces).wave_BxS, strict=True):
                yield output[: stop - first]

    def _extract(self, params: Any, wave_BxS: jax.Array) -> jax.Array:
        rate, hop, width = self.sample_rate, self.codec_cfg.hop, self.cfg.feature_dim
        return self.extractor(params["ssl"], wave_BxS, rate, hop, width)

    def _compute(self, params: Any, wave_BxS: jax.Array, reference_BxTxD: jax.Array | None, task: int) -> Any:
        """The `UniseOutput` of a batch of segments."""
        source = self._extract(params, wave_BxS)
        task_ids = np.full(len(wave_BxS), task, np.int32)
        apply = functools.partial(self._lm.apply, {"params": params["lm"]})
        prefix = apply(task_ids, source, reference_BxTxD, method="prefix")
        globals_BxN, semantic = apply(prefix, source.shape[1], method="generate")
        decode = functools.partial(self._codec.apply, {"params": params["codec"]}, method="decode")
        return UniseOutput(globals_BxN, semantic, decode(globals_BxN, semantic))

    def run_segments(self, request: UniseRequest, waves: list[np.ndarray]) -> UniseOutput:
        """Runs at most a batch of segments of 5 s, padded to a power of two so that few programs are compiled."""
        size = 1 << (len(waves) - 1).bit_length()
        batch = np.stack(waves + waves[-1:] * (size - len(waves))).astype(np.float32)
        reference = request.reference_TxD
        reference = None if reference is None else np.broadcast_to(reference, (size, *reference.shape))
        found = self._run(self.params, batch, reference, task=request.task)
        output = UniseOutput(*(np.asarray(x)[: len(waves)] for x in found))
        if self._record is not None:
            self._record.append(output)
        return output

    @contextlib.contextmanager
    def recorded(self) -> Iterator[list[UniseOutput]]:
        """Context that collects the outputs of all segments."""
        self._record = []
        try:
            yield self._record
        finally:
            self._record = None


def check_greedy(sampling: Sampling | None = None, guidance: float = 1.0, seed: int = 0) -> None:
    """UserError for any sampling other than greedy, the only one of UniSE."""
    if (sampling is not None and sampling.temperature != 0) or guidance != 1.0:
        raise UserError("UniSE decodes greedily, without guidance: leave temperature at 0 and guidance at 1")


def load_unise(
    weights: str | os.PathLike,
    codec: str | os.PathLike,
    features: str | os.PathLike = "",
    batch: int = 8,
    cross_fade: bool = False,
    cfg: UniseConfig | None = None,
) -> UniseModel:
    """Loads UniSE from its weight file or a training run.

    codec: folder or hub name of BiCodec; UserError if a training run had one with other weights. features: folder of WavLM
    base+. cfg: of a weight file (default: by its shapes).
    """
    cfg, params, trained = read_any_unise(weights, cfg)
    codec_cfg, codec_params = read_bicodec(codec)
    if trained.codec_weights and trained.codec_weights != checksum(codec_params):
        raise UserError(
            f"{weights} was trained on tokens of a BiCodec with other weights than {codec}: name the one that prepare was "
            "given"
        )
    extractor = load_extractor(trained.features.recipe, features or trained.features.weights)
    return UniseModel(cfg, params, codec_cfg, codec_params, extractor, batch, cross_fade)

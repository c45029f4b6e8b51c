"""Task models: a language model with its codec, from waves to waves.

import quarkaudio_jax
model = quarkaudio_jax.load_task_model("runs/lm", codec="runs/codec")
wave = model("restoration", wave, sample_rate)          # wave: (S,) float32 in [-1, 1]
wave = model("extraction", wave, sample_rate, reference=(voice, sample_rate))
wave = model("lass", wave, sample_rate, text="a dog barks")
"""

import dataclasses
import functools
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from quarkaudio_jax.codec import inputs
from quarkaudio_jax.config import LMTrainConfig
from quarkaudio_jax.data.crops import GRID_HZ
from quarkaudio_jax.errors import UserError
from quarkaudio_jax.inference.codec import Codec
from quarkaudio_jax.inference.features import FeatureEncoder
from quarkaudio_jax.inference.windows import OVERLAP_SECONDS, Read, WindowSpec, cross_fade, input_gain
from quarkaudio_jax.io.levels import rms_and_peak
from quarkaudio_jax.io.transforms import resample
from quarkaudio_jax.lm.generate import Condition, GenerationConfig, generate
from quarkaudio_jax.lm.model import LanguageModel
from quarkaudio_jax.lm.sampling import Sampling
from quarkaudio_jax.lm.variants import configured_lm
from quarkaudio_jax.nn.stack import stack_params, unstack_params
from quarkaudio_jax.ssl.features import Extractor
from quarkaudio_jax.text.features import TextExtractor
from quarkaudio_jax.tokens.sequence import FEATURE_DTYPES, Kind, build_sequence, collate, stack_frames
from quarkaudio_jax.tokens.tasks import SEPARATION_STEPS, TASKS, Task
from quarkaudio_jax.types import Codes, round_up
from quarkaudio_jax.weights.pretrained import write_lm
from quarkaudio_jax.weights.repository import CODEC

GREEDY = Sampling(temperature=0.0)


@dataclasses.dataclass(frozen=True)
class Request:
    """A task and its conditions, except the source.

    text: bytes of the text, or the number of its features. text_TxD: features of the text. reference_TxD: SSL features
    of the reference recording; T = 0 for a task without.
    """

    task: Task
    text: bytes | int
    text_TxD: np.ndarray
    reference_TxD: np.ndarray


def check_codec(cfg: LMTrainConfig, codec: Codec) -> None:
    """UserError unless the language model was trained on codes of this codec."""
    if (codec.name, codec.fingerprint()) != (cfg.dataset.codec, cfg.dataset.codec_weights):
        raise UserError(
            f"the language model was trained on codes of {cfg.dataset.codec} with other weights than this "
            f"{codec.name}: name the codec's checkpoint that prepare was given"
        )


class TaskModel:
    """A language model with its codec and feature extractors; see `inference.loading.load_task_model`.

    Recordings longer than the training examples are processed in windows, `batch` at a time and in
    bounded memory. Tasks whose output is not aligned with the source (editing) take one window.
    Picklable, with its weights, for worker processes.
    """

    def __init__(
        self,
        cfg: LMTrainConfig,
        params: Any,
        codec: Codec,
        extractor: Extractor,
        text: TextExtractor,
        batch: int = 4,
    ):
        check_codec(cfg, codec)
        self.cfg, self.codec, self._extractor, self._text, self._batch = cfg, codec, extractor, text, batch
        self._encode = FeatureEncoder(extractor, cfg.dataset.feature_width, batch)
        self._lm = LanguageModel(configured_lm(cfg), scan=False)
        self._params = jax.device_put(unstack_params(params))
        self._embed = jax.jit(functools.partial(self._lm.apply, method="embed_request"))
        frames = max(int(cfg.dataset.seconds * codec.frame_rate), 1)
        overlap = min(round(OVERLAP_SECONDS * codec.frame_rate), frames // 4)
        self._windows = WindowSpec(frames * codec.cfg.frame_hop, overlap * codec.cfg.frame_hop)

    def __reduce__(self):
        extractors = (dataclasses.replace(x, params=jax.device_get(x.params)) for x in (self._extractor, self._text))
        return type(self), (self.cfg, jax.device_get(self._params), self.codec, *extractors, self._batch)

    def __repr__(self) -> str:
        tasks, window = ", ".join(self.tasks), f"{self.window_seconds:g} s"
        return f"<TaskModel {tasks}: {self.sample_rate} Hz, windows of {window}, over {self.codec!r}>"

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of the tasks that the model was trained for."""
        return self.cfg.dataset.tasks

    @property
    def sample_rate(self) -> int:
        """Sample rate of the output in Hz."""
        return self.codec.sample_rate

    @property
    def window_seconds(self) -> float:
        """Seconds of the longest window."""
        return self._windows.size / self.sample_rate

    def save_pretrained(self, folder: str | os.PathLike, details: Mapping[str, Any] | None = None) -> pathlib.Path:
        """Writes model.safetensors, config.json and a model card, and its codec into codec/; see `Codec.save_pretrained`."""
        params = jax.device_get(stack_params(self._params))
        folder = write_lm(folder, self.cfg, params, details)
        self.codec.save_pretrained(folder / CODEC)
        return folder

    def request(self, task: str, text: str = "", reference_S: np.ndarray | None = None) -> Request:
        """Checks and encodes the conditions of a task. reference_S: at `sample_rate`. UserError says what is missing."""
        if task not in self.tasks:
            raise UserError(f"this model was not trained for {task}; it knows {', '.join(self.tasks)}")
        found = TASKS[task]
        if found.text and not text.strip():
            raise UserError(f"{task} needs {found.requires}, which is empty")
        reference = np.zeros(0, np.float32)
        if found.reference:
            if reference_S is None or len(reference_S) < self.sample_rate // GRID_HZ:
                raise UserError(f"{task} needs {found.requires} (at least 20 ms)")
            reference = reference_S[: self._windows.size]
            reference = reference * input_gain(*rms_and_peak(reference))
        text = text if found.text else ""
        (features,) = self._text([text])
        text_bytes = len(features) if self.cfg.dataset.text_width else text.encode()
        return Request(found, text_bytes, features.astype(self._feature_dtype), *self._features([reference]))

    @property
    def _feature_dtype(self) -> Any:
        """The dtype of features in the training data."""
        return FEATURE_DTYPES[self.cfg.dataset.dtype]

    def _features(self, waves: Sequence[np.ndarray]) -> list[np.ndarray]:
        features, stack = self._encode(waves, self.sample_rate), self.cfg.lm.condition_stack
        return [stack_frames(x.astype(self._feature_dtype), stack) for x in features]

    def __call__(
        self,
        task: str,
        wave: np.ndarray,
        sample_rate: int | None = None,
        *,
        text: str = "",
        reference: tuple[np.ndarray, int] | None = None,
        sampling: Sampling = GREEDY,
        guidance: float = 1.0,
        seed: int = 0,
    ) -> np.ndarray:
        """Runs a task on a recording (S,); returns (S,) at the model's sample rate and the source's loudness.

        sample_rate: of `wave` in Hz (default: the model's). reference: (samples (S,), rate in Hz) of a reference or
        enrollment recording. guidance: classifier-free guidance scale, 1 turns it off; others need a model trained with
        condition dropout.
        """
        wave = self._at_rate(wave, sample_rate)
        reference_S = None if reference is None else self._at_rate(*inputs.check_pair(reference, "reference"))
        request = self.request(task, text, reference_S)
        blocks = self.stream(request, lambda a, b: wave[a:b], len(wave), rms_and_peak(wave), sampling, guidance, seed)
        return np.concatenate(list(blocks))

    def check_separation(self) -> None:
        """UserError unless the model was trained for the tasks of SEPARATION_STEPS."""
        if missing := [task for task in SEPARATION_STEPS if task not in self.tasks]:
            raise UserError(
                f"separate runs {', '.join(SEPARATION_STEPS)}, but this model was not trained for {', '.join(missing)}"
            )

    def separate(self, wave: np.ndarray, sample_rate: int | None = None, **options: Any) -> list[np.ndarray]:
        """Separates two speakers of a recording (S,), by SEPARATION_STEPS; options: as of a call."""
        self.check_separation()
        wave = self._at_rate(wave, sample_rate)
        enrollment = self.enroll(wave[: self._windows.size], **options)
        return [self(task, wave, reference=(enrollment, self.sample_rate), **options) for task in SEPARATION_STEPS[1:]]

    def enroll(self, opening_S: np.ndarray, **options: Any) -> np.ndarray:
        """Restores one of the speakers of a recording's first seconds: the enrollment of `separate`."""
        return self(SEPARATION_STEPS[0], opening_S, **options)

    def _at_rate(self, wave: np.ndarray, rate: int | None) -> np.ndarray:
        wave = inputs.check_wave(wave, "a recording")
        rate = self.sample_rate if rate is None else inputs.as_rate(rate)
        return wave if rate == self.sample_rate else resample(wave, rate, self.sample_rate)

    def stream(
        self,
        request: Request,
        read: Read,
        num_samples: int,
        levels: tuple[float, float],
        sampling: Sampling = GREEDY,
        guidance: float = 1.0,
        seed: int = 0,
    ) -> Iterator[np.ndarray]:
        """Yields the output in blocks (S,). levels: root mean square and peak of the complete source."""
        if guidance != 1.0 and not self.cfg.lm.condition_dropout:
            raise UserError(
                "this model was trained without condition dropout (config.lm.condition_dropout=0): no guidance"
            )
        predict_end = not request.task.aligned or self._lm.cfg.max_duration > 0
        generation = GenerationConfig(sampling, guidance, predict_end)
        gain = input_gain(*levels)
        count = self.num_windows(num_samples)
        if count > 1 and not request.task.aligned:
            raise UserError(
                f"{request.task.name} takes up to {self.window_seconds:g} s, what the model was trained on; this is "
                f"{num_samples / self.sample_rate:.1f} s long: cut it"
            )
        outputs = self._run_windows(request, lambda a, b: read(a, b) * gain, num_samples, generation, seed)
        for block in cross_fade(outputs, count, self._windows.overlap):
            yield block / gain

    def num_windows(self, num_samples: int) -> int:
        """Number of windows of a recording of that length at the model's sample rate."""
        return self._windows.count(num_samples)

    def _run_windows(
        self, request: Request, read: Read, num_samples: int, generation: GenerationConfig, seed: int
    ) -> Iterator[np.ndarray]:
        """Yields the output (S,) of each window; of an aligned task as long as the window."""
        windows = self._windows.ranges(num_samples)
        for begin in range(0, len(windows), self._batch):
            group = windows[begin : begin + self._batch]
            base = group[0][0]
            samples = read(base, group[-1][1])
            pieces = [samples[start - base : stop - base] for start, stop in group]
            outputs = self._run_batch(request, pieces, generation, seed, begin)
            for piece, output in zip(pieces, outputs, strict=True):
                if request.task.aligned:
                    output = np.pad(output, (0, max(len(piece) - len(output), 0)))[: len(piece)]
                yield output

    def _run_batch(
        self, request: Request, waves: list[np.ndarray], generation: GenerationConfig, seed: int, first: int
    ) -> list[np.ndarray]:
        """The outputs of at most a batch of windows. first: number of the first window, for its random key."""
        condition = self._condition(request, waves, generation, seed, first)
        frames = self._windows.size // self.codec.cfg.frame_hop
        codes, lengths, durations = generate(self._lm, self._params, condition, frames, generation)
        codes, lengths = np.asarray(codes)[: len(waves)], np.asarray(lengths)[: len(waves)]
        split = self.codec.kept_codebooks(self.cfg.dataset.num_codebooks or None)[0]
        kept = None if durations is None else np.asarray(durations)[: len(waves)]
        found = self.codec.decode(Codes(codes[..., :split], codes[..., split:], self.codec.frame_rate, lengths, kept))
        assert found.lengths_B is not None
        return [row[:count] for row, count in zip(found.samples_BxS, found.lengths_B, strict=True)]

    def _condition(
        self, request: Request, waves: list[np.ndarray], generation: GenerationConfig, seed: int, first: int
    ) -> Condition:
        """The embedded requests of a batch of windows, padded to a power of two so that few programs are compiled."""
        hop, task = self.codec.cfg.frame_hop, request.task
        no_codes = np.zeros((0, len(self.cfg.dataset.codebooks)), np.int32)
        rows = []
        for source in self._features(waves):
            row: dict[str, Any] = build_sequence(
                task.number, request.text, len(request.reference_TxD), len(source), no_codes, delay_padding=0
            )
            rows.append({**row, "features": (request.reference_TxD, source), "text_features": (request.text_TxD,)})
        frames = [int(self.codec.cfg.num_frames(len(w))) if task.aligned else self._windows.size // hop for w in waves]
        missing = (1 << (len(rows) - 1).bit_length()) - len(rows)
        rows, frames = rows + rows[-1:] * missing, frames + frames[-1:] * missing
        lengths = np.asarray([len(row["kind"]) for row in rows], np.int32)
        batch = collate(rows, round_up(int(lengths.max()), 64), bool(self.cfg.dataset.text_width))
        variables = {"params": self._params}
        prefix, unconditional = self._embed(variables, batch), None
        if generation.guidance != 1.0:
            unconditional = self._embed(variables, batch, np.ones(batch["kind"].shape, bool))
        keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(seed), first + np.arange(len(rows)))
        sources = [np.argmax(row["kind"] == Kind.SOURCE_START) + 1 for row in rows]
        lengths_B, frames_B, sources_B = (jax.numpy.asarray(x, np.int32) for x in (lengths, frames, sources))
        return Condition(prefix, lengths_B, frames_B, keys, unconditional, sources_B)

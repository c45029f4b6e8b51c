"""The language model at work, from waves to waves.

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
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np

from quarkaudio_jax.codec import inputs
from quarkaudio_jax.config import LMTrainConfig
from quarkaudio_jax.data.crops import GRID_HZ
from quarkaudio_jax.errors import UserError
from quarkaudio_jax.inference.codec import Codec, load_codec
from quarkaudio_jax.inference.features import FeatureEncoder
from quarkaudio_jax.inference.unise import load_unise
from quarkaudio_jax.io.levels import rms_and_peak
from quarkaudio_jax.io.transforms import cross_faded, resample
from quarkaudio_jax.lm.generate import Condition, GenerationConfig, generate
from quarkaudio_jax.lm.model import LanguageModel
from quarkaudio_jax.lm.sampling import Sampling
from quarkaudio_jax.lm.variants import configured_lm
from quarkaudio_jax.nn.stack import unstack_params
from quarkaudio_jax.ssl.features import Extractor
from quarkaudio_jax.text.features import TextExtractor
from quarkaudio_jax.tokens.sequence import FEATURE_DTYPES, build_sequence, collate
from quarkaudio_jax.tokens.tasks import SEPARATION_STEPS, TASKS, Task
from quarkaudio_jax.types import Codes, ceil_div, round_up
from quarkaudio_jax.weights.saved_lm import read_lm
from quarkaudio_jax.weights.ssl import load_extractor
from quarkaudio_jax.weights.text import load_text_extractor

OVERLAP = 0.5
"""Seconds that the windows of a long recording share; they are cross-faded there."""

LEVEL = 10 ** (-25 / 20)
"""Root mean square that audio is brought to on its way in, and back from on its way out; the middle of training's range."""

GREEDY = Sampling(temperature=0.0)

Read = Callable[[int, int], np.ndarray]
"""read(start, stop): mono samples of a recording, never going back."""


@dataclasses.dataclass(frozen=True)
class Request:
    """What is asked of a recording. text: its bytes, or how many text_TxD features there are.

    voice_TxD: features of a sample of a voice; T = 0 where the task takes none.
    """

    task: Task
    text: bytes | int
    text_TxD: np.ndarray
    voice_TxD: np.ndarray


class TaskModel:
    """A language model with its codec and the extractors of its features; see `load_task_model`.

    Recordings longer than what the model was trained on go through it in windows, `batch` of
    them at a time; only as much is held in memory. Tasks whose result is not aligned with the
    source (editing) take one window. It can be pickled, with its weights, for worker processes.
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
        if (codec.name, codec.fingerprint()) != (cfg.dataset.codec, cfg.dataset.codec_weights):
            raise UserError(
                f"the language model was trained on codes of {cfg.dataset.codec} with other weights than this "
                f"{codec.name}: name the codec's checkpoint that prepare was given"
            )
        self.cfg, self.codec, self._extractor, self._text, self._batch = cfg, codec, extractor, text, batch
        self._encode = FeatureEncoder(extractor, cfg.dataset.feature_width, batch)
        self._lm = LanguageModel(configured_lm(cfg), scan=False)
        self._params = jax.device_put(unstack_params(params))
        self._embed = jax.jit(functools.partial(self._lm.apply, method="embed_request"))
        frames = max(int(cfg.dataset.seconds * codec.frame_rate), 1)
        self._window = frames * codec.cfg.frame_hop
        self._overlap = min(round(OVERLAP * codec.frame_rate), frames // 4) * codec.cfg.frame_hop

    def __reduce__(self):
        extractors = (dataclasses.replace(x, params=jax.device_get(x.params)) for x in (self._extractor, self._text))
        return type(self), (self.cfg, jax.device_get(self._params), self.codec, *extractors, self._batch)

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of the tasks that the model was trained for."""
        return self.cfg.dataset.tasks

    @property
    def sample_rate(self) -> int:
        """Hz, of what comes out."""
        return self.codec.sample_rate

    @property
    def window_seconds(self) -> float:
        """The longest piece that the model sees at once."""
        return self._window / self.sample_rate

    def request(self, task: str, text: str = "", reference_S: np.ndarray | None = None) -> Request:
        """A checked request; reference_S at the model's rate. UserError says what is missing."""
        if task not in self.tasks:
            raise UserError(f"this model was not trained for {task}; it knows {', '.join(self.tasks)}")
        found = TASKS[task]
        if found.text and not text.strip():
            raise UserError(f"{task} needs {found.requires}, which is empty")
        if found.reference and (reference_S is None or len(reference_S) < self.sample_rate // GRID_HZ):
            raise UserError(f"{task} needs {found.requires} (at least 20 ms)")
        text = text if found.text else ""
        voice = reference_S[: self._window] if found.reference else np.zeros(0, np.float32)
        if found.reference:
            voice = voice * _gain(*rms_and_peak(voice))
        (features,) = self._text([text])
        text_bytes = len(features) if self.cfg.dataset.text_width else text.encode()
        return Request(found, text_bytes, features.astype(self._stored), *self._features([voice]))

    @property
    def _stored(self) -> Any:
        """The type in which `prepare` stores features."""
        return FEATURE_DTYPES[self.cfg.dataset.dtype]

    def _features(self, waves: Sequence[np.ndarray]) -> list[np.ndarray]:
        return [x.astype(self._stored) for x in self._encode(waves, self.sample_rate)]

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
        """The answer to one recording (S,), at the model's rate and at the loudness of the source.

        sample_rate: of `wave` in Hz (default: the model's). reference: (samples (S,), rate in Hz)
        of a voice. guidance: 1 uses the condition alone; more exaggerates it, if it was trained so.
        """
        wave = self._at_rate(wave, sample_rate)
        voice = None if reference is None else self._at_rate(*inputs.check_pair(reference, "reference"))
        request = self.request(task, text, voice)
        blocks = self.stream(request, lambda a, b: wave[a:b], len(wave), rms_and_peak(wave), sampling, guidance, seed)
        return np.concatenate(list(blocks))

    def check_separation(self) -> None:
        """UserError unless the model knows the tasks that separation is made of."""
        if missing := [task for task in SEPARATION_STEPS if task not in self.tasks]:
            raise UserError(
                f"separate goes through {', '.join(SEPARATION_STEPS)}, but this model was not trained for {', '.join(missing)}"
            )

    def separate(self, wave: np.ndarray, sample_rate: int | None = None, **how: Any) -> list[np.ndarray]:
        """Two talkers, each for itself, of one recording (S,); `how` as for a call. See `tokens.tasks.separation`."""
        self.check_separation()
        wave = self._at_rate(wave, sample_rate)
        voice = self.enroll(wave[: self._window], **how)
        return [self(task, wave, reference=(voice, self.sample_rate), **how) for task in SEPARATION_STEPS[1:]]

    def enroll(self, opening_S: np.ndarray, **how: Any) -> np.ndarray:
        """One of the talkers of a recording's first seconds: the reference that separation works with."""
        return self(SEPARATION_STEPS[0], opening_S, **how)

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
        """The answer block by block. levels: root mean square and peak of the whole source."""
        if guidance != 1.0 and not self.cfg.lm.condition_dropout:
            raise UserError(
                "this model was trained with its condition only (config.lm.condition_dropout=0): no guidance"
            )
        predict_end = not request.task.aligned or self._lm.cfg.max_duration > 0
        how = GenerationConfig(sampling, guidance, predict_end)
        gain = _gain(*levels)
        windows = self._windows(request, num_samples)
        tail = np.zeros(0, np.float32)
        for begin in range(0, len(windows), self._batch):
            group = windows[begin : begin + self._batch]
            base = group[0][0]
            samples = read(base, group[-1][1]) * gain
            pieces = [samples[start - base : stop - base] for start, stop in group]
            answers = self._answers(request, pieces, how, seed, begin)
            for piece, answer in zip(pieces, answers, strict=True):
                if request.task.aligned:
                    answer = np.pad(answer, (0, max(len(piece) - len(answer), 0)))[: len(piece)]
                joined = cross_faded(tail, answer)
                last = begin + self._batch >= len(windows) and piece is pieces[-1]
                keep = len(joined) if last else len(joined) - self._overlap
                tail = joined[keep:]
                yield joined[:keep] / gain

    def num_windows(self, num_samples: int) -> int:
        """How many windows a recording of that length at the model's rate goes through."""
        return 1 + ceil_div(max(num_samples - self._window, 0), self._window - self._overlap)

    def _windows(self, request: Request, num_samples: int) -> list[tuple[int, int]]:
        """(start, stop) of each window: neighbors share the overlap."""
        count = self.num_windows(num_samples)
        if count > 1 and not request.task.aligned:
            raise UserError(
                f"{request.task.name} takes up to {self.window_seconds:g} s, what the model was trained on; this is "
                f"{num_samples / self.sample_rate:.1f} s long: cut it"
            )
        step = self._window - self._overlap
        return [(i * step, min(i * step + self._window, num_samples)) for i in range(count)]

    def _answers(
        self, request: Request, waves: list[np.ndarray], how: GenerationConfig, seed: int, first: int
    ) -> list[np.ndarray]:
        """What the model answers to at most a batch of windows, `first` being the number of the first one."""
        condition = self._condition(request, waves, how, seed, first)
        hop = self.codec.cfg.frame_hop
        frames = self._window // hop
        codes, lengths, durations = generate(self._lm, self._params, condition, frames, how)
        codes, lengths = np.asarray(codes)[: len(waves)], np.asarray(lengths)[: len(waves)]
        split = self.codec.num_codebooks[0]
        kept = None if durations is None else np.asarray(durations)[: len(waves)]
        found = self.codec.decode(Codes(codes[..., :split], codes[..., split:], self.codec.frame_rate, lengths, kept))
        return [row[:count] for row, count in zip(found.samples_BxS, found.lengths_B, strict=True)]

    def _condition(
        self, request: Request, waves: list[np.ndarray], how: GenerationConfig, seed: int, first: int
    ) -> Condition:
        """Embedded requests of windows `first` and on, padded to a power of two: few programs."""
        hop, task = self.codec.cfg.frame_hop, request.task
        nothing = np.zeros((0, len(self.cfg.dataset.codebooks)), np.int32)
        rows = []
        for source in self._features(waves):
            row: dict[str, Any] = build_sequence(
                task.number, request.text, len(request.voice_TxD), len(source), nothing, delay_padding=0
            )
            rows.append({**row, "features": (request.voice_TxD, source), "text_features": (request.text_TxD,)})
        frames = [int(self.codec.cfg.num_frames(len(w))) if task.aligned else self._window // hop for w in waves]
        missing = (1 << (len(rows) - 1).bit_length()) - len(rows)
        rows, frames = rows + rows[-1:] * missing, frames + frames[-1:] * missing
        lengths = np.asarray([len(row["kind"]) for row in rows], np.int32)
        batch = collate(rows, round_up(int(lengths.max()), 64), bool(self.cfg.dataset.text_width))
        variables = {"params": self._params}
        prefix, plain = self._embed(variables, batch), None
        if how.guidance != 1.0:
            plain = self._embed(variables, batch, np.ones(batch["kind"].shape, bool))
        keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(seed), first + np.arange(len(rows)))
        return Condition(prefix, lengths, np.asarray(frames, np.int32), keys, plain)


def _gain(rms: float, peak: float) -> float:
    """What brings audio to the level of training without clipping; 1 for silence."""
    return 1.0 if rms == 0 else min(LEVEL / rms, 0.99 / peak)


def load_task_model(
    source: str | os.PathLike,
    codec: str | os.PathLike,
    features: str | os.PathLike = "",
    text_features: str | os.PathLike = "",
    batch: int = 4,
) -> Any:
    """A language model from a work directory of `train`, or one of its checkpoints; or UniSE from its weight file.

    codec: the checkpoint or weight file of the codec that its data was prepared with; of UniSE the folder of BiCodec.
    features, text_features: folders or hub names of the SSL model and the text encoder, where they can't be
    found by themselves. batch: windows of a long recording
    at a time. Averaged weights are used if the checkpoint has them. Returns a `TaskModel`, or a `UniseModel`, which is
    asked in the same way.
    """
    if pathlib.Path(source).expanduser().is_file():
        return load_unise(source, codec, features, batch)

    cfg, params = read_lm(source)
    dataset = cfg.dataset
    return TaskModel(
        cfg,
        params,
        load_codec(codec, encoding=False),
        load_extractor(dataset.features.recipe, features or dataset.features.weights),
        load_text_extractor(dataset.text.recipe, text_features or dataset.text.weights),
        batch,
    )

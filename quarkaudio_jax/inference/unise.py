"""UniSE at work, from waves to waves: WavLM features, the language model, BiCodec.

import quarkaudio_jax
model = quarkaudio_jax.load_task_model("unise.ckpt", codec="BiCodec", features="wavlm-base-plus")
wave = model("restoration", wave, sample_rate)          # wave: (S,) float32 in [-1, 1]
wave = model("extraction", wave, sample_rate, reference=(voice, sample_rate))
first, second = model.separate(wave, sample_rate)
"""

import dataclasses
import functools
import os
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from quarkaudio_jax.codec.bicodec.model import BiCodec, BiCodecConfig
from quarkaudio_jax.errors import UserError
from quarkaudio_jax.io.transforms import cross_faded, resample, wrap_pad
from quarkaudio_jax.lm.sampling import Sampling
from quarkaudio_jax.lm.unise import LM_UNISE, TASKS, Unise, UniseConfig
from quarkaudio_jax.nn.stack import unstack_params
from quarkaudio_jax.ssl.features import Extractor
from quarkaudio_jax.tokens.tasks import SEPARATION_STEPS
from quarkaudio_jax.types import ceil_div
from quarkaudio_jax.weights.backbone import read_unise
from quarkaudio_jax.weights.bicodec import read_bicodec
from quarkaudio_jax.weights.ssl import load_extractor

SECONDS = 5.0
"""Of the segments and of the reference that UniSE was trained on; shorter audio is repeated until it is as long."""

OVERLAP = 0.5
"""Seconds that cross-faded windows share."""

PEAK = 0.99
"""Of a reference voice, once it is scaled."""


@dataclasses.dataclass(frozen=True)
class UniseRequest:
    """task: number of `lm.unise.TASKS`. voice_TxD: features of the reference voice, or None. normalize: scale to peak 1."""

    task: int
    voice_TxD: np.ndarray | None = None
    normalize: bool = False


class UniseModel:
    """UniSE with its codec and SSL model; see `load_task_model`.

    As in the public pipeline a recording is cut into segments of 5 s that are answered one by one, the last one filled
    up with the recording's beginning; `cross_fade` has them overlap and fades them into each other instead. `batch`
    segments are computed at a time. Restoration scales the recording to peak 1; the answer's level is the model's own.
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
        self.cfg, self.codec_cfg, self._extractor, self._batch = cfg, codec_cfg, extractor, batch
        self._lm, self._codec = Unise(cfg, scan=False), BiCodec(codec_cfg, scan=False)
        parts = {"lm": unstack_params(params), "codec": unstack_params(codec_params), "ssl": extractor.params}
        self._params = jax.device_put(parts)
        self._features = jax.jit(self._extract)
        self._answer = jax.jit(self._compute, static_argnames="task")
        self._window = round(SECONDS * self.sample_rate)
        self._overlap = round(OVERLAP * self.sample_rate) if cross_fade else 0

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of the tasks that the model was trained for."""
        return tuple(TASKS)

    @property
    def sample_rate(self) -> int:
        """Hz, of what comes out."""
        return self.codec_cfg.sample_rate

    @property
    def window_seconds(self) -> float:
        """The longest piece that the model sees at once."""
        return SECONDS

    def check_separation(self) -> None:
        """Does nothing: UniSE knows all tasks that separation is made of."""

    def request(self, task: str, text: str = "", reference_S: np.ndarray | None = None) -> UniseRequest:
        """A checked request; reference_S at the model's rate. UserError says what is missing."""
        if task not in TASKS:
            raise UserError(f"UniSE was not trained for {task}; it knows {', '.join(TASKS)}")
        if task == "restoration":
            return UniseRequest(TASKS[task], normalize=True)
        if reference_S is None or not len(reference_S):
            raise UserError(f"{task} needs a sample of the voice")
        voice = wrap_pad(np.asarray(reference_S, np.float32), self._window)
        voice = voice / (np.abs(voice).max() + np.float32(1e-5)) * np.float32(PEAK)
        return UniseRequest(TASKS[task], np.asarray(self._features(self._params, voice[None])[0]))

    def __call__(
        self,
        task: str,
        wave: np.ndarray,
        sample_rate: int | None = None,
        *,
        text: str = "",
        reference: tuple[np.ndarray, int] | None = None,
        **how: Any,
    ) -> np.ndarray:
        """The answer to one recording (S,), at the model's rate and as long as the recording.

        sample_rate: of `wave` in Hz (default: the model's). reference: (samples (S,), rate in Hz) of a voice.
        """
        wave = self._at_rate(wave, sample_rate)
        voice = None if reference is None else self._at_rate(*reference)
        return self._whole(self.request(task, text, voice), wave, **how)

    def enroll(self, opening_S: np.ndarray, **how: Any) -> np.ndarray:
        """One of the talkers of a recording's first seconds, 5 s long: the reference that separation works with."""
        check_greedy(**how)
        return self._answers(UniseRequest(TASKS[SEPARATION_STEPS[0]]), [wrap_pad(opening_S, self._window)])[0]

    def separate(self, wave: np.ndarray, sample_rate: int | None = None, **how: Any) -> list[np.ndarray]:
        """Two talkers, each for itself, of one recording (S,)."""
        wave = self._at_rate(wave, sample_rate)
        voice = self.enroll(wave[: self._window], **how)
        return [self._whole(self.request(task, reference_S=voice), wave, **how) for task in SEPARATION_STEPS[1:]]

    def _whole(self, request: UniseRequest, wave_S: np.ndarray, **how: Any) -> np.ndarray:
        levels = 0.0, float(np.abs(wave_S).max())
        return np.concatenate(list(self.stream(request, lambda a, b: wave_S[a:b], len(wave_S), levels, **how)))

    def _at_rate(self, wave: np.ndarray, rate: int | None) -> np.ndarray:
        wave = np.asarray(wave, np.float32)
        if wave.ndim != 1 or not len(wave):
            raise UserError(f"a recording has shape {wave.shape}; it should be (samples,), not empty")
        return wave if rate in (None, self.sample_rate) else resample(wave, rate, self.sample_rate)

    def num_windows(self, num_samples: int) -> int:
        """How many segments a recording of that length at the model's rate goes through."""
        return 1 + ceil_div(max(num_samples - self._window, 0), self._window - self._overlap)

    def stream(
        self,
        request: UniseRequest,
        read: Callable[[int, int], np.ndarray],
        num_samples: int,
        levels: tuple[float, float],
        **how: Any,
    ) -> Iterator[np.ndarray]:
        """The answer block by block. read(start, stop): samples, never going back. levels: (unused, peak) of them all."""
        check_greedy(**how)
        peak, step = levels[1], self._window - self._overlap
        gain = np.float32(peak if request.normalize and peak else 1)
        opening = np.zeros(0, np.float32)
        tail, held, start = np.zeros(0, np.float32), np.zeros(0, np.float32), 0
        count, done = self.num_windows(num_samples), 0
        for begin in range(0, count, self._batch):
            pieces = []
            for i in range(begin, min(begin + self._batch, count)):
                stop = min(i * step + self._window, num_samples)
                held = np.concatenate([held[i * step - start :], read(start + len(held), stop)])
                start = i * step
                opening = held.copy() if i == 0 else opening
                missing = self._window - len(held)
                # The recording begins again where it ends, as often as it must.
                filler = wrap_pad(opening, missing) if i else wrap_pad(opening, self._window)[len(opening) :]
                pieces.append(np.concatenate([held, filler]) / gain)
            for i, answer in enumerate(self._answers(request, pieces), begin):
                joined = cross_faded(tail, answer)
                keep = num_samples - done if i == count - 1 else len(joined) - self._overlap
                tail = joined[keep:]
                done += len(joined[:keep])
                yield joined[:keep]

    def _extract(self, params: Any, wave_BxS: jax.Array) -> jax.Array:
        rate, hop, width = self.sample_rate, self.codec_cfg.hop, self.cfg.feature_dim
        return self._extractor(params["ssl"], wave_BxS, rate, hop, width)

    def _compute(self, params: Any, wave_BxS: jax.Array, voice_BxTxD: jax.Array | None, task: int) -> jax.Array:
        """The answers (B, S) to a batch of segments."""
        source = self._extract(params, wave_BxS)
        numbers = np.full(len(wave_BxS), task, np.int32)
        apply = functools.partial(self._lm.apply, {"params": params["lm"]})
        prefix = apply(numbers, source, voice_BxTxD, method="prefix")
        globals_BxN, semantic = apply(prefix, source.shape[1], method="generate")
        return self._codec.apply({"params": params["codec"]}, globals_BxN, semantic, method="decode")

    def _answers(self, request: UniseRequest, waves: list[np.ndarray]) -> list[np.ndarray]:
        """The answers to at most a batch of segments, computed for a power of two of them: few programs."""
        size = 1 << (len(waves) - 1).bit_length()
        batch = np.stack(waves + waves[-1:] * (size - len(waves))).astype(np.float32)
        voice = request.voice_TxD
        voice = None if voice is None else np.broadcast_to(voice, (size, *voice.shape))
        return list(np.asarray(self._answer(self._params, batch, voice, task=request.task))[: len(waves)])


def check_greedy(sampling: Sampling | None = None, guidance: float = 1.0, seed: int = 0) -> None:
    """UserError unless the likeliest code is wanted, which is how UniSE answers."""
    if (sampling is not None and sampling.temperature != 0) or guidance != 1.0:
        raise UserError("UniSE takes the likeliest codes, without guidance: leave temperature at 0 and guidance at 1")


def load_unise(
    weights: str | os.PathLike,
    codec: str | os.PathLike,
    features: str | os.PathLike = "",
    batch: int = 8,
    cross_fade: bool = False,
    cfg: UniseConfig = LM_UNISE,
) -> UniseModel:
    """UniSE from its checkpoint file. codec: BiCodec's folder. features: WavLM base+'s folder, if it is not found."""
    params = read_unise(weights, cfg)
    return UniseModel(cfg, params, *read_bicodec(codec), load_extractor("wavlm", features), batch, cross_fade)

"""Producer of the examples of shards: simulated or read, in threads or worker processes."""

import json
import time
from collections.abc import Sequence
from typing import Any

import grain
import numpy as np

from quarkaudio_jax.config import PrepareConfig
from quarkaudio_jax.data.crops import GRID_HZ, SourceError
from quarkaudio_jax.data.shards import Shard
from quarkaudio_jax.data.simulation.example import Inputs, random_segment
from quarkaudio_jax.data.simulation.registry import REDRAWN, simulate
from quarkaudio_jax.data.simulation.rng import RecordedRNG
from quarkaudio_jax.data.workers import use_workers
from quarkaudio_jax.io.audio import AudioError, UnreadableError
from quarkaudio_jax.tokens.tasks import TASKS

CLIPS = {"codec_speech": "speech", "codec_music": "music", "codec_events": "events"}
"""Parts for codec training -> field of `SourcesConfig` that they are read from."""


class ExampleProducer:
    """Produces example `index` of a part, deterministic in the configuration and the index; picklable.

    An example is a dict with `part`, `index`, `problems` (reasons for rejected attempts), `reading` and `simulating`
    (seconds), and one of: `fatal` (an error of the configuration), `unreadable` (a file can't be opened now), `skipped`
    (this example is impossible), or the example itself: waves and text of a task, or a wave for codec training.
    """

    def __init__(self, cfg: PrepareConfig, task_rate: int):
        self._cfg, self._task_rate = cfg, task_rate
        self._inputs = Inputs(cfg.sources, cfg.simulation, task_rate)

    def size(self, part: str) -> int | None:
        """Largest number of examples of a part; None: unlimited."""
        return len(self._inputs.source(CLIPS[part])) if part in CLIPS else None

    def __call__(self, item: tuple[str, int]) -> dict[str, Any]:
        """Produces the example of (part, index)."""
        part, index = item[0], int(item[1])
        inputs = self._inputs.at_rate(self._task_rate if part in TASKS else self._cfg.sample_rate)
        begun = time.perf_counter()
        out: dict[str, Any] = {"part": part, "index": index, "problems": []}
        try:
            out |= self._task(inputs, part, index) if part in TASKS else self._clip(inputs, part, index)
        except SourceError as error:
            out["fatal"] = str(error)
        except UnreadableError as error:
            out["unreadable"] = str(error)
        except AudioError as error:
            out["skipped"] = str(error)
        out["reading"] = inputs.reading
        out["simulating"] = time.perf_counter() - begun - inputs.reading
        return out

    def _task(self, inputs: Inputs, part: str, index: int) -> dict[str, Any]:
        target, draw = divmod(index, self._cfg.draws) if part in REDRAWN else (index, 0)
        example, problems = simulate(part, inputs, self._cfg.seed, target, draw)
        waves = {"source": example.source_S, "target": example.target_S, "reference": example.reference_S}
        return {**waves, "text": example.text, "meta": _json(example.meta), "problems": problems}

    def _clip(self, inputs: Inputs, part: str, index: int) -> dict[str, Any]:
        rng = RecordedRNG(np.random.default_rng([self._cfg.seed, *part.encode(), index]))
        clip = random_segment(inputs.clip(CLIPS[part], index), self._cfg.clip_seconds, rng)
        hop = inputs.rate // GRID_HZ
        length = len(clip.samples_S) // hop * hop
        if not length:
            raise AudioError(f"{clip.utterance.id}: shorter than one feature frame")
        meta = {"id": clip.utterance.id, "speaker": clip.utterance.speaker, "caption": clip.utterance.caption}
        meta |= {"transcript": clip.utterance.transcript} | rng.record
        return {"wave": clip.samples_S[:length], "meta": _json({k: v for k, v in meta.items() if v != ""})}


def _json(meta: dict[str, Any]) -> str:
    """Encodes as text in the worker process, because the way out of it changes the order of dicts."""
    return json.dumps(meta, ensure_ascii=False, sort_keys=True)


def produce_examples(
    producer: ExampleProducer, shards: Sequence[Shard], workers: int, threads: int
) -> grain.DatasetIterator:
    """Produces every example of the shards, in order, ahead of time by threads or worker processes."""
    items = [(shard.part, index) for shard in shards for index in range(shard.start, shard.stop)]
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=4 * threads)
    examples = grain.MapDataset.source(items).map(producer).to_iter_dataset(options)
    return iter(use_workers(examples, workers, 8))

"""Examples on their way into shards: simulated or read, in Grain workers."""

import json
import time
from collections.abc import Iterator, Sequence
from typing import Any

import grain
import numpy as np
from absl import flags

from quarkaudio_jax.config import PrepareConfig
from quarkaudio_jax.data.crops import GRID_HZ, SourceError
from quarkaudio_jax.data.shards import Shard
from quarkaudio_jax.data.simulation.example import Inputs, random_segment
from quarkaudio_jax.data.simulation.registry import simulate
from quarkaudio_jax.data.simulation.rng import RecordedRNG
from quarkaudio_jax.io.audio import AudioError, UnreadableError
from quarkaudio_jax.tokens.tasks import TASKS

CLIPS = {"codec_speech": "speech", "codec_music": "music", "codec_events": "events"}
"""Parts for codec training -> field of `SourcesConfig` that they are read from."""


class Produce:
    """(part, index) -> what the shard needs to know of that example; picklable.

    The dict holds `problems`, `reading` and `simulating` (seconds), and either `fatal` (the
    configuration can't work), `unreadable` (a file can't be opened now), `skipped` (this example
    can't be made), or the example: for a task its
    waves and text, for codec training a wave. All follow from the configuration and the index.
    """

    def __init__(self, cfg: PrepareConfig, task_rate: int):
        self._cfg, self._task_rate = cfg, task_rate
        self._inputs = Inputs(cfg.sources, cfg.simulation, task_rate)

    def size(self, part: str) -> int | None:
        """How many examples a part can have; None: any number."""
        return len(self._inputs.source(CLIPS[part])) if part in CLIPS else None

    def __call__(self, item: tuple[str, int]) -> dict[str, Any]:
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
        example, problems = simulate(part, inputs, self._cfg.seed, index)
        waves = {"source": example.source_S, "target": example.target_S, "reference": example.reference_S}
        return {**waves, "text": example.text, "meta": _json(example.meta), "problems": problems}

    def _clip(self, inputs: Inputs, part: str, index: int) -> dict[str, Any]:
        rng = RecordedRNG(np.random.default_rng([self._cfg.seed, *part.encode(), index]))
        clip = random_segment(inputs.clip(CLIPS[part], index), self._cfg.clip_seconds, rng)
        hop = inputs.rate // GRID_HZ
        whole = len(clip.samples_S) // hop * hop
        if not whole:
            raise AudioError(f"{clip.utterance.id}: shorter than one feature frame")
        meta = {"id": clip.utterance.id, "speaker": clip.utterance.speaker, "caption": clip.utterance.caption}
        meta |= {"transcript": clip.utterance.transcript} | rng.record
        return {"wave": clip.samples_S[:whole], "meta": _json({k: v for k, v in meta.items() if v != ""})}


def _json(meta: dict[str, Any]) -> str:
    """As text here already: on their way out of a worker process dicts change their order."""
    return json.dumps(meta, ensure_ascii=False, sort_keys=True)


def produced(produce: Produce, shards: Sequence[Shard], workers: int, threads: int) -> Iterator[dict[str, Any]]:
    """Every example of the shards, in order, made ahead by threads or worker processes."""
    items = [(shard.part, index) for shard in shards for index in range(shard.start, shard.stop)]
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=4 * threads)
    examples = grain.MapDataset.source(items).map(produce).to_iter_dataset(options)
    if workers:
        if not flags.FLAGS.is_parsed():
            flags.FLAGS.mark_as_parsed()
        per_worker = grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=8)
        examples = examples.mp_prefetch(per_worker)
    return iter(examples)

"""Worker processes of Grain."""

from typing import Any

import grain
from absl import flags


def use_workers(dataset: grain.IterDataset, count: int, buffer_size: int) -> Any:
    """Moves a dataset into `count` worker processes, each with a buffer of `buffer_size` elements; 0: none."""
    if not count:
        return dataset
    if not flags.FLAGS.is_parsed():  # workers read absl flags, which notebooks and tests never parse
        flags.FLAGS.mark_as_parsed()
    return dataset.mp_prefetch(grain.MultiprocessingOptions(num_workers=count, per_worker_buffer_size=buffer_size))

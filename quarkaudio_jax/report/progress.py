"""Progress of long work, and times as people read them."""

from collections.abc import Iterable, Iterator
from typing import Any

import tqdm


def duration(seconds: float) -> str:
    """Seconds as people read them: 42 s, 3 min 10 s, 5 h 02 min, 3 d 4 h."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    minutes, seconds = divmod(seconds, 60)
    if minutes < 60:
        return f"{minutes} min {seconds:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours < 24 else f"{hours // 24} d {hours % 24} h"


def progress(items: Iterable[Any], total: int, what: str = "files") -> Iterator[Any]:
    """Yields the items, with a progress bar on stderr where that is a terminal and there is more than one."""
    with tqdm.tqdm(total=total, unit=f" {what}", dynamic_ncols=True, disable=True if total <= 1 else None) as bar:
        for item in items:
            yield item
            bar.update()

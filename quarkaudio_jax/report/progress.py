"""Progress bars of long loops, and lines printed beside them."""

import logging
import sys
from collections.abc import Iterable, Iterator
from typing import Any


def duration(seconds: float) -> str:
    """Format seconds as 42 s, 3 min 10 s, 5 h 02 min or 3 d 4 h."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    minutes, seconds = divmod(seconds, 60)
    if minutes < 60:
        return f"{minutes} min {seconds:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours < 24 else f"{hours // 24} d {hours % 24} h"


def progress(items: Iterable[Any], total: int | None, unit: str = "files", initial: int = 0) -> Iterator[Any]:
    """Yields the items, with a progress bar on stderr if that is a terminal and there is more than one item.

    total: number of items, None if unknown. initial: items finished before.
    """
    with progress_bar(total, unit, initial) as bar:
        for item in items:
            yield item
            bar.update()


def progress_bar(total: int | None, unit: str = "files", initial: int = 0) -> Any:
    """The tqdm bar of `progress`, for loops that update it themselves."""
    from tqdm import tqdm  # imported here so that `--help` does not wait for it

    disable = True if total is not None and total <= 1 else None  # None: unless stderr is a terminal
    return tqdm(total=total, initial=initial, unit=f" {unit}", dynamic_ncols=True, leave=False, disable=disable)


def show(line: str) -> None:
    """Prints a line on stdout, above the progress bars."""
    _write(line, sys.stdout)
    sys.stdout.flush()


class LogHandler(logging.StreamHandler):
    """Logs to stderr, above the progress bars."""

    def emit(self, record: logging.LogRecord) -> None:
        """Writes a record."""
        try:
            _write(self.format(record), self.stream)
            self.flush()
        except Exception:
            self.handleError(record)


def _write(line: str, stream: Any) -> None:
    if "tqdm" in sys.modules:
        sys.modules["tqdm"].tqdm.write(line, file=stream)
    else:
        print(line, file=stream)

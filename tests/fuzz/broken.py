"""A reader that fails in every way that the fuzzer must notice, by the number in the file; not one of its KINDS."""

import os
import pathlib
import random
import time

import numpy as np

from quarkaudio_jax.errors import UserError


def make(rng: random.Random) -> dict[str, bytes]:
    """A number."""
    return {"a.txt": str(rng.randrange(6)).encode()}


def read(path: pathlib.Path) -> None:
    """0 is read; 1 is refused; 2 raises, 3 dies, 4 never ends, 5 takes memory."""
    number = int(path.read_text())
    if number == 1:
        raise UserError("refused")
    if number == 2:
        raise ZeroDivisionError("by the reader")
    if number == 3:
        os.abort()
    if number == 4:
        time.sleep(1000)
    if number == 5:
        np.ones(5 * 2**30, np.uint8)


READERS = (read,)

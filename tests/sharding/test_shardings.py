"""Every official configuration keeps its parameters where the golden files say, and no large one whole."""

import math

import pytest

from tests.sharding import shardings

LARGE = 1 << 18


@pytest.mark.parametrize("name", shardings.CONFIGS)
def test_as_written_down(name):
    assert shardings.text(name) == (shardings.FOLDER / f"{name}.txt").read_text(), (
        "the layout changed; if it should, run python -m tests.sharding.shardings and read the difference"
    )


@pytest.mark.parametrize("name", shardings.CONFIGS)
def test_no_large_parameter_is_whole(name):
    whole = [
        (path, shape) for path, shape, spec in shardings.leaves(name) if math.prod(shape) > LARGE and not any(spec)
    ]
    assert not whole

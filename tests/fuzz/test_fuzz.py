"""Whatever is in a file, reading it ends in a result or in the project's own error."""

import os

import pytest

from tests.fuzz.run import KINDS, run, told

QUICK = 300
MANY = int(os.environ.get("QUARKAUDIO_FUZZ_CASES", 10_000))


def check(kind, first, last, folder):
    if kind == "weights":
        pytest.importorskip("torch", reason="PyTorch writes the good files")
    outcomes, failures = run(kind, first, last, folder)
    assert not failures, f"{len(failures)} of {last - first}:\n{told(kind, failures)}"
    for outcome in ("read", "refused"):  # what is all refused, or all read, tests little
        assert outcomes[outcome] >= 0.03 * (last - first), outcomes


@pytest.mark.parametrize("kind", KINDS)
def test_mutations_are_read_or_refused(kind, tmp_path):
    check(kind, 0, QUICK, tmp_path / kind)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_many_more_mutations_are_read_or_refused(kind, tmp_path):
    """10,000 of each kind, or QUARKAUDIO_FUZZ_CASES; each takes milliseconds."""
    check(kind, QUICK, QUICK + MANY, tmp_path / kind)


def test_every_way_to_fail_is_told_with_its_case(tmp_path):
    outcomes, failures = run("broken", 19, 29, tmp_path, limit=1)
    by_content = {}
    for failure in failures:
        [path] = failure.kept.iterdir()
        by_content.setdefault(path.read_text(), failure)
    kinds = {content: failure.error.partition(":")[0] for content, failure in by_content.items()}
    assert kinds == {
        "2": "ZeroDivisionError",
        "3": "the process died (-6)",
        "4": "no end after 1 s",
        "5": "MemoryError",
    }
    assert outcomes["read"] and outcomes["refused"] and outcomes["failed"] == len(failures)
    assert sum(outcomes.values()) == 10
    assert f"python -m tests.fuzz.run broken {failures[0].number}" in told("broken", failures)

"""The queue of shards: what counts as the same preparation."""

import pytest

from quarkaudio_jax.data.crops import SourceError
from quarkaudio_jax.data.shards import ShardQueue


def plan(**examples):
    return {"config": {"seed": 0, "examples": examples}, "facts": {"codec": "a"}}


def test_a_task_that_came_later_does_not_change_the_plan(tmp_path):
    ShardQueue(tmp_path, plan(lass=5), [])
    ShardQueue(tmp_path, plan(lass=5, denoising=0), [])
    with pytest.raises(SourceError, match=r"begun with another config.examples.denoising \(0, now 2\)"):
        ShardQueue(tmp_path, plan(lass=5, denoising=2), [])
    with pytest.raises(SourceError, match=r"config.examples.lass \(5, now 6\)"):
        ShardQueue(tmp_path, plan(lass=6), [])


def test_a_field_that_came_later_has_its_default_in_old_plans(tmp_path):
    old, new = {"config": {"simulation": {}}}, {"config": {"draws": 1, "simulation": {"final_peak": [0.0, 0.0]}}}
    ShardQueue(tmp_path, old, [])
    ShardQueue(tmp_path, new, [])
    new["config"]["simulation"]["final_peak"] = [0.1, 0.99]
    with pytest.raises(SourceError, match=r"config.simulation.final_peak \(\[0.0, 0.0\], now \[0.1, 0.99\]\)"):
        ShardQueue(tmp_path, new, [])


def test_names_of_version_0_1_are_those_of_now(tmp_path):
    old = {"config": {"pools": {"speech": "x"}, "simulation": {"talkers": {"enrolment": [1.0, 2.0]}}}}
    new = {"config": {"sources": {"speech": "x"}, "simulation": {"talkers": {"enrollment": [1.0, 2.0]}}}}
    ShardQueue(tmp_path, old, [])
    ShardQueue(tmp_path, new, [])
    new["config"]["sources"]["speech"] = "y"
    with pytest.raises(SourceError, match=r"config.sources.speech \('x', now 'y'\)"):
        ShardQueue(tmp_path, new, [])

"""What version 0.1 wrote is read: checkpoints, prepared data, a token file.

Every tensor of the two models holds one number of its own, so that the files are small and a tensor that is read
in another's place shows in the fingerprint.
"""

import dataclasses
import json
import tarfile

import numpy as np
import pytest

from quarkaudio_jax import load_codec
from quarkaudio_jax.config import PrepareConfig, SourcesConfig, from_config_dict
from quarkaudio_jax.data.crops import SourceError
from quarkaudio_jax.data.records import Records
from quarkaudio_jax.io import token_file
from quarkaudio_jax.preparation.run import Preparation
from quarkaudio_jax.training.loop import Trainer
from tests.conftest import ROOT, TRAINED, changed, small_config, small_lm_config


@pytest.fixture
def written(tmp_path):
    """codec/ and lm/ (work directories of two steps), prepared/, tokens.qka, and seen.json: what 0.1 read from them."""
    with tarfile.open(ROOT / "tests" / "fixtures" / "version_0_1.tar.xz") as file:
        file.extractall(tmp_path, filter="data")
    return tmp_path / "before"


def test_a_codec_and_its_tokens_are_read(written):
    seen = json.loads((written / "seen.json").read_text())
    codec = load_codec(written / "codec")
    assert f"{codec.fingerprint():08x}" == seen["fingerprint"]
    file = token_file.read(written / "tokens.qka")
    codec.check(file, "tokens.qka")
    assert file.header.num_samples == seen["num_samples"]
    np.testing.assert_array_equal(file.acoustic_TxK, seen["acoustic"])
    np.testing.assert_array_equal(file.semantic_TxK, seen["semantic"])


@pytest.mark.slow
def test_a_codec_goes_on_training(written):
    config = small_config(**TRAINED | {"loop__steps": 3, "loop__eval_every": 0}, loop__sample_clips=0)
    assert Trainer(from_config_dict(config), written / "codec").run() == "finished"
    steps = [json.loads(line)["step"] for line in (written / "codec" / "metrics.jsonl").read_text().splitlines()]
    assert steps[-1] == 3 and steps.count(1) == 1


@pytest.mark.slow
def test_a_language_model_goes_on_training_on_prepared_data(written):
    config = changed(small_lm_config(written / "prepared"), loop__steps=3, loop__checkpoint_every=2, loop__eval_every=0)
    assert Trainer(from_config_dict(config), written / "lm").run() == "finished"
    last = json.loads((written / "lm" / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["step"] == 3 and np.isfinite(last["loss/total"])


def test_preparation_goes_on(written):
    """The plan has names that changed since; a shard that is lost is made again, the others are left alone."""
    folder = written / "prepared"
    config = json.loads((folder / "plan.json").read_text())["config"]
    assert "pools" in config and "equaliser" in config["simulation"]["conversion"]
    cfg = from_config_dict({**config, "codec": str(written / "codec")}, PrepareConfig)
    files = sorted(folder.rglob("*.array_record-*"))
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in files}
    lost = next(path for path in files if path.name.startswith("lass"))
    lost.unlink()
    Preparation(cfg, folder).run()
    assert all(path.stat().st_mtime_ns == when for path, (_, when) in before.items() if path != lost)
    assert [r["id"] for r in map(Records(folder / "lass").__getitem__, range(2))] == ["lass/0", "lass/1"]
    other = dataclasses.replace(cfg, sources=SourcesConfig(speech="embedded:speech/train"))
    with pytest.raises(SourceError, match=r"begun with another config.sources.speech \('embedded:speech', now "):
        Preparation(other, folder)

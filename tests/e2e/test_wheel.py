"""The wheel in an empty environment, outside the checkout: what its core does, and what the extras add."""

import json
import os
import pathlib
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import safetensors.numpy
import soundfile

from quarkaudio_jax.codec.variants import get_variant
from quarkaudio_jax.weights.files import write_tensors
from quarkaudio_jax.weights.ssl import config_from_hf
from tests.conftest import ROOT
from tests.parity import golden
from tests.parity.codecs import golden_state_dict
from tests.parity.test_ssl import state_dict

pytestmark = pytest.mark.slow


def run(*command, cwd, **options) -> subprocess.CompletedProcess:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        [str(part) for part in command], cwd=cwd, env=environment, capture_output=True, text=True, **options
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in listed.splitlines():  # not the checkout itself: a build leaves a folder there
        if name.startswith("quarkaudio_jax/") or name in ("pyproject.toml", "setup.cfg", "README.md", "LICENSE"):
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    done = run(
        sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", f"--wheel-dir={folder}", source, cwd=folder
    )
    if done.returncode and "connection broken by" in done.stderr:
        pytest.skip("building a wheel needs a package index, and none can be reached")
    assert done.returncode == 0, done.stderr
    return next(folder.glob("*.whl"))


def test_it_holds_configs_types_and_the_license(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    for name in ("configs/codec48k.py", "configs/lm.py", "py.typed", "report/page.html", "__main__.py"):
        assert f"quarkaudio_jax/{name}" in names
    assert any(name.endswith("LICENSE") for name in names)
    assert {name.partition("/")[0] for name in names} == {"quarkaudio_jax", f"{wheel.name.rsplit('-', 3)[0]}.dist-info"}


def hubert_folder(folder):
    """A HuBERT of the width that codecs take, with two layers, as a Hugging Face folder."""
    config = {**golden.load("hf_hubert")[1]["config"], "model_type": "hubert", "hidden_size": 768}
    folder.mkdir()
    safetensors.numpy.save_file(state_dict(config_from_hf(config)), folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config))


def test_core_encodes_and_decodes_and_extras_train(wheel, tmp_path):
    run(sys.executable, "-m", "venv", tmp_path / "venv", cwd=tmp_path, check=True)
    python = tmp_path / "venv" / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", wheel, cwd=tmp_path, check=True)
    write_tensors(tmp_path / "codec.safetensors", golden_state_dict(get_variant("hcodec_16k_tiny")))
    wave = 0.1 * np.random.default_rng(0).standard_normal(16000)
    soundfile.write(tmp_path / "a.wav", wave, 16000)
    hubert_folder(tmp_path / "hubert")
    for verb, source, target in (("encode", "a.wav", "tokens"), ("decode", "tokens", "waves")):
        options = ["--checkpoint=codec.safetensors", f"--output={target}"]
        options += ["--features=hubert"] if verb == "encode" else []
        done = run(python, "-m", f"quarkaudio_jax.{verb}", source, *options, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    assert soundfile.info(tmp_path / "waves" / "a.wav").frames == 16000
    train = [python, "-m", "quarkaudio_jax", "train", "--config=codec48k:tiny", "--workdir=run"]
    train += ["--config.loop.steps=1", "--config.loop.eval_every=0", "--config.data.batch_size=2"]
    train += ["--config.losses.adversarial=0", "--config.losses.feature_matching=0"]
    train += [f"--config.data.{kind}.paths=" for kind in ("music", "events")] + ["--config.data.speech.paths=a.wav"]
    train += ["--config.data.crop_seconds=0.4", "--config.data.heldout=0", "--config.features.recipe=mel"]
    done = run(*train, cwd=tmp_path)
    assert done.returncode == 1 and "needs the package grain: pip install 'quarkaudio_jax[data]'" in done.stderr
    run(python, "-m", "pip", "install", "--quiet", f"{wheel}[train]", cwd=tmp_path, check=True)
    done = run(*train, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "checkpoints" / "1").is_dir()

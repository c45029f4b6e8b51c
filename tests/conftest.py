"""Fixtures that tests of several rooms share."""

import fcntl
import json
import os
import pathlib

# Programs that run once compile in half the time without LLVM's optimizations; XLA_FLAGS="" keeps them.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")

import jax
import pytest

from quarkaudio_jax.config import from_config_dict

os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", "/tmp/quarkaudio_jax_test_cache")
jax.config.update("jax_compilation_cache_dir", os.environ["JAX_COMPILATION_CACHE_DIR"])
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)

ROOT = pathlib.Path(__file__).parents[1]


@pytest.hookimpl(trylast=True)  # after slow tests have been left out
def pytest_collection_modifyitems(items):
    """One file that needs the `trained` model first, the others last: nobody waits while one process trains it."""
    needing = list(dict.fromkeys(item.path for item in items if "trained" in item.fixturenames))
    items.sort(key=lambda item: (item.path in needing) - 2 * (item.path in needing[:1]))


@pytest.fixture(scope="session")
def real_audio() -> pathlib.Path:
    """The folder of real audio, or a skip that says how to give one."""
    folder = pathlib.Path(os.environ.get("QUARKAUDIO_AUDIO", ROOT.parent / "shared" / "audio"))
    if not folder.is_dir():
        pytest.skip(f"no real audio in {folder}; set QUARKAUDIO_AUDIO to a folder with speech/ and events/")
    return folder


def shrunk(config, **changes):
    """A `:tiny` configuration made smaller still for tests."""
    config.data.batch_size = 2
    config.data.crop_seconds = 0.4
    config.data.threads = 2
    config.loop.log_every = 1
    config.loop.eval_every = 0
    config.loop.heldout_clips = 2
    config.loop.sample_clips = 1
    config.discriminators.crop_seconds = 0.1
    return changed(config, **changes)


def changed(config, **changes):
    """A configuration with dotted fields set, __ for the dot."""
    for name, value in changes.items():
        *groups, field = name.split("__")
        target = config
        for group in groups:
            target = getattr(target, group)
        setattr(target, field, value)
    return config


def small_config(**changes):
    """codec48k:tiny, shrunk."""
    from quarkaudio_jax.configs.codec48k import get_config

    return shrunk(get_config("tiny"), **changes)


def made_once(tmp_path_factory, name: str, make) -> pathlib.Path:
    """The folder `name` that make(folder) fills, made by one of the parallel pytest processes for all of them."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    with open(f"{folder}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = folder.with_suffix(".done")
        if not done.exists():
            make(folder)
            done.touch()
    return folder


TRAINED = dict(loop__steps=2, loop__eval_every=2, ema_decay=0.9, losses__adversarial=0.0, losses__feature_matching=0.0)
"""What `trained` changes of small_config. Without discriminators, whose programs take most of the time to compile."""


@pytest.fixture(scope="session")
def trained(tmp_path_factory) -> pathlib.Path:
    """A work directory with a codec trained for two steps on the embedded corpus, its samples and metrics."""
    from quarkaudio_jax.training.loop import Trainer

    def train(folder):
        config = small_config(**TRAINED)
        assert Trainer(from_config_dict(config), folder).run() == "finished"

    return made_once(tmp_path_factory, "trained", train)


@pytest.fixture(scope="session")
def prepared(trained, tmp_path_factory) -> pathlib.Path:
    """A few examples of every task, and audio for codec training, prepared with the trained codec."""
    from tests.preparing import COUNTS, arguments, call

    return made_once(
        tmp_path_factory, "prepared", lambda folder: call(*arguments(trained, folder, **COUNTS, clip_seconds=1.0))
    )


def small_lm_config(folder, **changes):
    """configs/lm.py:tiny on few positions of prepared data."""
    from quarkaudio_jax.configs.lm import get_config

    config = get_config("tiny")
    changes = dict(data__folder=str(folder), data__length=512, data__heldout=0.2, data__batch_size=2) | changes
    changes = dict(loop__steps=4, loop__log_every=1, loop__eval_every=4, loop__checkpoint_every=2) | changes
    changes = dict(lm__condition_dropout=0.2, lm__dropout=0.1, lm__attention_dropout=0.1) | changes
    return changed(config, ema_decay=0.9, **changes)


@pytest.fixture(scope="session")
def trained_lm(prepared, tmp_path_factory) -> pathlib.Path:
    """A work directory with a language model trained for four steps on the prepared examples."""
    from quarkaudio_jax.training.loop import Trainer

    def train(folder):
        assert Trainer(from_config_dict(small_lm_config(prepared)), folder).run() == "finished"

    return made_once(tmp_path_factory, "trained_lm", train)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub on loopback (`tests.weights.hub_server.Hub`) that huggingface_hub uses in this process, with an empty cache."""
    pytest.importorskip("huggingface_hub")
    from huggingface_hub import constants

    from tests.weights.hub_server import serve

    with serve() as served:
        monkeypatch.setattr(constants, "ENDPOINT", served.url)
        template = served.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub_cache"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        yield served


def losses(workdir):
    """{training step: every metric but speeds and times}; a step logged twice must be equal both times."""
    out = {}
    for line in (workdir / "metrics.jsonl").read_text().splitlines():
        values = {k: v for k, v in json.loads(line).items() if not k.startswith(("speed/", "time/"))}
        if "loss/total" in values:
            assert out.setdefault(values["step"], values) == values
    return out

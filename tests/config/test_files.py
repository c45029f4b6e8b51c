"""Configuration files: found wherever they are, the config.json of a run among them; what is none is one line."""

import dataclasses
import json
import shutil
import subprocess
import sys

import pytest

from quarkaudio_jax.cli.config_flags import read_config
from quarkaudio_jax.cli.options import Parser, add_path
from quarkaudio_jax.config import CodecTrainConfig, LMTrainConfig, PrepareConfig, TrainConfig, from_config_dict, to_dict
from quarkaudio_jax.config.files import packaged_names
from tests.conftest import ROOT, small_config


def read(*arguments, cls=TrainConfig):
    return read_config(Parser("quarkaudio train"), [*map(str, arguments)], cls)[0]


def refused(*arguments, cls=TrainConfig):
    with pytest.raises(SystemExit) as caught:
        read(*arguments, cls=cls)
    message = str(caught.value)
    assert message.startswith("error: ") and len(message.splitlines()) == 1
    return message


@pytest.mark.parametrize("name", ["codec16k", "codec16k_adaptive", "codec16k_stereo"])
def test_files_that_import_each_other_are_found_from_anywhere(name, tmp_path, monkeypatch):
    (tmp_path / "configs").mkdir()  # what another project has of that name is not meant
    (tmp_path / "configs" / "codec48k.py").write_text("raise RuntimeError('another project')")
    code = (
        "from quarkaudio_jax.cli.config_flags import read_config; from quarkaudio_jax.config import TrainConfig\n"
        "from quarkaudio_jax.cli.options import Parser\n"
        f"arguments = ['--config={ROOT / 'configs' / f'{name}.py'}:tiny']\n"
        "print(read_config(Parser('train'), arguments, TrainConfig)[0].codec.variant)"
    )
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.startswith("hcodec_16k") and not done.stderr


def test_a_copy_of_the_folder_uses_its_own_files(tmp_path):
    shutil.copytree(ROOT / "configs", tmp_path / "my experiments")
    path = tmp_path / "my experiments" / "codec48k.py"
    path.write_text(path.read_text().replace("config.data.batch_size = 4", "config.data.batch_size = 44"))
    assert read(f"--config={tmp_path / 'my experiments' / 'codec16k.py'}:tiny").data.batch_size == 44
    before = list(sys.path)
    assert read("--config=configs/codec16k.py:tiny").data.batch_size == 4 and sys.path == before


def test_what_comes_with_the_package_is_known_by_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert packaged_names() == [
        "codec16k",
        "codec16k_adaptive",
        "codec16k_stereo",
        "codec48k",
        "lm",
        "prepare",
        "unise",
    ]
    for name, cls in (
        ("codec16k_adaptive:tiny", TrainConfig),
        ("lm:tiny", TrainConfig),
        ("prepare:tiny", PrepareConfig),
    ):
        file = ROOT / "configs" / f"{name.partition(':')[0]}.py:tiny"
        assert read(f"--config={name}", cls=cls) == read(f"--config={file}", cls=cls)
    assert "codec48: no such file; by name there are codec16k, codec16k_adaptive, codec16k_stereo, codec48k" in refused(
        "--config=codec48"
    )


@pytest.mark.parametrize("cls", [CodecTrainConfig, LMTrainConfig])
def test_the_config_of_a_run_is_a_configuration(cls, tmp_path):
    config = dataclasses.replace(cls(), seed=7, ema_decay=0.5)
    (tmp_path / "config.json").write_text(json.dumps(to_dict(config)))
    assert read(f"--config={tmp_path / 'config.json'}") == config
    assert read(f"--config={tmp_path / 'config.json'}", "--config.optim.lr=0.25").optim.lr == 0.25
    small = from_config_dict(small_config())
    (tmp_path / "config.json").write_text(json.dumps(to_dict(small)))
    assert read("--config", tmp_path / "config.json") == small
    assert "has no variants, such as 'tiny'" in refused(f"--config={tmp_path / 'config.json'}:tiny")


@pytest.mark.parametrize(
    "name, text, message",
    [
        ("a.py", "x = 1\ndef get_config()\n", "a.py, line 2: expected ':'"),
        ("a.py", "def get_config():\n    return missing\n", "a.py, line 2: NameError: name 'missing' is not defined"),
        ("a.py", "import nowhere_at_all\n", "a.py, line 1: ModuleNotFoundError: No module named 'nowhere_at_all'"),
        ("a.py", "x = 1\n", "a.py is no configuration: it has no function get_config()"),
        ("a.py", "def get_config():\n    return {}\n", "a.py is no configuration: its get_config() returns dict"),
        ("a.py", "def get_config():\n    pass\n", "its get_config() returns NoneType"),
        ("a.py", "\x00", "a.py"),
        ("a.txt", "hello", "a.txt is no configuration: a Python file with get_config(), or a run's config.json"),
        ("a.json", '{"program":\n ', "a.json, line 2: not JSON"),
        ("a.json", "[]", "a.json is not the config.json of a run"),
        ("a.json", '{"program": "codec", "optim": {"rate": 1}}', "a.json: config.optim.rate does not exist"),
        ("a.py/b.py", "", "a.py: is a folder; choose a file in it"),
    ],
)
def test_what_is_no_configuration_is_named(name, text, message, tmp_path):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(text)
    assert message in refused(f"--config={tmp_path / name.partition('/')[0]}")


def test_a_fault_in_a_neighbor_names_the_neighbor(tmp_path):
    (tmp_path / "a.py").write_text("from .b import get_config\n")
    (tmp_path / "b.py").write_text("def get_config(variant):\n    return 1 / 0\n")
    assert "b.py, line 2: ZeroDivisionError: division by zero" in refused(f"--config={tmp_path / 'a.py'}:x")


def test_a_configuration_that_is_for_other_verbs_is_named():
    message = refused("--config=configs/lm.py:tiny", cls=PrepareConfig)
    assert "configs/lm.py:tiny is a configuration of training (lm), not of data" in message
    assert "configs/prepare.py:tiny is no configuration of training" in refused("--config=configs/prepare.py:tiny")
    assert "--config.lm.size does not exist" in refused("--config=configs/codec48k.py:tiny", "--config.lm.size=tiny")
    assert "config.program 'lmm' does not exist" in refused("--config=configs/codec48k.py:tiny", "--config.program=lmm")
    assert "--config names nothing" in refused("--config=")


def test_the_user_s_folder_is_put_in(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    shutil.copy(ROOT / "configs" / "codec48k.py", tmp_path / "mine.py")
    parser = Parser("quarkaudio train")
    add_path(parser, "workdir", "", required=True)
    flags = ["--config.data.speech.paths=~/a,/b,~/c", "--config.init_from=~/run", "--workdir=~/w", "--config=~/mine.py"]
    config, values = read_config(parser, flags, CodecTrainConfig)
    assert config.data.speech.paths == f"{tmp_path}/a,/b,{tmp_path}/c" and config.init_from == f"{tmp_path}/run"
    assert values.workdir == f"{tmp_path}/w"

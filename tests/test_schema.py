"""Configs: every field settable, wrong ones named."""

import dataclasses
import re

import pytest

from configs.codec48k import get_config
from quarkaudio_jax.cli import check_fields, read_config
from quarkaudio_jax.schema import (
    CodecTrainConfig,
    ConfigError,
    PrepareConfig,
    field_names,
    from_config_dict,
    to_config_dict,
)


def test_round_trip():
    assert from_config_dict(to_config_dict(CodecTrainConfig())) == CodecTrainConfig()


@pytest.mark.parametrize("variant", ["tiny", "base", "large"])
def test_the_variants_are_valid(variant):
    config = from_config_dict(get_config(variant))
    assert config.codec.variant.startswith("hcodec_48k")


def test_an_unknown_variant_is_named():
    with pytest.raises(ValueError, match="no variant 'huge'; choose large, base or tiny"):
        get_config("huge")


def test_an_unknown_field_is_named_with_the_nearest():
    config = to_config_dict(CodecTrainConfig()).to_dict()
    config["optim"]["learning"] = 1.0
    config["optim"].pop("lr")
    with pytest.raises(ConfigError, match=r"config.optim.learning does not exist"):
        from_config_dict(config)
    config = {"optimm": {}}
    with pytest.raises(ConfigError, match=r"config.optimm does not exist; did you mean 'optim'\?"):
        from_config_dict(config, CodecTrainConfig)
    with pytest.raises(ConfigError, match=r"config.program 'codek' does not exist; did you mean 'codec'\?"):
        from_config_dict({"program": "codek"})


@pytest.mark.parametrize(
    "field, value, message",
    [
        ("seed", "one", "config.seed is 'one' (str), but should be int"),
        ("seed", True, "config.seed is True (bool), but should be int"),
        ("ema_decay", "x", "config.ema_decay is 'x' (str), but should be float"),
        ("mesh", 3, "config.mesh is 3, but it is a group of fields"),
        ("losses", {"mel_windows": 5}, "config.losses.mel_windows is 5, but should be a tuple"),
        ("losses", {"mel_windows": (5, "a")}, "config.losses.mel_windows[1] is 'a' (str), but should be int"),
    ],
)
def test_a_wrong_type_is_named(field, value, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        from_config_dict({field: value}, CodecTrainConfig)


def test_an_int_is_a_float():
    assert from_config_dict({"ema_decay": 0}, CodecTrainConfig).ema_decay == 0.0


@pytest.mark.parametrize(
    "argument, message",
    [
        ("--config.optm.lr=1", r"--config.optm.lr does not exist; did you mean 'optim.lr'"),
        ("--config.data.stric", r"did you mean 'data.strict'"),
    ],
)
def test_a_wrong_override_is_named(argument, message):
    with pytest.raises(SystemExit, match=message):
        check_fields([argument], CodecTrainConfig)


def test_right_overrides_pass():
    check_fields(
        ["--config=x.py:tiny", "--config.data.strict", "--noconfig.data.strict", "--workdir=x"], CodecTrainConfig
    )
    check_fields([f"--config.{name}=1" for name in field_names(CodecTrainConfig)], CodecTrainConfig)


def test_every_default_has_one_home():
    for cls in (
        CodecTrainConfig,
        *(f.type for f in dataclasses.fields(CodecTrainConfig) if dataclasses.is_dataclass(f.type)),
    ):
        assert cls() == cls()


@pytest.mark.parametrize("variant", ["full", "tiny", "codec"])
def test_preparations_are_valid(variant):
    from configs.prepare import get_config

    config = from_config_dict(get_config(variant), PrepareConfig)
    assert sum(dataclasses.asdict(config.examples).values()) > 0


def read(*arguments):
    return read_config(["verb", *arguments], CodecTrainConfig, "about", lambda _: None)[0]


def test_a_config_file_and_its_fields():
    config = read("--config=configs/codec48k.py:tiny", "--config.optim.lr=0.5", "--config.data.strict=True")
    assert config.optim.lr == 0.5 and config.data.strict and config.codec.variant == "hcodec_48k_tiny_faded"


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([], "--config is missing"),
        (["--config=configs/nope.py"], "No such file or directory: 'configs/nope.py'"),
        (["--config=configs/codec48k.py:huge"], "no variant 'huge'; choose large, base or tiny"),
        (["--config=configs/codec48k.py:tiny", "--wordir=x"], "Unknown command line flag 'wordir'"),
        (["--config=configs/codec48k.py:tiny", "--config.data.batch_size=two"], "batch_size=two"),
        (["--config=configs/codec48k.py:tiny", "tiny"], "'tiny' is not a flag"),
    ],
)
def test_wrong_command_lines_get_one_line(arguments, message):
    with pytest.raises(SystemExit) as caught:
        read(*arguments)
    assert message in str(caught.value) and len(str(caught.value).splitlines()) == 1

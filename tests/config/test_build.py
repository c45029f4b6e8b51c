"""Configs: every field settable, wrong ones named."""

import dataclasses
import functools
import math
import re
import typing

import pytest

from quarkaudio_jax.cli.config_flags import check_fields, read_config
from quarkaudio_jax.cli.options import Parser, UsageError
from quarkaudio_jax.codec.hcodec import HCodecConfig
from quarkaudio_jax.codec.quantize import QuantizerRules
from quarkaudio_jax.config import (
    CodecConfig,
    CodecTrainConfig,
    ConfigError,
    LMTrainConfig,
    OptimConfig,
    PrepareConfig,
    TrainConfig,
    field_names,
    from_config_dict,
    nearest_name,
    to_config_dict,
)
from quarkaudio_jax.config.build import SYNONYMS
from quarkaudio_jax.config.values import parse_scalar
from quarkaudio_jax.configs.codec48k import get_config
from quarkaudio_jax.training.codec_program import CodecProgram


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
    with pytest.raises(UsageError, match=message):
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


@pytest.mark.parametrize(
    "field, value, should",
    [
        ("seed", -1, "at least 0 and at most 4,294,967,294"),
        ("seed", 2**32, "at least 0 and at most 4,294,967,294"),
        ("ema_decay", 1.0, "at least 0 and below 1"),
        ("optim.lr", math.nan, "a number and at least 0"),
        ("optim.lr", -1.0, "at least 0"),
        ("optim.lr", math.inf, "a number and at least 0"),
        ("optim.clip", math.nan, "a number and at least 0"),
        ("optim.b2", 1, "at least 0 and below 1"),
        ("losses.mel", math.nan, "a number and at least 0"),
        ("loop.steps", -5, "at least 0"),
        ("loop.keep", -1, "at least 0"),
        ("data.batch_size", 0, "at least 1"),
        ("data.crop_seconds", 0, "over 0"),
        ("data.peak", (0.9, 0.1), "(low, high), the higher one last"),
        ("data.peak", (0.5,), "(low, high), the higher one last"),
        ("data.heldout", 1.5, "at least 0 and at most 1"),
        ("discriminators.bands", (0.0,), "two numbers or more, rising"),
        ("discriminators.bands[1]", (0.0, 2.0), "at least 0 and at most 1"),
    ],
)
def test_a_value_out_of_range_is_named(field, value, should):
    config = to_config_dict(CodecTrainConfig()).to_dict()
    *groups, last = field.partition("[")[0].split(".")
    functools.reduce(dict.get, groups, config)[last] = value
    shown = float(value) if field == "data.crop_seconds" else 2.0 if "[" in field else value
    message = rf"config.{field} is {float(shown) if field == 'optim.b2' else shown!r}, but should be {should}"
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        from_config_dict(config, CodecTrainConfig)


def test_what_is_left_open_stays_open():
    config = {"optim": {"clip": math.inf, "lr": 0}, "loop": {"keep": 0, "steps": 0}, "data": {"heldout": 0}}
    built = from_config_dict(config, CodecTrainConfig)
    assert built.optim == OptimConfig(clip=math.inf, lr=0.0) and built.loop.keep == 0 and built.data.heldout == 0.0


def test_lists_that_belong_together_are_as_long():
    with pytest.raises(
        ConfigError, match="config.losses: mel_windows has 1 entries and mel_bands 2: give the same number of both"
    ):
        from_config_dict({"losses": {"mel_windows": (512,), "mel_bands": (20, 40)}}, CodecTrainConfig)


@pytest.mark.parametrize("cls", [CodecTrainConfig, LMTrainConfig, PrepareConfig])
def test_no_number_may_be_nan(cls):
    """Of every field with numbers in it, and its default is within its own bounds."""
    assert from_config_dict(to_config_dict(cls()), cls) == cls()
    for name, default in flat(to_config_dict(cls()).to_dict()):
        if name.startswith("dataset.") or not isinstance(default[0] if isinstance(default, tuple) else default, float):
            continue
        config = to_config_dict(cls()).to_dict()
        *groups, last = name.split(".")
        functools.reduce(dict.get, groups, config)[last] = (math.nan,) if isinstance(default, tuple) else math.nan
        with pytest.raises(ConfigError, match=re.escape(f"config.{name}")):
            from_config_dict(config, cls)


def flat(config, prefix=""):
    for name, value in config.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{name}.")
        elif value not in ((), ""):
            yield prefix + name, value


@pytest.mark.parametrize(
    "value, kind, meant",
    [
        ("1e4", int, 10_000),
        (1e4, int, 10_000),
        ("12345678901234567", int, 12345678901234567),
        ("-5", int, -5),
        (1.5, int, 1.5),
        ("1.5", int, "1.5"),
        ("nan", int, "nan"),
        (math.inf, int, math.inf),
        ("yes", bool, True),
        ("No", bool, False),
        ("maybe", bool, "maybe"),
        (1, bool, 1),
        (0.5, float, 0.5),
    ],
)
def test_whole_numbers_and_flags_as_they_are_written(value, kind, meant):
    assert parse_scalar(value, kind) == meant and type(parse_scalar(value, kind)) is type(meant)


def test_whole_numbers_and_flags_on_the_command_line():
    config = read(
        "--config=configs/codec48k.py:tiny",
        "--config.loop.steps=1e4",
        "--config.loop.keep",
        "2e0",
        "--config.data.strict=yes",
        "--config.codec.rotation_trick=no",
        "--config.discriminators.periods=(2e0, 3)",
    )
    assert config.loop.steps == 10_000 and config.loop.keep == 2 and config.discriminators.periods == (2, 3)
    assert config.data.strict is True and config.codec.rotation_trick is False
    assert from_config_dict({"loop": {"steps": 1e4}, "data": {"strict": "yes"}}, CodecTrainConfig).data.strict


@pytest.mark.parametrize(
    "argument, message",
    [
        ("--config.optim.lr=nan", "config.optim.lr is nan, but should be a number and at least 0"),
        ("--config.optim.lr=-1", "config.optim.lr is -1.0, but should be at least 0"),
        ("--config.loop.steps=-5", "config.loop.steps is -5, but should be at least 0"),
        ("--config.loop.keep=-1", "config.loop.keep is -1, but should be at least 0"),
        ("--config.data.batch_size=0", "config.data.batch_size is 0, but should be at least 1"),
        ("--config.data.crop_seconds=0", "config.data.crop_seconds is 0.0, but should be over 0"),
        ("--config.seed=-1", "config.seed is -1, but should be at least 0"),
    ],
)
def test_a_value_out_of_range_on_the_command_line_is_one_line(argument, message):
    with pytest.raises((ConfigError, SystemExit), match=re.escape(message)):
        read("--config=configs/codec48k.py:tiny", argument)


@pytest.mark.parametrize(
    "name, field",
    [
        ("optim.learning_rate", "optim.lr"),
        ("learning_rate", "optim.lr"),
        ("lr", "optim.lr"),
        ("discriminator_optim.learning_rate", "discriminator_optim.lr"),
        ("optim.max_grad_norm", "optim.clip"),
        ("max_steps", "loop.steps"),
        ("data.bs", "data.batch_size"),
        ("data.crop_second", "data.crop_seconds"),
    ],
)
def test_other_names_of_a_field_are_known(name, field):
    assert nearest_name(name, field_names(CodecTrainConfig)) == f"did you mean {field!r}?"


def test_a_field_by_another_name_in_a_file():
    with pytest.raises(ConfigError, match=r"config.optim.learning_rate does not exist; did you mean 'lr'\?"):
        from_config_dict({"optim": {"learning_rate": 1.0}}, CodecTrainConfig)


def test_every_synonym_is_of_a_field():
    known = {name.rpartition(".")[2] for cls in (TrainConfig, PrepareConfig) for name in field_names(cls)}
    assert set(SYNONYMS.values()) <= known and not set(SYNONYMS) & known


def reachable(cls):
    yield cls
    for field in dataclasses.fields(cls):
        for kind in typing.get_args(field.type) or (field.type,):
            if dataclasses.is_dataclass(kind):
                yield from reachable(kind)


def test_a_training_rule_has_its_default_in_the_configuration_alone():
    """Nothing that a codec's constant says is said by a run's configuration too."""
    said = {field.name for cls in reachable(HCodecConfig) for field in dataclasses.fields(cls)}
    rules = {field.name: field for field in dataclasses.fields(QuantizerRules)}
    configured = {field.name.removeprefix("quantizer_") for field in dataclasses.fields(CodecConfig)}
    assert not configured & said and set(rules) <= configured
    assert all(rule.default is dataclasses.MISSING for rule in rules.values())


@pytest.mark.parametrize("variant", ["hcodec_16k_tiny", "hcodec_16k_adaptive_tiny", "hcodec_48k_tiny"])
@pytest.mark.parametrize("dropout", [False, True])
def test_what_the_configuration_says_is_what_happens(variant, dropout):
    codec = CodecConfig(variant=variant, rotation_trick=not dropout, quantizer_dropout=dropout, revive_below=0.25)
    rules = CodecProgram(CodecTrainConfig(codec=codec)).rules
    assert rules == QuantizerRules(rotation_trick=not dropout, dropout=dropout, revive_below=0.25)


@pytest.mark.parametrize("variant", ["full", "tiny", "codec"])
def test_preparations_are_valid(variant):
    from quarkaudio_jax.configs.prepare import get_config

    config = from_config_dict(get_config(variant), PrepareConfig)
    assert sum(dataclasses.asdict(config.examples).values()) > 0


def read(*arguments):
    return read_config(Parser("quarkaudio train"), arguments, CodecTrainConfig)[0]


def test_a_config_file_and_its_fields():
    config = read("--config=configs/codec48k.py:tiny", "--config.optim.lr=0.5", "--config.data.strict=True")
    assert config.optim.lr == 0.5 and config.data.strict and config.codec.variant == "hcodec_48k_tiny_faded"


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([], "--config is missing"),
        (["--config=configs/nope.py"], "configs/nope.py: no such file"),
        (["--config=configs/codec48k.py:huge"], "no variant 'huge'; choose large, base or tiny"),
        (["--config=configs/codec48k.py:tiny", "--wordir=x"], "option --wordir does not exist; "),
        (["--config=configs/codec48k.py:tiny", "--config.data.batch_size=two"], "batch_size=two"),
        (["--config=configs/codec48k.py:tiny", "tiny"], "unexpected argument 'tiny'"),
    ],
)
def test_wrong_command_lines_get_one_line(arguments, message):
    with pytest.raises(SystemExit) as caught:
        read(*arguments)
    assert message in str(caught.value) and len(str(caught.value).splitlines()) == 1 and caught.value.code == 2
